-- Grain:  one row per iteration and fate: kept, or the reason for dropping.
-- Reads:  curated   (any number of iterations)
-- Params: none
-- Drops:  nothing; the shares of an iteration sum to 1.
-- Order:  iteration, kept first, then the most frequent reason

select
    iteration,
    coalesce(drop_reason, 'kept') as fate,
    count(*) as conversations,
    count(*) / sum(count(*)) over (partition by iteration) as share
from curated
group by iteration, kept, drop_reason
order by iteration, kept desc, conversations desc, fate
