-- Grain:  one row per iteration, policy version and kind of turn: how often it was spoken.
-- Reads:  turns   (any number of iterations)
-- Params: none
-- Drops:  nothing; the shares of an iteration and version sum to 1.
-- Order:  iteration, policy_version, turn_kind

select
    iteration,
    policy_version,
    coalesce(turn_kind, 'unknown') as turn_kind,
    count(*) as turns,
    count(*) / sum(count(*)) over (partition by iteration, policy_version) as share
from turns
group by iteration, policy_version, coalesce(turn_kind, 'unknown')
order by iteration, policy_version, turn_kind
