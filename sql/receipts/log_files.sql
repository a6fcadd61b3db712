-- Grain:  one row per iteration and log file, or file of later outcomes: what became of its rows.
-- Reads:  conversations, quarantine, outcomes   (any number of iterations)
-- Params: none
-- Drops:  conversations that come from no file
-- Order:  iteration, file, disposition

with rows_read as (
    select
        commit_iteration,
        source_file,
        'accepted' as disposition
    from conversations
    where source_file is not null
    union all
    select
        commit_iteration,
        source_file,
        disposition
    from quarantine
    union all
    select
        commit_iteration,
        source_file,
        disposition
    from outcomes
)

select
    commit_iteration as iteration,
    source_file,
    disposition,
    count(*) as rows_read
from rows_read
group by commit_iteration, source_file, disposition
order by commit_iteration, source_file, disposition
