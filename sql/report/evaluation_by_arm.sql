-- Grain:  one row per iteration, split (seen or unseen scenarios) and arm that was evaluated.
-- Reads:  evaluation_conversations   (one iteration)
-- Params: $candidate, $incumbent     (policy versions; every other version keeps its own name as its arm)
-- Drops:  nothing; means are over scored conversations, the others are counted beside them.
-- Order:  iteration, split, arm

with arms as (
    select
        *,
        case policy_version
            when $candidate::varchar then 'candidate'
            when $incumbent::varchar then 'incumbent'
            else policy_version
        end as arm
    from evaluation_conversations
)

select
    iteration,
    split,
    arm,
    any_value(policy_version) as policy_version,
    count(*) as conversations,
    count(outcome) as scored,
    avg(outcome order by conversation_id) as success,
    stddev_samp(outcome order by conversation_id) / sqrt(count(outcome)) as success_error,
    avg(n_turns) filter (where outcome is not null) as mean_turns,
    stddev_samp(n_turns order by conversation_id) filter (where outcome is not null)
    / sqrt(count(outcome)) as turns_error,
    avg(assistant_tokens) filter (where outcome is not null) as mean_tokens,
    stddev_samp(assistant_tokens order by conversation_id) filter (where outcome is not null)
    / sqrt(count(outcome)) as tokens_error
from arms
group by iteration, split, arm
order by iteration, split, arm
