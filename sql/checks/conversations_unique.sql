-- Grain:  one row per conversation id that occurs more than once.
-- Reads:  conversations
-- Params: none
-- Drops:  ids that occur once.
-- Order:  conversation_id

select
    conversation_id,
    count(*) as occurrences
from conversations
group by conversation_id
having count(*) > 1
order by conversation_id
