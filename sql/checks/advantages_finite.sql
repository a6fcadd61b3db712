-- Grain:  one row per turn with an advantage that is NaN or infinite, or with none where one has to train.
-- Reads:  credits
-- Params: none
-- Drops:  turns whose every advantage is finite, or null because the method lacks its input.
-- Order:  conversation_id, turn_index

select
    conversation_id,
    turn_index,
    algorithm,
    advantage
from credits
where
    not coalesce(isfinite(advantage), false)
    or not coalesce(isfinite(advantage_outcome), false)
    or not coalesce(isfinite(advantage_itpo), true)
    or not coalesce(isfinite(advantage_norm_itpo), true)
    or not coalesce(isfinite(advantage_norm_itpo_share), true)
    or not coalesce(isfinite(advantage_uniform), true)
    or not coalesce(isfinite(advantage_dirichlet), true)
    or not coalesce(isfinite(advantage_oracle_pi), true)
order by conversation_id, turn_index
