-- Grain:  one row per turn of the conversations that the viewer shows, with every credit and advantage.
-- Reads:  conversations, turns, credits   (one iteration)
-- Params: $conversations                  (how many; half of them successes where there are enough)
-- Drops:  conversations that were not kept; conversations beyond the sample, chosen by a hash of their id.
-- Order:  success first, then conversation_id, turn_index

with kept as (
    select
        conversation_id,
        outcome,
        outcome_reason,
        stop_reason,
        latent_json,
        messages_json
    from conversations
    where conversation_id in (select conversation_id from credits)
),

shown as (
    select *
    from kept
    qualify row_number() over (
        partition by outcome > 0.5 order by md5(conversation_id), conversation_id
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
    credits.score,
    credits.credit_outcome,
    credits.credit_itpo,
    credits.credit_norm_itpo,
    credits.credit_norm_itpo_share,
    credits.credit_dirichlet,
    credits.credit_oracle_pi,
    credits.advantage_outcome,
    credits.advantage_itpo,
    credits.advantage_norm_itpo,
    credits.advantage_norm_itpo_share,
    credits.advantage_dirichlet,
    credits.advantage_oracle_pi
from shown
inner join turns on shown.conversation_id = turns.conversation_id
inner join credits
    on turns.conversation_id = credits.conversation_id and turns.turn_index = credits.turn_index
order by shown.outcome desc, shown.conversation_id, turns.turn_index
