-- Grain:  one row per row of `curated`, with a reward that pays for excessive length.
-- Reads:  curated
-- Params: $overlong_limit, $overlong_buffer (tokens of the assistant in a whole conversation)
-- Drops:  nothing. The reward loses 0 up to limit - buffer tokens, 1 from the limit on, and between them a share
--         that grows in a line; the outcome stays. Source: DAPO (arXiv:2503.14476), eq. 13.
-- Order:  group_id, conversation_id

select
    * replace (
        reward
        - least(
            greatest(assistant_tokens - ($overlong_limit::integer - $overlong_buffer::integer), 0),
            $overlong_buffer::integer
        ) / $overlong_buffer::double as reward
    )
from curated
order by group_id, conversation_id
