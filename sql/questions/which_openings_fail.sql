-- Grain:  one row per way of opening a conversation that was met at least 30 times: how such conversations end.
-- Reads:  conversations, turns
-- Params: none
-- Drops:  conversations of iteration 0, which are logs; those without an outcome are counted as `unscored`.
-- Order:  the worst opening first, then its text
--
-- `margin` is half of a 95 % interval of the success: openings whose intervals overlap may be equally hard.

with openings as (
    select
        conversations.conversation_id,
        conversations.outcome,
        turns.user_text as opening
    from conversations
    inner join turns using (experiment, conversation_id)
    where turns.turn_index = 0 and conversations.iteration > 0
)

select
    opening,
    count(*) as conversations,
    count(*) - count(outcome) as unscored,
    round(avg(outcome order by conversation_id), 3) as success,
    round(1.96 * stddev_samp(outcome order by conversation_id) / sqrt(count(outcome)), 3) as margin
from openings
group by opening
having count(*) >= 30
order by success, opening
