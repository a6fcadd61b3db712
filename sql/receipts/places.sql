-- Grain:  one row per dataset and table that holds rows of the conversation.
-- Reads:  conversations, turns, curated, turn_scores, turn_values, credits, evaluation_conversations,
--         evaluation_turns
-- Params: $conversation
-- Drops:  other conversations
-- Order:  in the order of the stages

with held as (
    select 1 as place, 'rollouts' as kind, 'conversations' as table_name, commit_iteration
    from conversations
    where conversation_id = $conversation
    union all
    select 2, 'rollouts', 'turns', commit_iteration
    from turns
    where conversation_id = $conversation
    union all
    select 3, 'curated', 'curated', commit_iteration
    from curated
    where conversation_id = $conversation
    union all
    select 4, 'reward', 'turn_scores', commit_iteration
    from turn_scores
    where conversation_id = $conversation
    union all
    select 5, 'q', 'turn_values', commit_iteration
    from turn_values
    where conversation_id = $conversation
    union all
    select 6, 'credit', 'credits', commit_iteration
    from credits
    where conversation_id = $conversation
    union all
    select 7, 'evaluation', 'conversations', commit_iteration
    from evaluation_conversations
    where conversation_id = $conversation
    union all
    select 8, 'evaluation', 'turns', commit_iteration
    from evaluation_turns
    where conversation_id = $conversation
)

select
    kind,
    table_name,
    commit_iteration as iteration,
    count(*) as rows_held
from held
group by place, kind, table_name, commit_iteration
order by commit_iteration, place
