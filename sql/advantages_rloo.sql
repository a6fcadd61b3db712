-- Grain:  one row per turn of a kept conversation: its advantage over its siblings.
-- Reads:  curated, turn_credits   (turn_credits.sql)
-- Params: none                   (leave-one-out divides by nothing that could vanish)
-- Drops:  nothing; a turn without policy tokens has advantage 0.
-- Order:  none; the rows are joined back by their key in credits.sql
--
--     RLOO:  value - mean of the other members' values
--
-- Over the kept members of the group; per turn, over the returns-to-go of the same turn index among the siblings
-- that reached it. As in itpo_core/advantages.py, fewer than two members or members that are all alike teach
-- nothing: exactly 0, and alike is compared, not computed, as a variance of rounding errors would pass for one.

with groups as (
    select
        group_id,
        count(*) as members,
        sum(reward order by conversation_id) / members as mean,
        max(reward) > min(reward) as varies
    from curated
    where kept
    group by group_id
),

whole as (
    select
        curated.conversation_id,
        case
            when groups.members >= 2 and groups.varies
                then curated.reward - (groups.mean * groups.members - curated.reward) / (groups.members - 1)
            else 0
        end as advantage
    from curated
    inner join groups using (group_id)
    where curated.kept
),

siblings as (
    select
        group_id,
        turn_index,
        count(return_itpo) as members_itpo,
        sum(return_itpo order by conversation_id) / members_itpo as mean_itpo,
        max(return_itpo) > min(return_itpo) as varies_itpo,
        count(return_norm_itpo) as members_norm,
        sum(return_norm_itpo order by conversation_id) / members_norm as mean_norm,
        max(return_norm_itpo) > min(return_norm_itpo) as varies_norm
    from turn_credits
    group by group_id, turn_index
)

select
    turns.conversation_id,
    turns.turn_index,
    case when turns.happened then whole.advantage else 0 end as advantage_outcome,
    case
        when not turns.has_scores then null
        when turns.happened and members_itpo >= 2 and varies_itpo
            then return_itpo - (mean_itpo * members_itpo - return_itpo) / (members_itpo - 1)
        else 0
    end as advantage_itpo,
    case
        when not turns.has_scores then null
        when turns.happened and members_norm >= 2 and varies_norm
            then return_norm_itpo - (mean_norm * members_norm - return_norm_itpo) / (members_norm - 1)
        else 0
    end as advantage_norm_itpo
from turn_credits as turns
inner join whole using (conversation_id)
inner join siblings using (group_id, turn_index)
