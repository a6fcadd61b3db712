-- Grain:  one row per credited turn of the conversation.
-- Reads:  credits
-- Params: $conversation
-- Drops:  other conversations
-- Order:  iteration, turn_index

select
    commit_iteration as iteration,
    turn_index,
    turn_kind,
    algorithm,
    score,
    credit,
    advantage
from credits
where conversation_id = $conversation
order by commit_iteration, turn_index
