-- Grain:  one row per iteration and policy version: how much is said in an assistant turn.
-- Reads:  turns
-- Params: none
-- Drops:  nothing; logs of a foreign policy have words but no token ids, so their tokens are null, not 0.
-- Order:  iteration, policy_version

select
    iteration,
    policy_version,
    count(*) as turns,
    round(avg(response_tokens) filter (where response_tokens > 0), 2) as mean_tokens,
    round(avg(len(regexp_extract_all(assistant_text, '\S+'))), 2) as mean_words,
    max(len(regexp_extract_all(assistant_text, '\S+'))) as longest_words
from turns
group by iteration, policy_version
order by iteration, policy_version
