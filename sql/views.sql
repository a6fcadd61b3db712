-- Views for a person, on top of the base views of a lake (`itpo sql` and `duckdb -init` create those first):
-- conversations, turns, quarantine, curated, turn_scores, turn_values, credits, evaluations, evaluation_turns,
-- metrics, policies.
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
