-- Grain:  one row per kind of turn and credit method: the mean turn reward with its standard error.
-- Reads:  credits
-- Params: none
-- Drops:  methods without a value; `oracle_pi` is the truth that the others stand next to.
-- Order:  turn_kind, method

with long as (
    select
        conversation_id,
        turn_index,
        coalesce(turn_kind, 'unknown') as turn_kind,
        replace(name, 'credit_', '') as method,
        value
    from credits
    unpivot (
        value for name in (
            credit_outcome, credit_itpo, credit_norm_itpo, credit_norm_itpo_share,
            credit_uniform, credit_dirichlet, credit_oracle_pi
        )
    )
)

select
    turn_kind,
    method,
    count(*) as turns,
    avg(value order by conversation_id, turn_index) as mean,
    stddev_samp(value order by conversation_id, turn_index) / sqrt(count(*)) as standard_error
from long
group by turn_kind, method
order by turn_kind, method
