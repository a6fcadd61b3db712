-- Grain:  one row per assistant turn.
-- Reads:  turns, conversations   (of one iteration)
-- Params: none
-- Drops:  nothing; the order fixes which random draw and which oracle value belong to which turn.

select
    turns.conversation_id,
    turns.turn_index,
    turns.turn_kind,
    turns.missing,
    turns.turns_left,
    turns.optimal_value,
    turns.optimal_action_value,
    turns.success_if_final,
    conversations.persona_id
from turns
inner join conversations on turns.conversation_id = conversations.conversation_id
order by turns.conversation_id, turns.turn_index
