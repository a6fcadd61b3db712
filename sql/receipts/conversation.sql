-- Grain:  one row per time that the conversation was collected, logged or held for an evaluation.
-- Reads:  conversations, evaluation_conversations
-- Params: $conversation
-- Drops:  other conversations, and everything that was said
-- Order:  iteration, evaluations last

with said as (
    select *, 'rollouts' as kind
    from conversations
    union all by name
    select *, 'evaluation' as kind
    from evaluation_conversations
)

select
    kind,
    commit_iteration as iteration,
    policy_version,
    scenario_id,
    simulator,
    simulator_version,
    judge_version,
    status,
    failure_cause,
    stop_reason,
    outcome,
    outcome_reason,
    n_turns,
    source_file,
    source_row
from said
where conversation_id = $conversation
order by iteration, kind desc
