-- Grain:  one row per curation of the conversation.
-- Reads:  curated
-- Params: $conversation
-- Drops:  other conversations
-- Order:  iteration

select
    commit_iteration as iteration,
    kept,
    drop_reason,
    fold,
    outcome,
    reward
from curated
where conversation_id = $conversation
order by commit_iteration
