-- Grain:  one row per turn of a kept conversation: its advantage over its siblings.
-- Reads:  curated, turn_credits   (turn_credits.sql)
-- Params: $std_floor             (added to the standard deviation)
-- Drops:  nothing; a turn without policy tokens has advantage 0.
-- Order:  none; the rows are joined back by their key in credits.sql
--
--     GRPO:  (value - mean) / (sample standard deviation + floor)
--
-- Over the kept members of the group; per turn, over the returns-to-go of the same turn index among the siblings
-- that reached it. As in itpo_core/advantages.py, fewer than two members or members that are all alike teach
-- nothing: exactly 0, and alike is compared, not computed, as a variance of rounding errors would pass for one.
-- Members are listed in key order, so that the bits of their sums do not depend on the number of threads.

with groups as (
    select
        group_id,
        list(reward order by conversation_id) as rewards,
        max(reward) > min(reward) as teaches
    from curated
    where kept
    group by group_id
),

whole as (
    select
        conversation_id,
        case
            when teaches
                then (reward - list_avg(rewards)) / (list_stddev_samp(rewards) + $std_floor::double)
            else 0
        end as advantage
    from curated
    inner join groups using (group_id)
    where kept
),

siblings as (
    select
        group_number,
        turn_index,
        list(return_itpo order by conversation_number) filter (where return_itpo is not null) as itpo,
        list(return_norm_itpo order by conversation_number) filter (where return_norm_itpo is not null) as norm,
        max(return_itpo) > min(return_itpo) as itpo_teaches,
        max(return_norm_itpo) > min(return_norm_itpo) as norm_teaches
    from turn_credits
    group by group_number, turn_index
)

select
    conversation_number,
    turn_index,
    case when happened then whole.advantage else 0 end as advantage_outcome,
    case
        when not has_scores then null
        when happened and itpo_teaches
            then (return_itpo - list_avg(itpo)) / (list_stddev_samp(itpo) + $std_floor::double)
        else 0
    end as advantage_itpo,
    case
        when not has_scores then null
        when happened and norm_teaches
            then (return_norm_itpo - list_avg(norm)) / (list_stddev_samp(norm) + $std_floor::double)
        else 0
    end as advantage_norm_itpo
from turn_credits
inner join whole using (conversation_id)
inner join siblings using (group_number, turn_index)
