-- Grain:  one row per turn of a kept conversation, with all of its credit that needs no siblings.
-- Reads:  curated, turns   (one iteration)
--         turn_scores      (may be empty: then every figure made from scores is null)
--         turn_inputs      (dirichlet_draw: drawn from the unit exponential; oracle_advantage: may be null)
-- Params: $use_scores      (false while the reward model's gate is closed: as if turn_scores were empty)
--         $temperature, $share
-- Drops:  turns of conversations that were not kept.
-- Order:  group_id, conversation_id, turn_index
--
-- The definitions, letter by letter, are those of itpo_core/turn_rewards.py. Every sum of fractions runs in turn
-- order, so that the bits do not depend on the number of threads.

with spoken as (
    select
        turns.conversation_id,
        turns.turn_index,
        curated.group_id,
        curated.policy_version,
        turns.turn_kind,
        turns.response_tokens,
        -- A foreign log has no tokens of its own; there the reward model's count of what it scored stands in.
        greatest(turns.response_tokens, coalesce(turn_scores.response_tokens, 0)) as tokens,
        tokens > 0 as happened,
        curated.outcome,
        curated.reward,
        case when happened and $use_scores::boolean then turn_scores.score end as score,
        case when happened then turn_inputs.dirichlet_draw end as draw,
        case when happened then turn_inputs.oracle_advantage else 0 end as oracle
    from curated
    inner join turns on curated.conversation_id = turns.conversation_id
    left join turn_scores
        on turns.conversation_id = turn_scores.conversation_id
        and turns.turn_index = turn_scores.turn_index
    left join turn_inputs
        on turns.conversation_id = turn_inputs.conversation_id
        and turns.turn_index = turn_inputs.turn_index
    where curated.kept
),

measured as (
    select
        *,
        count(*) filter (where happened) over whole as happened_turns,
        -- One missing score leaves the whole conversation without shares: a softmax over the rest would be a guess.
        $use_scores::boolean and count(score) over whole = happened_turns as has_scores,
        sum(tokens) over whole as conversation_tokens,
        max(turn_index) filter (where happened) over whole as last_turn,
        sum(draw) over whole as draws,
        sum(score) over rest as score_to_go,
        max(score) over whole as highest_score,
        min(score) over whole as lowest_score,
        max(score / tokens) over whole as highest_per_token
    from spoken
    window
        whole as (
            partition by conversation_id
            order by turn_index rows between unbounded preceding and unbounded following
        ),
        rest as (
            partition by conversation_id
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
            (score / tokens - highest_per_token)
            / largest_return * mean_turn_tokens / $temperature::double
        ) as normed
    from measured
    cross join batch
),

-- K is multiplied in before the division, so that equal turns weigh exactly 1.
shared as (
    select
        * exclude (up, down, normed),
        1 + $share::double * (happened_turns * up / sum(up) over whole - 1) as weight_up,
        1 + $share::double * (happened_turns * down / sum(down) over whole - 1) as weight_down,
        normed / sum(normed) over whole as normed_share,
        happened_turns * draw / draws as weight_random
    from exponentials
    window
        whole as (
            partition by conversation_id
            order by turn_index rows between unbounded preceding and unbounded following
        )
),

credited as (
    select
        * exclude (score_to_go),
        case when turn_index = last_turn then reward else 0 end as credit_outcome,
        case when not happened then 0 else reward / happened_turns end as credit_uniform,
        case when not happened then 0 else reward * draw / draws end as credit_dirichlet,
        case when not has_scores then null when not happened then 0 else score end as credit_itpo,
        case
            when not has_scores then null
            when not happened then 0
            else outcome * normed_share - (outcome - reward) * tokens / conversation_tokens
        end as credit_norm_itpo,
        case when has_scores and happened then score_to_go end as return_itpo
    from shared
)

select
    conversation_id,
    turn_index,
    group_id,
    policy_version,
    turn_kind,
    response_tokens,
    tokens,
    happened,
    has_scores,
    score,
    credit_outcome,
    credit_itpo,
    credit_norm_itpo,
    credit_uniform,
    credit_dirichlet,
    oracle as credit_oracle_pi,
    return_itpo,
    case
        when happened then sum(credit_norm_itpo) over (
            partition by conversation_id
            order by turn_index rows between current row and unbounded following
        )
    end as return_norm_itpo,
    case when not has_scores then null when happened then weight_up else 0 end as weight_up,
    case when not has_scores then null when happened then weight_down else 0 end as weight_down,
    weight_random
from credited
order by group_id, conversation_id, turn_index
