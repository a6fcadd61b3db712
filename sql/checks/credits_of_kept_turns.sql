-- Grain:  one row per turn that is credited but not kept, kept but not credited, or credited twice.
-- Reads:  curated, turns, credits
-- Params: none
-- Drops:  kept turns that are credited once.
-- Order:  conversation_id, turn_index

with counted as (
    select turns.conversation_id, turns.turn_index, 1 as times_kept, 0 as times_credited
    from turns
    inner join curated using (conversation_id)
    where curated.kept
    union all
    select conversation_id, turn_index, 0 as times_kept, 1 as times_credited
    from credits
)

select
    conversation_id,
    turn_index,
    sum(times_kept)::integer as times_kept,
    sum(times_credited)::integer as times_credited
from counted
group by conversation_id, turn_index
having sum(times_kept) <> 1 or sum(times_credited) <> 1
order by conversation_id, turn_index
