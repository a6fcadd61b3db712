-- Grain:  one row per turn of the logged conversations that the viewer shows.
-- Reads:  conversations, turns   (iteration 0)
-- Params: $conversations         (how many; half of them successes where there are enough)
-- Drops:  conversations beyond the sample, chosen by a hash of their id.
-- Order:  success first, conversations without an outcome last, then conversation_id, turn_index

with shown as (
    select conversation_id, outcome, stop_reason, latent_json
    from conversations
    where n_turns > 0
    qualify row_number() over (
        partition by outcome > 0.5 order by md5(conversation_id), conversation_id
    ) <= $conversations::bigint / 2
)

select
    shown.conversation_id,
    shown.outcome,
    shown.stop_reason,
    shown.latent_json,
    turns.turn_index,
    turns.user_text,
    turns.assistant_text,
    turns.turn_kind,
    turns.response_tokens
from shown
inner join turns on shown.conversation_id = turns.conversation_id
order by shown.outcome desc nulls last, shown.conversation_id, turns.turn_index
