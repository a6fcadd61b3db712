-- Grain:  one row per iteration, evaluated version, users and judge of the evaluation, with what came of it.
-- Reads:  evaluation_conversations   (any number of iterations)
-- Params: none
-- Drops:  nothing; success is over `unseen_scored`, on scenarios that were never collected.
-- Order:  by all columns that the rows are grouped by

select
    commit_iteration as iteration,
    policy_version,
    simulator,
    simulator_version,
    simulator_digest,
    judge_version,
    count(*) as conversations,
    count(*) filter (where split = 'unseen') as unseen,
    count(outcome) filter (where split = 'unseen') as unseen_scored,
    avg(outcome order by conversation_id) filter (where split = 'unseen') as success
from evaluation_conversations
group by commit_iteration, policy_version, simulator, simulator_version, simulator_digest, judge_version
order by commit_iteration, policy_version, simulator, simulator_version, simulator_digest, judge_version
