-- Grain:  one row per conversation that has both an outcome and a reason for having none, or neither.
-- Reads:  conversations
-- Params: none
-- Drops:  conversations with exactly one of the two.
-- Order:  conversation_id

select
    conversation_id,
    outcome,
    outcome_reason
from conversations
where (outcome is null) = (outcome_reason is null)
order by conversation_id
