-- Grain:  one row per turn whose random draw cannot split anything, or that has two draws.
-- Reads:  turn_inputs
-- Params: none
-- Drops:  turns with one finite draw above zero.
-- Order:  conversation_id, turn_index

select
    conversation_id,
    turn_index,
    min(dirichlet_draw) as least_draw,
    count(*) as draws
from turn_inputs
group by conversation_id, turn_index
having
    count(*) > 1
    or not coalesce(bool_and(isfinite(dirichlet_draw) and dirichlet_draw > 0), false)
order by conversation_id, turn_index
