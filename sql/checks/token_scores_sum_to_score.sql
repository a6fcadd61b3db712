-- Grain:  one row per scored turn whose token scores do not add up to its score.
-- Reads:  turn_scores
-- Params: none
-- Drops:  turns whose terms add up to within rounding of float32; turns without token scores.
-- Order:  conversation_id, turn_index

with summed as (
    select
        conversation_id,
        turn_index,
        score,
        coalesce(list_sum(token_scores), 0) as sum_of_tokens,
        coalesce(list_sum(list_transform(token_scores, lambda x: abs(x))), 0) as sum_of_sizes
    from turn_scores
    where token_scores is not null
)

select
    conversation_id,
    turn_index,
    score,
    sum_of_tokens
from summed
-- NaN is not above anything, so it is asked for by name.
where not isfinite(sum_of_tokens) or abs(sum_of_tokens - score) > 1e-4 * (1 + sum_of_sizes)
order by conversation_id, turn_index
