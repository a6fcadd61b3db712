-- Grain:  one row per number of assistant turns: do longer conversations end better?
-- Reads:  conversations
-- Params: none
-- Drops:  conversations without an outcome, counted as `unscored`, never taken as 0.
-- Order:  turns

select
    n_turns as turns,
    count(*) as conversations,
    count(*) - count(outcome) as unscored,
    round(avg(outcome order by conversation_id), 3) as mean_outcome
from conversations
group by n_turns
order by turns
