-- Grain:  one row per sampled turn: its credit under each method beside the oracle's, to plot or to rank.
-- Reads:  credits
-- Params: $sample   (at most this many turns, the same ones every time)
-- Drops:  turns without an oracle; turns beyond the sample, chosen by a hash of their key.
-- Order:  conversation_id, turn_index

with sampled as (
    select *
    from credits
    where credit_oracle_pi is not null
    qualify row_number() over (
        order by md5(conversation_id || ':' || turn_index::varchar), conversation_id, turn_index
    ) <= $sample::bigint
)

select
    conversation_id,
    turn_index,
    turn_kind,
    response_tokens,
    score,
    credit_oracle_pi as oracle,
    credit_itpo as itpo,
    credit_norm_itpo as norm_itpo,
    credit_norm_itpo_share as norm_itpo_share,
    credit_dirichlet as dirichlet
from sampled
order by conversation_id, turn_index
