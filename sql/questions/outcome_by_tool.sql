-- Grain:  one row per tool, with the outcome of the conversations that called it at least once.
-- Reads:  conversations, turns
-- Params: none
-- Drops:  nothing; conversations that called no tool are the row `(none)`, unscored ones are counted apart.
-- Order:  the most used tool first, then its name

with calls as (
    select
        conversation_id,
        unnest(string_split(tool_names, ',')) as tool
    from turns
    where tool_names <> ''
),

used as (
    select
        conversation_id,
        tool,
        count(*) as calls
    from calls
    group by conversation_id, tool
)

select
    coalesce(used.tool, '(none)') as tool,
    count(*) as conversations,
    coalesce(sum(used.calls), 0)::bigint as calls,
    count(*) - count(conversations.outcome) as unscored,
    round(avg(conversations.outcome order by conversations.conversation_id), 3) as mean_outcome
from conversations
left join used using (conversation_id)
group by coalesce(used.tool, '(none)')
order by conversations desc, tool
