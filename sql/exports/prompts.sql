-- Grain:  one row per exported conversation, with a list of its prompts: the histories before its assistant turns,
--         or before the first. Each is exported, or left out under exactly one reason.
-- Reads:  conversations, chosen   (of one iteration; chosen is the result of chosen.sql)
-- Params: $every_turn    (false: the first turn of each conversation only)
--         $completions   (true: the turns themselves are exported as well, so that equal prompts stay)
-- Gives:  with each prompt how many of its messages it is, how many outcomes are known of all conversations of the
--         task that came to this prompt, and their mean: how hard it was so far
-- Drops:  conversations that chosen.sql leaves out. Of the others names why a prompt is left out:
--         no_prompt      the assistant spoke first
--         empty_turn     it neither spoke nor called a tool (only if $completions)
--         image_tag      the prompt holds the text <image>, which trainers take for the place of a picture
--         same_prompt    an earlier prompt of the same task is the same (unless $completions)
-- Order:  conversation_id, the prompts by their turns

with parsed as (
    select
        conversation_id,
        scenario_id,
        persona_id,
        outcome,
        from_json(messages_json, '["JSON"]') as messages
    from conversations
    inner join chosen using (conversation_id)
    where chosen.left_out is null
),

placed as (
    select
        *,
        list_filter(
            range(1, len(messages) + 1),
            lambda place: json_extract_string(messages[place], '$.role') = 'assistant'
        ) as places
    from parsed
),

turns_of_each as (
    select
        *,
        unnest(range(len(places))) as turn_index,
        unnest(places) as place
    from placed
),

histories as (
    select
        *,
        list_slice(messages, 1, place - 1)::varchar as prompt,
        coalesce(json_extract_string(messages[place], '$.content'), '') = ''
        and not json_exists(messages[place], '$.tool_calls') as is_empty
    from turns_of_each
    where $every_turn::boolean or turn_index = 0
),

-- From here on without the words themselves: a window keeps all its rows.
hashed as (
    select
        conversation_id,
        turn_index,
        place,
        outcome,
        md5(concat_ws(chr(30), scenario_id, persona_id, prompt)) as task_and_prompt,
        case
            when place = 1 then 'no_prompt'
            when $completions::boolean and is_empty then 'empty_turn'
            when contains(prompt, '<image>') then 'image_tag'
        end as own_reason
    from histories
),

judged as (
    select
        conversation_id,
        turn_index,
        place,
        case
            when own_reason is not null then own_reason
            when not $completions::boolean and row_number() over same > 1 then 'same_prompt'
        end as left_out,
        count(outcome) over same_and_all as outcomes,
        avg(outcome) over same_and_all as mean_outcome
    from hashed
    window
        same as (partition by task_and_prompt order by conversation_id, turn_index),
        -- In the same order, so that the last bits of the mean do not depend on the number of threads.
        same_and_all as (
            partition by task_and_prompt
            order by conversation_id, turn_index
            rows between unbounded preceding and unbounded following
        )
),

collected as (
    select
        conversation_id,
        bool_or(left_out is null) as is_needed,
        list(
            struct_pack(
                turn_index := turn_index,
                prompt_messages := (place - 1)::integer,
                left_out := left_out,
                outcomes := outcomes,
                mean_outcome := mean_outcome
            )
            order by turn_index
        ) as prompts
    from judged
    group by conversation_id
)

select
    collected.conversation_id,
    collected.prompts,
    case when collected.is_needed then conversations.messages_json end as messages_json,
    conversations.group_id,
    conversations.scenario_id,
    conversations.persona_id,
    conversations.policy_version,
    conversations.simulator,
    conversations.latent_json,
    conversations.outcome,
    chosen.reward,
    chosen.export_split
from collected
inner join conversations using (conversation_id)
inner join chosen using (conversation_id)
order by collected.conversation_id
