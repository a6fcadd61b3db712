-- Views for a person, on top of the base views of a lake (`itpo sql` and `duckdb -init` create those first):
-- conversations, turns, quarantine, logged_ids, outcomes, curated, turn_scores, turn_values, credits, evaluations,
-- evaluation_turns, metrics, policies, commits, lineage, commit_files, facts, policy_sources.
-- Unlike the other files here, this is a script.

-- One row per assistant turn, with what became of its conversation.
create or replace view conversation_turns as
select
    turns.*,
    conversations.group_id,
    conversations.scenario_id,
    conversations.split,
    conversations.persona_id,
    conversations.status,
    conversations.stop_reason,
    conversations.outcome,
    conversations.outcome_reason
from turns
inner join conversations using (experiment, conversation_id);

-- One row per credited turn: what was said, and every credit and advantage side by side.
create or replace view turn_credits as
select
    turns.user_text,
    turns.assistant_text,
    turns.n_turns,
    turns.optimal_action_value - turns.optimal_value as true_contribution,
    conversations.outcome,
    credits.*
from credits
inner join turns using (experiment, conversation_id, turn_index)
inner join conversations using (experiment, conversation_id);

-- One row per conversation of a rollout, with the verdict of the curation (null before it was curated).
create or replace view curated_conversations as
select
    conversations.*,
    curated.kept,
    curated.drop_reason,
    curated.fold,
    curated.reward
from conversations
left join curated using (experiment, conversation_id);

-- One row per evaluated version of an evaluation: success where the outcome is known, and how often it is not.
create or replace view evaluation_scores as
select
    experiment,
    iteration,
    policy_version,
    split,
    count(*) as conversations,
    count(outcome) as scored,
    avg(outcome order by conversation_id) as success,
    avg(n_turns order by conversation_id) as turns,
    avg(assistant_tokens order by conversation_id) as assistant_tokens
from evaluations
group by experiment, iteration, policy_version, split
order by experiment, iteration, policy_version, split;

-- One row per decision, the newest last.
create or replace view decisions as
select
    experiment,
    seq,
    action,
    version,
    reason,
    evidence,
    is_current
from policies
where action <> 'candidate'
order by experiment, seq;

-- One row per conversation that a policy version learnt from, and relation: `direct` (its weights were trained on
-- turns of it), `reward` or `q` (read by the fit that gave those turns credit; of the fold `heldout` to judge it),
-- `inherited` (one of these, of a version or a fit that this one goes back to). A version that was left as its
-- parent was, because no step was taken, has inherited rows only.
create or replace view policy_conversations as
with read as (
    select distinct
        'credit' as kind,
        experiment,
        commit_iteration,
        conversation_id
    from credits
    union all
    select
        'curated' as kind,
        experiment,
        commit_iteration,
        conversation_id
    from curated
    where kept
),

-- Turns up to the last explored one do not train: see docs/decisions/0007.
last_turns as (
    select
        experiment,
        commit_iteration,
        conversation_id,
        arg_max(temperature, turn_index) as temperature
    from turns
    group by experiment, commit_iteration, conversation_id
)

select distinct
    sources.experiment,
    sources.policy_version,
    read.conversation_id,
    sources.relation,
    sources.source_key,
    sources.source_iteration,
    curated.fold
from policy_sources as sources
inner join read
    on sources.source_kind = read.kind
    and sources.source_experiment = read.experiment
    and sources.source_iteration = read.commit_iteration
left join curated
    on read.experiment = curated.experiment
    and read.commit_iteration = curated.commit_iteration
    and read.conversation_id = curated.conversation_id
left join conversations
    on read.experiment = conversations.experiment
    and read.commit_iteration = conversations.commit_iteration
    and read.conversation_id = conversations.conversation_id
left join last_turns
    on read.experiment = last_turns.experiment
    and read.commit_iteration = last_turns.commit_iteration
    and read.conversation_id = last_turns.conversation_id
where
    (sources.temperature is null or last_turns.temperature is null or last_turns.temperature = sources.temperature)
    and not (
        (
            sources.personas_left_out = '|*|'
            or contains(sources.personas_left_out, '|' || coalesce(conversations.persona_id, '') || '|')
        )
        and coalesce(sources.fold_left_out, curated.fold) is not distinct from curated.fold
    );
