-- Grain:  one row per credit method: on how many kinds of turn its mean advantage has the truth's sign, or the other.
-- Reads:  credits
-- Params: none
-- Drops:  methods without a value; nothing at all is left without an oracle.
-- Order:  method
--
-- A kind counts only where the 95 % interval of its mean leaves out 0; the others are undecided, neither agreeing
-- nor opposing. `agreeing_share` and `opposing_share` weigh each kind by how often it was spoken.

with long as (
    select
        conversation_id,
        turn_index,
        coalesce(turn_kind, 'unknown') as turn_kind,
        advantage_oracle_pi as truth,
        replace(name, 'advantage_', '') as method,
        value
    from credits
    unpivot (
        value for name in (
            advantage_outcome, advantage_itpo, advantage_norm_itpo, advantage_norm_itpo_share,
            advantage_uniform, advantage_dirichlet
        )
    )
    where advantage_oracle_pi is not null
),

means as (
    select
        method,
        turn_kind,
        count(*) as turns,
        avg(value order by conversation_id, turn_index) as mean,
        1.96 * stddev_samp(value order by conversation_id, turn_index) / sqrt(count(*)) as half_interval,
        avg(truth order by conversation_id, turn_index) as mean_truth
    from long
    group by method, turn_kind
),

compared as (
    select
        *,
        -- A kind spoken once has no interval, so nothing is decided about it.
        case when abs(mean) > half_interval then sign(mean) * sign(mean_truth) else 0 end as verdict
    from means
)

select
    method,
    count(*) as kinds,
    count(*) filter (where verdict > 0) as agreeing_kinds,
    count(*) filter (where verdict < 0) as opposing_kinds,
    sum(turns)::bigint as turns,
    coalesce(sum(turns) filter (where verdict > 0), 0) / sum(turns) as agreeing_share,
    coalesce(sum(turns) filter (where verdict < 0), 0) / sum(turns) as opposing_share
from compared
group by method
order by method
