-- Grain:  one row per turn with a log-probability that is missing, NaN, infinite or above zero.
-- Reads:  turns
-- Params: none
-- Drops:  turns whose log-probabilities are all in order; 1e-4 is what float32 may round above zero.
-- Order:  conversation_id, turn_index

select
    conversation_id,
    turn_index,
    list_filter(logprobs, lambda x: x is null or not isfinite(x) or x > 1e-4) as offending
from turns
where
    -- The cheap sums find almost every good turn; only the rest is looked at value by value.
    not isfinite(coalesce(list_sum(logprobs), 0.0::double))
    or coalesce(list_max(logprobs), 0.0::float) > 1e-4
    or list_count(logprobs) <> len(logprobs)
order by conversation_id, turn_index
