-- Grain:  one row per exported conversation, with what had been suggested at each of its turns, how they
--         ended, and how all of them were sampled: null where they were not sampled alike.
-- Reads:  conversations, turns, chosen   (of one iteration; chosen is the result of chosen.sql)
-- Params: none
-- Drops:  conversations that chosen.sql leaves out.
-- Order:  conversation_id

with suggestions as (
    select
        conversation_id,
        list(suggested_text order by turn_index) as suggested_texts,
        list(acceptance order by turn_index) as acceptances,
        list(finish_reason order by turn_index) as finish_reasons,
        case when min(temperature) = max(temperature) then min(temperature) end as temperature,
        case when min(top_p) = max(top_p) then min(top_p) end as top_p
    from turns
    group by conversation_id
)

select
    conversations.*,
    chosen.reward,
    chosen.export_split,
    suggestions.suggested_texts,
    suggestions.acceptances,
    suggestions.finish_reasons,
    suggestions.temperature,
    suggestions.top_p
from conversations
inner join chosen using (conversation_id)
inner join suggestions using (conversation_id)
where chosen.left_out is null
order by conversations.conversation_id
