-- Grain:  one row per turn of a kept conversation, with everything that any credit method is computed from.
-- Reads:  curated, turns   (one iteration)
--         turn_scores, turn_inputs, turn_values   (may lack turns: then their columns are null)
-- Params: none
-- Drops:  turns of conversations that were not kept.
-- Order:  conversation_number, turn_index
--
-- Conversations and groups are numbered from 0 in the order of their identifiers, so that the rows fill tensors.

with kept as (
    select
        *,
        row_number() over (order by group_id, conversation_id) - 1 as conversation_number,
        dense_rank() over (order by group_id) - 1 as group_number
    from curated
    where kept
)

select
    kept.conversation_id,
    kept.conversation_number::bigint as conversation_number,
    kept.group_number::bigint as group_number,
    turns.turn_index::bigint as turn_index,
    greatest(turns.response_tokens, coalesce(turn_scores.response_tokens, 0))::bigint as tokens,
    kept.outcome,
    kept.reward,
    turn_scores.score,
    turn_scores.token_scores,
    turn_inputs.dirichlet_draw as draw,
    turn_inputs.oracle_advantage as oracle,
    turns.optimal_action_value - turns.optimal_value as oracle_star,
    turns.judge_weight as judge,
    turn_values.value,
    turn_values.return_value,
    turn_values.log_ratio
from kept
inner join turns on kept.conversation_id = turns.conversation_id
left join turn_scores
    on turns.conversation_id = turn_scores.conversation_id
    and turns.turn_index = turn_scores.turn_index
left join turn_inputs
    on turns.conversation_id = turn_inputs.conversation_id
    and turns.turn_index = turn_inputs.turn_index
left join turn_values
    on turns.conversation_id = turn_values.conversation_id
    and turns.turn_index = turn_values.turn_index
order by kept.conversation_number, turns.turn_index
