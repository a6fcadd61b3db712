-- Grain:  one row per credited turn.
-- Reads:  turns, credits   (of one iteration)
-- Params: none
-- Drops:  turns without credit (their conversation was not kept).

select
    turns.conversation_id,
    turns.turn_index,
    turns.policy_version,
    turns.prompt_ids,
    turns.response_ids,
    turns.logprobs,
    turns.temperature,
    credits.advantage
from turns
inner join credits
    on turns.conversation_id = credits.conversation_id
    and turns.turn_index = credits.turn_index
order by turns.conversation_id, turns.turn_index
