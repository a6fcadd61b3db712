-- Grain:  one row per iteration, policy version and number of turns: how many conversations, how long, how successful.
-- Reads:  conversations   (any number of iterations)
-- Params: none
-- Drops:  failed conversations, whose length says what broke and not what the policy does.
-- Order:  iteration, policy_version, n_turns
--
-- `success_lower` and `success_upper` are Wilson's 95 % interval: unlike the mean and its standard error it stays in
-- [0, 1] and has a width where all ended alike (E. B. Wilson, 1927). For outcomes between 0 and 1 it is too wide.

with lengths as (
    select
        iteration,
        policy_version,
        n_turns,
        count(*) as conversations,
        avg(assistant_tokens) as mean_tokens,
        median(assistant_tokens) as median_tokens,
        count(outcome) as scored,
        avg(outcome order by conversation_id) as success
    from conversations
    where status = 'valid'
    group by iteration, policy_version, n_turns
),

wilson as (
    select
        *,
        1.96 * 1.96 / scored as z2_by_n,
        (success + z2_by_n / 2) / (1 + z2_by_n) as centre,
        sqrt(success * (1 - success) / scored * 1.96 * 1.96 + z2_by_n * z2_by_n / 4) / (1 + z2_by_n) as half
    from lengths
)

select
    iteration,
    policy_version,
    n_turns,
    conversations,
    mean_tokens,
    median_tokens,
    scored,
    success,
    centre - half as success_lower,
    centre + half as success_upper
from wilson
order by iteration, policy_version, n_turns
