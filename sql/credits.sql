-- Grain:  one row per turn of a kept conversation: every credit side by side.
-- Reads:  turn_credits   (turn_credits.sql)
--         advantages     (advantages_grpo.sql or advantages_rloo.sql)
-- Params: $algorithm     (whose advantage trains; with the reward model's gate closed the caller names one that
--                         needs no scores)
-- Drops:  nothing
-- Order:  conversation_number, turn_index, which is group_id, conversation_id, turn_index
--
-- The definitions are those of itpo_core/advantages.py. `advantage` is null, and checks/advantages_finite.sql says
-- so, when $algorithm needs what this iteration lacks.

-- Fractions are summed in key order, group by group, so that the bits do not depend on the number of threads.
with sums as (
    select
        group_number,
        sum(tokens) as weight,
        sum(tokens * credit_oracle_pi order by conversation_number, turn_index) as weighted
    from turn_credits
    where credit_oracle_pi is not null
    group by group_number
),

centre as (
    select
        sum(weight)::double as weight,
        sum(weighted order by group_number) / sum(weight) as mean
    from sums
),

squares as (
    select
        group_number,
        sum(tokens * pow(credit_oracle_pi - centre.mean, 2) order by conversation_number, turn_index) as weighted
    from turn_credits
    cross join centre
    where credit_oracle_pi is not null
    group by group_number
),

spread as (
    select
        any_value(centre.mean) as mean,
        sqrt(sum(squares.weighted order by group_number) / any_value(centre.weight)) as deviation
    from squares
    cross join centre
),

side_by_side as (
    select
        turn_credits.* exclude (tokens, happened, has_scores),
        advantages.* exclude (conversation_number, turn_index),
        -- An average member is one of the successes, whatever rounding makes of its zero.
        case when advantage_outcome >= -1e-9 then weight_up else weight_down end as weight_share,
        credit_uniform * weight_share as credit_norm_itpo_share,
        advantage_outcome * weight_share as advantage_norm_itpo_share,
        advantage_outcome as advantage_uniform,
        case when happened then advantage_outcome * weight_random else 0 end as advantage_dirichlet,
        case
            when happened then (credit_oracle_pi - spread.mean) / (spread.deviation + 1e-6)
            else 0
        end as advantage_oracle_pi
    from turn_credits
    inner join advantages using (conversation_number, turn_index)
    cross join spread
)

select
    conversation_id,
    turn_index,
    group_id,
    policy_version,
    turn_kind,
    response_tokens,
    score,
    credit_outcome,
    credit_itpo,
    credit_norm_itpo,
    credit_norm_itpo_share,
    credit_uniform,
    credit_dirichlet,
    credit_oracle_pi,
    advantage_outcome,
    advantage_itpo,
    advantage_norm_itpo,
    advantage_norm_itpo_share,
    advantage_uniform,
    advantage_dirichlet,
    advantage_oracle_pi,
    case $algorithm::varchar
        when 'outcome' then advantage_outcome
        when 'itpo' then advantage_itpo
        when 'norm_itpo' then advantage_norm_itpo
        when 'norm_itpo_share' then advantage_norm_itpo_share
        when 'uniform' then advantage_uniform
        when 'dirichlet' then advantage_dirichlet
        when 'oracle_pi' then advantage_oracle_pi
    end as advantage,
    $algorithm::varchar as algorithm
from side_by_side
order by conversation_number, turn_index
