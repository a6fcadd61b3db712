-- Grain:  one row per assistant turn.
-- Reads:  turns   (of one iteration)
-- Params: none
-- Drops:  nothing; the order fixes which random draw and which oracle value belong to which turn.

select
    conversation_id,
    turn_index,
    turn_kind,
    missing,
    turns_left,
    optimal_value,
    optimal_action_value,
    success_if_final
from turns
order by conversation_id, turn_index
