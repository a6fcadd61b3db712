-- Grain:  one row.
-- Reads:  conversations   (the shards of one iteration)
-- Params: none
-- Drops:  nothing; counts broken conversations and names the first cause.

select
    count(*) as conversations,
    count(*) filter (where status = 'failed') as failed,
    min(failure_kind || ': ' || failure_cause order by conversation_id) as first_cause
from conversations
order by conversations
