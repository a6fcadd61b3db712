-- Grain:  one row per iteration and algorithm whose advantages trained.
-- Reads:  credits   (any number of iterations)
-- Params: none
-- Drops:  nothing
-- Order:  iteration, algorithm

select
    commit_iteration as iteration,
    algorithm,
    count(*) as turns,
    count(distinct conversation_id) as conversations
from credits
group by commit_iteration, algorithm
order by commit_iteration, algorithm
