-- Grain:  one row per turn of a kept conversation: every classic credit, and what trains.
-- Reads:  classic   (credits.sql)
--         trained   (turn rewards and advantages of the algorithm that trains; computed in torch)
-- Params: $algorithm   (the one that trains)
-- Drops:  nothing; a turn that torch did not credit has no advantage, and the contract refuses it.
-- Order:  conversation_id, turn_index

select
    classic.conversation_id,
    classic.turn_index,
    classic.group_id,
    classic.policy_version,
    classic.turn_kind,
    classic.response_tokens,
    classic.score,
    classic.credit_outcome,
    classic.credit_itpo,
    classic.credit_norm_itpo,
    classic.credit_norm_itpo_share,
    classic.credit_uniform,
    classic.credit_dirichlet,
    classic.credit_oracle_pi,
    classic.advantage_outcome,
    classic.advantage_itpo,
    classic.advantage_norm_itpo,
    classic.advantage_norm_itpo_share,
    classic.advantage_uniform,
    classic.advantage_dirichlet,
    classic.advantage_oracle_pi,
    trained.credit,
    trained.advantage,
    trained.token_advantages,
    $algorithm::varchar as algorithm
from classic
left join trained
    on classic.conversation_id = trained.conversation_id
    and classic.turn_index = trained.turn_index
order by classic.conversation_id, classic.turn_index
