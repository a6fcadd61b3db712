-- Grain:  one row per policy version.
-- Reads:  conversations   (of one evaluation, or of any rollouts)
-- Params: $split          ('seen' or 'unseen')
-- Drops:  conversations without an outcome; they are counted beside the mean, never as zero.

select
    policy_version,
    count(outcome) as scored,
    count(*) - count(outcome) as unscored,
    avg(outcome order by conversation_id) as success,
    avg(assistant_tokens::double order by conversation_id) as assistant_tokens,
    avg(n_turns::double order by conversation_id) as turns
from conversations
where split = $split
group by policy_version
order by policy_version
