-- Grain:  one row per iteration and policy version: success and what it cost.
-- Reads:  conversations   (rollouts and logs, any number of iterations)
-- Params: none
-- Drops:  nothing; means are over scored conversations, the others are counted beside them.
-- Order:  iteration, policy_version

select
    iteration,
    policy_version,
    count(*) as conversations,
    count(*) filter (where status = 'failed') as failed,
    count(outcome) as scored,
    avg(outcome order by conversation_id) as success,
    stddev_samp(outcome order by conversation_id) / sqrt(count(outcome)) as success_error,
    avg(n_turns) filter (where outcome is not null) as mean_turns,
    avg(assistant_tokens) filter (where outcome is not null) as mean_tokens
from conversations
group by iteration, policy_version
order by iteration, policy_version
