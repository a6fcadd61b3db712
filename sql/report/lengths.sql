-- Grain:  one row per iteration, policy version and number of turns: how many conversations, how long, how successful.
-- Reads:  conversations   (any number of iterations)
-- Params: none
-- Drops:  failed conversations, whose length says what broke and not what the policy does.
-- Order:  iteration, policy_version, n_turns

select
    iteration,
    policy_version,
    n_turns,
    count(*) as conversations,
    avg(assistant_tokens) as mean_tokens,
    median(assistant_tokens) as median_tokens,
    count(outcome) as scored,
    avg(outcome order by conversation_id) as success,
    stddev_samp(outcome order by conversation_id) / sqrt(count(outcome)) as success_error
from conversations
where status = 'valid'
group by iteration, policy_version, n_turns
order by iteration, policy_version, n_turns
