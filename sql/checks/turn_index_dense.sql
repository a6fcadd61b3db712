-- Grain:  one row per conversation whose turns are not exactly 0, 1, ... n_turns - 1.
-- Reads:  conversations, turns
-- Params: none
-- Drops:  conversations whose turns are complete.
-- Order:  conversation_id

with counted as (
    select
        conversation_id,
        count(*) as turns,
        count(distinct turn_index) as distinct_turns,
        min(turn_index) as first_turn,
        max(turn_index) as last_turn,
        min(n_turns) as least_n_turns,
        max(n_turns) as most_n_turns
    from turns
    group by conversation_id
)

select
    conversations.conversation_id,
    conversations.n_turns,
    coalesce(counted.turns, 0) as turns,
    first_turn,
    last_turn
from conversations
left join counted using (conversation_id)
where
    conversations.n_turns <> coalesce(counted.turns, 0)
    or distinct_turns <> counted.turns
    or first_turn <> 0
    or last_turn <> conversations.n_turns - 1
    or least_n_turns <> conversations.n_turns
    or most_n_turns <> conversations.n_turns
order by conversations.conversation_id
