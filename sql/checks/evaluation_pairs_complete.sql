-- Grain:  one row per evaluation scenario that some version did not meet exactly once, or met with other luck.
-- Reads:  evaluation_conversations
-- Params: none
-- Drops:  scenarios that all versions of the iteration met once, with one simulator seed.
-- Order:  iteration, group_id

with arms as (
    select
        iteration,
        count(distinct policy_version) as versions
    from evaluation_conversations
    group by iteration
)

select
    evaluation_conversations.iteration,
    group_id,
    any_value(versions) as versions,
    count(*) as conversations,
    count(distinct policy_version) as distinct_versions,
    count(distinct seed) as seeds,
    count(distinct scenario_id) as scenarios
from evaluation_conversations
inner join arms using (iteration)
group by evaluation_conversations.iteration, group_id
having
    count(*) <> any_value(versions)
    or count(distinct policy_version) <> any_value(versions)
    or count(distinct seed) <> 1
    or count(distinct scenario_id) <> 1
order by evaluation_conversations.iteration, group_id
