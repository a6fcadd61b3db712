-- Grain:  one row per evaluation scenario on which both versions were scored.
-- Reads:  conversations        (of one evaluation)
-- Params: $better, $worse      (policy versions; the difference is better minus worse), $split
-- Drops:  scenarios on which either version has no outcome.

with better as (
    select group_id, scenario_id, split, outcome, assistant_tokens
    from conversations
    where policy_version = $better and split = $split
),

worse as (
    select group_id, outcome, assistant_tokens
    from conversations
    where policy_version = $worse
)

select
    better.group_id,
    better.scenario_id,
    better.split,
    better.outcome as better_outcome,
    worse.outcome as worse_outcome,
    better.outcome - worse.outcome as difference,
    better.assistant_tokens - worse.assistant_tokens as extra_tokens
from better
inner join worse on better.group_id = worse.group_id
where better.outcome is not null and worse.outcome is not null
order by better.group_id
