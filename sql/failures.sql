-- Grain:  one row per policy version.
-- Reads:  conversations   (of one shard, of all shards of an iteration, or of one evaluation)
-- Params: none
-- Drops:  nothing; counts broken conversations and those that nobody scored, and names the three most
--         frequent causes of each with how often they came.

with whys as (
    select
        policy_version,
        status = 'failed' as is_failed,
        case when status = 'failed' then failure_kind || ': ' || failure_cause else outcome_reason end as why,
        count(*) as times
    from conversations
    where status = 'failed' or outcome is null
    group by all
),

frequent as (
    select
        *,
        row_number() over (partition by policy_version, is_failed order by times desc, why) as place
    from whys
),

said as (
    select
        policy_version,
        string_agg(times || ' times ' || why, '; ' order by place) filter (where is_failed) as causes,
        string_agg(times || ' times ' || why, '; ' order by place) filter (where not is_failed) as reasons
    from frequent
    where place <= 3
    group by policy_version
)

select
    policy_version,
    count(*) as conversations,
    count(*) filter (where status = 'failed') as failed,
    count(*) filter (where status <> 'failed' and outcome is null) as unscored,
    any_value(causes) as causes,
    any_value(reasons) as reasons
from conversations
left join said using (policy_version)
group by policy_version
order by policy_version
