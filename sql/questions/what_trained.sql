-- Grain:  one row per trained iteration: whose advantage entered the gradient, and how far it is from the outcome's.
-- Reads:  credits
-- Params: none
-- Drops:  nothing
-- Order:  iteration
--
-- `moved` is the fraction of turns whose advantage is not the outcome's, `spread` the mean distance between the two,
-- and `off_share` the largest distance from the advantage of norm_itpo_share: zero when that one trained, but for
-- rounding, as the two are computed apart.

select
    iteration,
    algorithm,
    count(*) as turns,
    avg((abs(advantage - advantage_outcome) > 1e-6)::int) as moved,
    avg(abs(advantage - advantage_outcome)) as spread,
    max(abs(advantage - advantage_norm_itpo_share)) as off_share
from credits
group by iteration, algorithm
order by iteration
