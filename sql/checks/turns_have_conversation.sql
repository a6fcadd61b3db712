-- Grain:  one row per turn that belongs to no conversation.
-- Reads:  conversations, turns
-- Params: none
-- Drops:  turns whose conversation is there.
-- Order:  conversation_id, turn_index

select
    conversation_id,
    turn_index
from turns
anti join conversations using (conversation_id)
order by conversation_id, turn_index
