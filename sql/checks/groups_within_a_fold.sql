-- Grain:  one row per group whose members meet across the folds, or are miscounted.
-- Reads:  curated
-- Params: none
-- Drops:  groups in one fold, with the counts that their rows state.
-- Order:  iteration, group_id

select
    iteration,
    group_id,
    count(*) as members,
    count(*) filter (where kept) as kept_members
from curated
group by iteration, group_id
having
    count(distinct fold) > 1
    or min(group_size) <> count(*)
    or max(group_size) <> count(*)
    or min(group_kept) <> count(*) filter (where kept)
    or max(group_kept) <> count(*) filter (where kept)
order by iteration, group_id
