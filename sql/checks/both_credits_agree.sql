-- Grain:  one row per turn whose advantage by SQL is not the one by torch that trains.
-- Reads:  classic, credits   (classic is given where both compute the same: safe rules, grpo or rloo)
-- Params: none
-- Drops:  turns on which both agree to a relative 1e-9, of 1 where both are smaller.
-- Order:  conversation_id, turn_index

select
    credits.conversation_id,
    credits.turn_index,
    credits.algorithm,
    classic.advantage as by_sql,
    credits.advantage as by_torch
from credits
left join classic
    on credits.conversation_id = classic.conversation_id
    and credits.turn_index = classic.turn_index
-- NaN is not above anything, so it is asked for by name.
where
    not coalesce(isfinite(classic.advantage), false)
    or abs(credits.advantage - classic.advantage)
    > 1e-9 * greatest(1, abs(credits.advantage), abs(classic.advantage))
order by credits.conversation_id, credits.turn_index
