-- Grain:  one row per iteration and kind of turn: what the algorithm that trained gave it.
-- Reads:  credits   (any number of iterations)
-- Params: none
-- Drops:  nothing
-- Order:  iteration, turn_kind

select
    commit_iteration as iteration,
    coalesce(turn_kind, 'unknown') as turn_kind,
    count(*) as turns,
    avg(credit order by conversation_id, turn_index) as credit,
    avg(advantage order by conversation_id, turn_index) as advantage
from credits
group by commit_iteration, coalesce(turn_kind, 'unknown')
order by commit_iteration, coalesce(turn_kind, 'unknown')
