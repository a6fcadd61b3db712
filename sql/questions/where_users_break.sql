-- Grain:  one row per kind of simulated user and way in which its conversations end badly or oddly.
-- Reads:  conversations, turns
-- Params: none
-- Drops:  conversations of iteration 0, which are logs, and those that ended as they should without an oddity.
-- Order:  the most frequent first, then user, version and problem
--
-- A conversation that failed, in which the user walked off or the turns ran out, or in which the user said the same
-- twice (the usual sign of a simulator that lost the thread) is counted once under each problem that it has.

with users as (
    select
        simulator || ', ' || persona_id as user,
        simulator_version,
        conversation_id,
        status,
        failure_kind,
        failure_cause,
        stop_reason,
        n_turns
    from conversations
    where iteration > 0
),

said_twice as (
    select conversation_id
    from turns
    group by conversation_id
    having count(distinct user_text) < count(*)
),

problems as (
    select
        *,
        'failed: ' || coalesce(failure_kind, 'unknown') as problem
    from users
    where status <> 'valid'
    union all
    select
        *,
        'ended by ' || stop_reason as problem
    from users
    where status = 'valid' and stop_reason <> 'completed'
    union all
    select
        users.*,
        'user said the same twice' as problem
    from users
    inner join said_twice using (conversation_id)
),

met as (
    select
        user,
        simulator_version,
        count(*) as conversations
    from users
    group by user, simulator_version
)

select
    problems.user,
    problems.simulator_version as version,
    problems.problem,
    count(*) as conversations,
    round(count(*) / any_value(met.conversations), 4) as share,
    round(avg(problems.n_turns), 2) as turns,
    min(problems.failure_cause) as first_cause
from problems
inner join met using (user, simulator_version)
group by problems.user, problems.simulator_version, problems.problem
order by conversations desc, problems.user, version, problems.problem
