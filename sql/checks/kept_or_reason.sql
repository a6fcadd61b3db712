-- Grain:  one row per curated conversation that is kept with a reason, dropped without one, or kept without reward.
-- Reads:  curated
-- Params: none
-- Drops:  kept rows with a finite reward and no reason; dropped rows with a reason.
-- Order:  conversation_id

select
    conversation_id,
    kept,
    drop_reason,
    reward
from curated
where
    kept <> (drop_reason is null)
    or (kept and not coalesce(isfinite(reward), false))
order by conversation_id
