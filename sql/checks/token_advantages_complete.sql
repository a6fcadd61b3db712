-- Grain:  one row per turn with token advantages that are not finite, or not one per token of the turn.
-- Reads:  credits
-- Params: none
-- Drops:  turns with one finite advantage per token; turns without token advantages.
-- Order:  conversation_id, turn_index

select
    conversation_id,
    turn_index,
    response_tokens,
    len(token_advantages) as given_tokens
from credits
where
    token_advantages is not null
    and (
        len(token_advantages) <> response_tokens
        or len(list_filter(token_advantages, lambda x: not coalesce(isfinite(x), false))) > 0
    )
order by conversation_id, turn_index
