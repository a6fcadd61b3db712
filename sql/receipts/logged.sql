-- Grain:  one row per conversation that had exactly this id in its log.
-- Reads:  logged_ids
-- Params: $text
-- Drops:  all but 20; what is repeated by later revisions of an import
-- Order:  by id

select distinct
    experiment,
    conversation_id
from logged_ids
where logged_id = $text
order by conversation_id, experiment
limit 20
