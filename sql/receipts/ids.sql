-- Grain:  one row per conversation whose id starts with the text, or else those with the most similar ids.
-- Reads:  conversations, evaluation_conversations
-- Params: $text
-- Drops:  all but 20, and ids that are not at all similar
-- Order:  those that start with the text first, then the most similar, then by id

with ids as (
    select
        experiment,
        conversation_id
    from conversations
    union
    select
        experiment,
        conversation_id
    from evaluation_conversations
)

select
    experiment,
    conversation_id,
    starts_with(conversation_id, $text) as matches
from ids
where starts_with(conversation_id, $text) or jaro_winkler_similarity(conversation_id, $text) > 0.8
order by matches desc, jaro_winkler_similarity(conversation_id, $text) desc, conversation_id, experiment
limit 20
