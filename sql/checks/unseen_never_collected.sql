-- Grain:  one row per collected or logged conversation on a scenario that is held out for evaluation.
-- Reads:  conversations   (rollouts and logs; evaluations are another relation)
-- Params: none
-- Drops:  conversations on scenarios that may be trained on.
-- Order:  conversation_id

select
    conversation_id,
    scenario_id,
    split
from conversations
where split <> 'seen'
order by conversation_id
