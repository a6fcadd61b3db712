-- Grain:  one row per reason for which log rows did not become a conversation.
-- Reads:  quarantine   (one iteration)
-- Params: none
-- Drops:  nothing; a reason is the word before the colon, the detail behind it differs row by row.
-- Order:  the most frequent first, then disposition and reason

select
    disposition,
    split_part(reason, ':', 1) as reason,
    count(*) as log_rows,
    count(distinct source_file) as files
from quarantine
group by disposition, split_part(reason, ':', 1)
order by log_rows desc, disposition, reason
