-- Grain:  one row per figure of the two newest collected iterations: what it was, what it is, the difference.
-- Reads:  conversations, turns
-- Params: none
-- Drops:  outcomes that are unknown; figures of one iteration only have nothing on the other side.
-- Order:  the conversations' own figures first, then the kinds of turn, the most changed first
--
-- `share of …` is the share of all turns of the iteration that were of this kind.

with spans as (
    select max(iteration) as newest
    from conversations
),

rows_of_both as (
    select
        conversations.*,
        conversations.iteration = spans.newest as is_newest
    from conversations
    cross join spans
    where conversations.iteration in (spans.newest - 1, spans.newest)
),

whole as (
    select
        is_newest,
        count(*)::double as conversations,
        avg(outcome order by conversation_id) as success,
        avg(n_turns order by conversation_id) as turns_per_conversation,
        avg(assistant_tokens order by conversation_id) as tokens_per_conversation,
        avg((status <> 'valid')::int order by conversation_id) as failed_share
    from rows_of_both
    group by is_newest
),

kinds as (
    select
        rows_of_both.is_newest,
        'share of ' || coalesce(turns.turn_kind, 'unnamed turns') as figure,
        count(*) / sum(count(*)) over (partition by rows_of_both.is_newest) as value
    from turns
    inner join rows_of_both using (experiment, conversation_id)
    group by rows_of_both.is_newest, turns.turn_kind
),

figures as (
    select
        is_newest,
        figure,
        value,
        true as is_whole
    from whole
    unpivot (
        value for figure in (
            conversations, success, turns_per_conversation, tokens_per_conversation, failed_share
        )
    )
    union all
    select
        is_newest,
        figure,
        value,
        false as is_whole
    from kinds
)

select
    figure,
    round(max(value) filter (where not is_newest), 3) as before,
    round(max(value) filter (where is_newest), 3) as after,
    round(max(value) filter (where is_newest) - max(value) filter (where not is_newest), 3) as change
from figures
group by figure
order by bool_or(is_whole) desc, abs(change) desc nulls last, figure
