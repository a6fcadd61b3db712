-- Grain:  one row per turn of the logged conversations that the viewer shows.
-- Reads:  conversations, turns   (iteration 0)
--         turn_scores            (may be empty; foreign logs have scores on held-out conversations only)
-- Params: $conversations         (how many; half of them successes where there are enough)
-- Drops:  conversations beyond the sample: those with scores come first, then by a hash of their id.
-- Order:  success first, conversations without an outcome last, then conversation_id, turn_index

with shown as (
    select
        conversation_id,
        outcome,
        outcome_reason,
        stop_reason,
        latent_json,
        messages_json
    from conversations
    where n_turns > 0
    qualify row_number() over (
        partition by outcome > 0.5
        order by
            conversation_id in (select conversation_id from turn_scores) desc,
            md5(conversation_id),
            conversation_id
    ) <= $conversations::bigint / 2
)

select
    shown.*,
    turns.turn_index,
    turns.turn_kind,
    turns.suggested_text,
    turns.acceptance,
    turns.response_tokens,
    turns.finish_reason,
    turn_scores.score
from shown
inner join turns on shown.conversation_id = turns.conversation_id
left join turn_scores
    on turns.conversation_id = turn_scores.conversation_id and turns.turn_index = turn_scores.turn_index
order by shown.outcome desc nulls last, shown.conversation_id, turns.turn_index
