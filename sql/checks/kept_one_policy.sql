-- Grain:  one row per iteration whose kept conversations were spoken by more than one policy version.
-- Reads:  curated
-- Params: none
-- Drops:  iterations of a single version.
-- Order:  iteration

select
    iteration,
    string_agg(distinct policy_version, ', ' order by policy_version) as policy_versions
from curated
where kept
group by iteration
having count(distinct policy_version) > 1
order by iteration
