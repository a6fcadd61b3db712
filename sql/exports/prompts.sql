-- Grain:  one row per assistant turn of the exported conversations, or per first turn: the history before it
--         is the prompt, the turn the completion. Exported, or left out under exactly one reason.
-- Reads:  conversations, chosen   (of one iteration; chosen is the result of chosen.sql)
-- Params: $every_turn    (false: the first turn of each conversation only)
--         $completions   (true: the turns themselves are exported as well, so that equal prompts stay)
-- Gives:  beside the conversation's own outcome, how many outcomes are known of all rows of its task with this
--         prompt, and their mean: how hard the prompt was so far
-- Drops:  conversations that chosen.sql leaves out. Of the others names why a row is left out:
--         no_prompt      the assistant spoke first
--         empty_turn     it neither spoke nor called a tool (only if $completions)
--         image_tag      the prompt holds the text <image>, which trainers take for the place of a picture
--         same_prompt    an earlier row of the same task has the same prompt (unless $completions)
-- Order:  conversation_id, turn_index

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

prompts as (
    select
        conversation_id,
        turn_index,
        place,
        scenario_id,
        persona_id,
        outcome,
        list_slice(messages, 1, place - 1)::varchar as prompt,
        coalesce(json_extract_string(messages[place], '$.content'), '') = ''
        and not json_exists(messages[place], '$.tool_calls') as is_empty
    from turns_of_each
    where $every_turn::boolean or turn_index = 0
),

judged as (
    select
        conversation_id,
        turn_index,
        place,
        case
            when place = 1 then 'no_prompt'
            when $completions::boolean and is_empty then 'empty_turn'
            when contains(prompt, '<image>') then 'image_tag'
            when not $completions::boolean and row_number() over same > 1 then 'same_prompt'
        end as left_out,
        count(outcome) over same_and_all as prompt_outcomes,
        avg(outcome) over same_and_all as prompt_mean_outcome
    from prompts
    window
        same as (partition by scenario_id, persona_id, md5(prompt) order by conversation_id, turn_index),
        -- In the same order, so that the last bits of the mean do not depend on the number of threads.
        same_and_all as (
            partition by scenario_id, persona_id, md5(prompt)
            order by conversation_id, turn_index
            rows between unbounded preceding and unbounded following
        )
)

select
    judged.conversation_id,
    judged.turn_index,
    (judged.place - 1)::integer as prompt_messages,
    judged.left_out,
    case when judged.left_out is null then conversations.messages_json end as messages_json,
    conversations.group_id,
    conversations.scenario_id,
    conversations.persona_id,
    conversations.policy_version,
    conversations.simulator,
    conversations.latent_json,
    conversations.outcome,
    judged.prompt_outcomes,
    judged.prompt_mean_outcome,
    chosen.reward,
    chosen.export_split
from judged
inner join conversations using (conversation_id)
inner join chosen using (conversation_id)
order by judged.conversation_id, judged.turn_index
