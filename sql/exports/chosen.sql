-- Grain:  one row per conversation of a commit, exported or left out under exactly one reason.
-- Reads:  conversations, curated   (of one iteration; curated is empty where nothing was curated)
-- Params: $kept_only, $needs_outcome, $min_outcome   (the last counts only with $needs_outcome)
-- Drops:  nothing; names why a conversation is left out, the first that holds:
--         failed             something broke: it has no outcome that could be exported
--         no_turns           the policy said nothing
--         not_curated        not among the rows of the curation (only if $kept_only)
--         dropped_<reason>   dropped by the curation (only if $kept_only)
--         unscored           no outcome, or one that is not finite (only if $needs_outcome)
--         below_min_outcome  an outcome less than $min_outcome (only if $needs_outcome)
-- Order:  conversation_id

select
    conversations.conversation_id,
    case
        when status = 'failed' then 'failed'
        when conversations.n_turns = 0 then 'no_turns'
        when $kept_only::boolean and curated.kept is null then 'not_curated'
        when $kept_only::boolean and not curated.kept then 'dropped_' || curated.drop_reason
        when $needs_outcome::boolean and (conversations.outcome is null or not isfinite(conversations.outcome))
            then 'unscored'
        when $needs_outcome::boolean and conversations.outcome < $min_outcome::double then 'below_min_outcome'
    end as left_out,
    curated.reward,
    -- What must not be learned from: scenarios that only the evaluation may see, and the folds kept back.
    case when split = 'unseen' or curated.fold = 'heldout' then 'test' else 'train' end as export_split,
    -- As keys of a message: within a text the quotes of JSON are escaped.
    contains(messages_json, '"tool_calls":') or contains(messages_json, '"tool_call_id":') as uses_tools
from conversations
left join curated using (conversation_id)
order by conversations.conversation_id
