-- Grain:  one row per dataset that a policy version learnt from, and how.
-- Reads:  policy_conversations
-- Params: $version
-- Drops:  other versions
-- Order:  relation, source_key

select
    relation,
    source_key,
    count(*) as conversations,
    count(*) filter (where fold = 'heldout') as heldout
from policy_conversations
where policy_version = $version
group by relation, source_key
order by relation, source_key
