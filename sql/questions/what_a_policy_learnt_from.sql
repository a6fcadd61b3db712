-- Grain:  one row per dataset from which the newest policy version learnt, by who spoke the conversations to whom.
-- Reads:  policy_conversations, conversations
-- Params: none
-- Drops:  nothing; for another version name it in the place of the newest.
-- Order:  relation, source, spoken_by, users, judge
--
-- `relation` is direct where the policy's own step saw the turns, reward (or q) where the model that gave the credit
-- learnt from them, and inherited where a policy did that this one descends from.

with newest as (
    select max(policy_version) as policy_version
    from policy_conversations
)

select
    newest.policy_version as policy,
    learnt.relation,
    learnt.source_key as source,
    conversations.policy_version as spoken_by,
    conversations.simulator || ' ' || conversations.simulator_version as users,
    conversations.judge_version as judge,
    count(*) as conversations,
    round(avg(conversations.outcome order by conversations.conversation_id), 3) as mean_outcome
from newest
inner join policy_conversations as learnt on newest.policy_version = learnt.policy_version
inner join conversations
    on learnt.experiment = conversations.experiment and learnt.conversation_id = conversations.conversation_id
group by all
order by learnt.relation, source, spoken_by, users, judge
