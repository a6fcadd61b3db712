-- Grain:  one row per conversation whose shares change the mean of its advantage over its turns.
-- Reads:  credits
-- Params: none
-- Drops:  conversations whose mean is kept; those without scores; turns without policy tokens, which share nothing.
-- Order:  conversation_id

select
    conversation_id,
    avg(advantage_outcome order by turn_index) as mean_outcome,
    avg(advantage_norm_itpo_share order by turn_index) as mean_share
from credits
where advantage_norm_itpo_share is not null
group by conversation_id
having not coalesce(abs(mean_share - mean_outcome) <= 1e-9 * (1 + abs(mean_outcome)), false)
order by conversation_id
