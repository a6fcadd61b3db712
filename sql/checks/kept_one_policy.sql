-- Grain:  one row per iteration whose kept conversations were spoken by more than one policy version.
-- Reads:  curated
-- Params: none
-- Drops:  iterations of a single version; logs, which may come from several speakers.
-- Order:  iteration

select
    iteration,
    string_agg(distinct policy_version, ', ' order by policy_version) as policy_versions
from curated
where kept and policy_version not like 'logs:%'
group by iteration
having count(distinct policy_version) > 1
order by iteration
