-- Grain:  one row per turn whose token ids, log-probabilities and token count disagree.
-- Reads:  turns
-- Params: none
-- Drops:  turns whose lists agree; logged turns (policy `logs:...`) may lack log-probabilities altogether.
-- Order:  conversation_id, turn_index

select
    conversation_id,
    turn_index,
    response_tokens,
    len(response_ids) as token_ids,
    len(logprobs) as logprobs
from turns
where
    response_tokens <> len(response_ids)
    or (
        len(logprobs) <> len(response_ids)
        and not (starts_with(policy_version, 'logs:') and len(logprobs) = 0)
    )
order by conversation_id, turn_index
