-- Grain:  one row per turn that the reward model scored twice, or scored with NaN or infinity.
-- Reads:  turn_scores
-- Params: none
-- Drops:  turns with one finite score.
-- Order:  conversation_id, turn_index

select
    conversation_id,
    turn_index,
    count(*) as scores
from turn_scores
group by conversation_id, turn_index
having count(*) > 1 or not bool_and(isfinite(score))
order by conversation_id, turn_index
