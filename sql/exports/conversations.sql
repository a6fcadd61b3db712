-- Grain:  one row per exported conversation, with what had been suggested at each of its turns.
-- Reads:  conversations, turns, chosen   (of one iteration; chosen is the result of chosen.sql)
-- Params: none
-- Drops:  conversations that chosen.sql leaves out.
-- Order:  conversation_id

with suggestions as (
    select
        conversation_id,
        list(suggested_text order by turn_index) as suggested_texts,
        list(acceptance order by turn_index) as acceptances
    from turns
    group by conversation_id
)

select
    conversations.*,
    chosen.reward,
    chosen.export_split,
    suggestions.suggested_texts,
    suggestions.acceptances
from conversations
inner join chosen using (conversation_id)
inner join suggestions using (conversation_id)
where chosen.left_out is null
order by conversations.conversation_id
