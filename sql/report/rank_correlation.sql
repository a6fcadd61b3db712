-- Grain:  one row per credit method: Spearman's correlation of its turn rewards with the oracle's.
-- Reads:  credits
-- Params: none
-- Drops:  turns without an oracle; methods without a value. A method that gives every turn the same has null.
-- Order:  method
--
-- Ties share the mean of their ranks. `dirichlet` is the placebo: what no information at all would reach.

with long as (
    select
        conversation_id,
        turn_index,
        credit_oracle_pi as truth,
        replace(name, 'credit_', '') as method,
        value
    from credits
    unpivot (
        value for name in (
            credit_outcome, credit_itpo, credit_norm_itpo, credit_norm_itpo_share, credit_uniform, credit_dirichlet
        )
    )
    where credit_oracle_pi is not null
),

ranked as (
    select
        method,
        conversation_id,
        turn_index,
        rank() over (partition by method order by value)
        + (count(*) over (partition by method, value) - 1) / 2 as value_rank,
        rank() over (partition by method order by truth)
        + (count(*) over (partition by method, truth) - 1) / 2 as truth_rank
    from long
)

select
    method,
    count(*) as turns,
    case
        when min(value_rank) < max(value_rank) and min(truth_rank) < max(truth_rank)
            then corr(value_rank, truth_rank order by conversation_id, turn_index)
    end as spearman
from ranked
group by method
order by method
