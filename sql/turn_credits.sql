-- Grain:  one row per turn of a kept conversation, with all of its credit that needs no siblings.
-- Reads:  curated, turns   (one iteration)
--         turn_scores      (may be empty: then every figure made from scores is null)
--         turn_inputs      (dirichlet_draw: drawn from the unit exponential; oracle_advantage: may be null)
-- Params: $use_scores      (false while the reward model's gate is closed: as if turn_scores were empty)
--         $temperature, $share
-- Drops:  turns of conversations that were not kept.
-- Order:  none; an intermediate table. `conversation_number` and `group_number` carry the total order on.
--
-- The definitions, letter by letter, are those of itpo_core/turn_rewards.py. `x_to_go` is x of this turn and all
-- later ones, summed in turn order, so that the bits do not depend on the number of threads.

with kept as (
    select
        *,
        -- Numbers sort, join and travel several times faster than the identifiers that they stand for.
        row_number() over (order by group_id, conversation_id)::integer as conversation_number,
        dense_rank() over (order by group_id)::integer as group_number
    from curated
    where kept
),

-- By number before they are joined turn by turn: with identifiers, a million rows of each would have to be held.
scored as (
    select
        kept.conversation_number,
        turn_scores.turn_index,
        turn_scores.response_tokens,
        turn_scores.score
    from turn_scores
    inner join kept using (conversation_id)
),

given as (
    select
        kept.conversation_number,
        turn_inputs.turn_index,
        turn_inputs.dirichlet_draw,
        turn_inputs.oracle_advantage
    from turn_inputs
    inner join kept using (conversation_id)
),

spoken as (
    select
        kept.conversation_number,
        kept.group_number,
        turns.turn_index,
        turns.turn_kind,
        turns.response_tokens,
        -- A foreign log has no tokens of its own; there the reward model's count of what it scored stands in.
        greatest(turns.response_tokens, coalesce(scored.response_tokens, 0)) as tokens,
        tokens > 0 as happened,
        kept.outcome,
        kept.reward,
        case when happened and $use_scores::boolean then scored.score end as score,
        case when happened then given.dirichlet_draw end as draw,
        case when happened then given.oracle_advantage else 0 end as oracle
    from kept
    inner join turns on kept.conversation_id = turns.conversation_id
    left join scored
        on kept.conversation_number = scored.conversation_number
        and turns.turn_index = scored.turn_index
    left join given
        on kept.conversation_number = given.conversation_number
        and turns.turn_index = given.turn_index
),

measured as (
    select
        *,
        count(*) filter (where happened) over whole as happened_turns,
        -- One missing score silences the whole conversation: a softmax over the rest would be a guess.
        $use_scores::boolean and count(score) over whole = happened_turns as has_scores,
        sum(tokens) over whole as conversation_tokens,
        max(turn_index) filter (where happened) over whole as last_turn,
        max(score) over whole as highest_score,
        min(score) over whole as lowest_score,
        max(score / tokens) over whole as highest_per_token,
        sum(score) over rest as score_to_go
    from spoken
    window
        whole as (partition by conversation_number),
        rest as (
            partition by conversation_number
            order by turn_index rows between current row and unbounded following
        )
),

batch as (
    select
        coalesce(avg(tokens) filter (where happened), 1)::double as mean_turn_tokens,
        coalesce(max(abs(score_to_go)) filter (where has_scores), 0) + 1e-6::double as largest_return
    from measured
),

-- The largest exponent is taken out first: exp(1000) is infinite and infinity over infinity is NaN.
exponentials as (
    select
        measured.*,
        exp((score - highest_score) / $temperature::double) as up,
        exp((lowest_score - score) / $temperature::double) as down,
        exp(
            (score / tokens - highest_per_token) / largest_return * mean_turn_tokens / $temperature::double
        ) as normed
    from measured
    cross join batch
),

cumulated as (
    select
        *,
        sum(tokens) over rest as tokens_to_go,
        sum(draw) over rest as draw_to_go,
        sum(up) over rest as up_to_go,
        sum(down) over rest as down_to_go,
        sum(normed) over rest as normed_to_go
    from exponentials
    window rest as (
        partition by conversation_number
        order by turn_index rows between current row and unbounded following
    )
),

-- None of these terms is negative: the most that is ever to go is the total.
totalled as (
    select
        *,
        max(draw_to_go) over whole as draws,
        max(up_to_go) over whole as ups,
        max(down_to_go) over whole as downs,
        max(normed_to_go) over whole as norms
    from cumulated
    window whole as (partition by conversation_number)
),

-- K is multiplied in before the division, so that equal turns weigh exactly 1.
split as (
    select
        *,
        reward / happened_turns as uniform,
        reward * draw / draws as dirichlet,
        outcome * normed / norms - (outcome - reward) * tokens / conversation_tokens as norm_itpo,
        outcome * normed_to_go / norms - (outcome - reward) * tokens_to_go / conversation_tokens as norm_itpo_to_go,
        1 + $share::double * (happened_turns * up / ups - 1) as share_up,
        1 + $share::double * (happened_turns * down / downs - 1) as share_down,
        happened_turns * draw / draws as share_random
    from totalled
)

select
    conversation_number,
    split.group_number,
    turn_index,
    kept.conversation_id,
    kept.group_id,
    kept.policy_version,
    turn_kind,
    response_tokens,
    tokens,
    happened,
    has_scores,
    score,
    case when turn_index = last_turn then split.reward else 0 end as credit_outcome,
    case when not has_scores then null when happened then score else 0 end as credit_itpo,
    case when not has_scores then null when happened then norm_itpo else 0 end as credit_norm_itpo,
    case when happened then uniform else 0 end as credit_uniform,
    case when happened then dirichlet else 0 end as credit_dirichlet,
    oracle as credit_oracle_pi,
    case when has_scores and happened then score_to_go end as return_itpo,
    case when has_scores and happened then norm_itpo_to_go end as return_norm_itpo,
    case when not has_scores then null when happened then share_up else 0 end as weight_up,
    case when not has_scores then null when happened then share_down else 0 end as weight_down,
    case when happened then share_random else 0 end as weight_random
from split
inner join kept using (conversation_number)
