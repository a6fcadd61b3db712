-- Grain:  one row per conversation that was read but not curated, or curated but not read, or curated twice.
-- Reads:  conversations, curated
-- Params: none
-- Drops:  conversations that are once in both: kept + dropped = read.
-- Order:  conversation_id

with counted as (
    select conversation_id, 1 as times_read, 0 as times_curated
    from conversations
    union all
    select conversation_id, 0 as times_read, 1 as times_curated
    from curated
)

select
    conversation_id,
    sum(times_read)::integer as times_read,
    sum(times_curated)::integer as times_curated
from counted
group by conversation_id
having sum(times_read) <> 1 or sum(times_curated) <> 1
order by conversation_id
