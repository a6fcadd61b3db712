-- Grain:  one row per conversation whose status, failure kind and outcome contradict each other.
-- Reads:  conversations
-- Params: none
-- Drops:  failed conversations with a kind, a cause and no outcome; valid ones without a kind.
-- Order:  conversation_id

select
    conversation_id,
    status,
    failure_kind,
    failure_cause,
    outcome
from conversations
where
    status not in ('valid', 'failed')
    or (status = 'failed') <> (stop_reason = 'failed')
    or (status = 'failed' and (failure_kind is null or failure_cause is null or outcome is not null))
    or (status = 'valid' and (failure_kind is not null or failure_cause is not null))
order by conversation_id
