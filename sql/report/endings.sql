-- Grain:  one row per iteration, policy version and way to end, of conversations (stop) and of turns (finish).
-- Reads:  conversations, turns   (any number of iterations)
-- Params: none
-- Drops:  nothing; the shares of an iteration, version and level sum to 1.
-- Order:  iteration, policy_version, level, reason

with endings as (
    select iteration, policy_version, 'stop' as level, stop_reason as reason
    from conversations
    union all
    select iteration, policy_version, 'finish' as level, finish_reason as reason
    from turns
)

select
    iteration,
    policy_version,
    level,
    reason,
    count(*) as occurrences,
    count(*) / sum(count(*)) over (partition by iteration, policy_version, level) as share
from endings
group by iteration, policy_version, level, reason
order by iteration, policy_version, level, reason
