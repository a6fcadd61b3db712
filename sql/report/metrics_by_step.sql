-- Grain:  one row per stage and step, with all figures of the step in one map from name to value.
-- Reads:  metrics
-- Params: none
-- Drops:  nothing; a name that was written twice in a step keeps its largest value.
-- Order:  stage, step

with once as (
    select
        stage,
        step,
        name,
        max(value) as value
    from metrics
    group by stage, step, name
)

select
    stage,
    step,
    map(list(name order by name), list(value order by name)) as figures
from once
group by stage, step
order by stage, step
