-- Grain:  one row per iteration and reason for which a conversation has no outcome.
-- Reads:  conversations   (any number of iterations)
-- Params: none
-- Drops:  conversations with an outcome; no outcome is null with a reason and never 0.
-- Order:  iteration, the most frequent first, then status and reason

select
    iteration,
    status,
    coalesce(outcome_reason, 'no reason was given') as reason,
    count(*) as conversations
from conversations
where outcome is null
group by iteration, status, coalesce(outcome_reason, 'no reason was given')
order by iteration, conversations desc, status, reason
