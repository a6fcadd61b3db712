-- Grain:  one row per policy version that learnt from the conversation, and how.
-- Reads:  policy_conversations
-- Params: $conversation
-- Drops:  other conversations; of a version that learnt directly, what it inherited besides
-- Order:  relation, policy_version, source_key

select
    relation,
    policy_version,
    source_key,
    fold
from policy_conversations
where conversation_id = $conversation
qualify
    relation <> 'inherited'
    or (
        row_number() over (partition by policy_version, relation order by source_key) = 1
        and not bool_or(relation = 'direct') over (partition by policy_version)
    )
order by relation, policy_version, source_key
