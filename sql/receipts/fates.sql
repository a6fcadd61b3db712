-- Grain:  one row per iteration and fate: kept, or the reason for dropping.
-- Reads:  curated   (any number of iterations)
-- Params: none
-- Drops:  nothing
-- Order:  iteration, kept first, then the most frequent reason

select
    commit_iteration as iteration,
    coalesce(drop_reason, 'kept') as fate,
    count(*) as conversations
from curated
group by commit_iteration, kept, drop_reason
order by commit_iteration, kept desc, conversations desc, fate
