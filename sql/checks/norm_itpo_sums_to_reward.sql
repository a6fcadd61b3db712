-- Grain:  one row per conversation and split whose turn rewards do not sum to the conversation's reward.
-- Reads:  curated, credits
-- Params: none
-- Drops:  conversations whose splits sum to the outcome minus the token cost; splits that are null; a conversation
--         without a single policy token, which has nobody to give its reward to.
-- Order:  conversation_id, method

with split_rewards as (
    select conversation_id, turn_index, method, part
    from credits
    unpivot (
        part for method in (
            credit_outcome, credit_norm_itpo, credit_norm_itpo_share, credit_uniform, credit_dirichlet
        )
    )
),

sums as (
    select
        conversation_id,
        method,
        sum(part order by turn_index) as total
    from split_rewards
    group by conversation_id, method
),

spoken as (
    select distinct conversation_id
    from credits
    where response_tokens > 0
)

select
    sums.conversation_id,
    sums.method,
    sums.total,
    curated.reward
from sums
inner join curated using (conversation_id)
semi join spoken using (conversation_id)
where not coalesce(abs(sums.total - curated.reward) <= 1e-9 * (1 + abs(curated.reward)), false)
order by sums.conversation_id, sums.method
