-- Grain:  one row per iteration, speaker, users and judge of the rollouts, with what came of it.
-- Reads:  conversations   (rollouts and logs, any number of iterations)
-- Params: none
-- Drops:  nothing; success is over scored conversations.
-- Order:  by all columns that the rows are grouped by

select
    commit_iteration as iteration,
    policy_version,
    simulator,
    simulator_version,
    simulator_digest,
    judge_version,
    count(*) as conversations,
    sum(n_turns)::bigint as turns,
    sum(assistant_tokens)::bigint as assistant_tokens,
    count(*) filter (where status = 'failed') as failed,
    count(outcome) as scored,
    avg(outcome order by conversation_id) as success
from conversations
group by commit_iteration, policy_version, simulator, simulator_version, simulator_digest, judge_version
order by commit_iteration, policy_version, simulator, simulator_version, simulator_digest, judge_version
