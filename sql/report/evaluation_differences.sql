-- Grain:  one row per iteration and split: the candidate against the incumbent on the same scenarios and seeds.
-- Reads:  evaluation_conversations   (one iteration)
-- Params: $candidate, $incumbent     (policy versions)
-- Drops:  pairs in which either side has no outcome; they are counted as `unscored_pairs`.
-- Order:  iteration, split

with pairs as (
    select
        candidate.iteration,
        candidate.split,
        candidate.group_id,
        candidate.outcome - incumbent.outcome as difference,
        candidate.assistant_tokens - incumbent.assistant_tokens as more_tokens,
        candidate.n_turns - incumbent.n_turns as more_turns
    from evaluation_conversations as candidate
    inner join evaluation_conversations as incumbent using (iteration, group_id)
    where
        candidate.policy_version = $candidate::varchar
        and incumbent.policy_version = $incumbent::varchar
)

select
    iteration,
    split,
    count(difference) as pairs,
    count(*) - count(difference) as unscored_pairs,
    avg(difference order by group_id) as gain,
    stddev_samp(difference order by group_id) / sqrt(count(difference)) as gain_error,
    count(*) filter (where difference > 0) as better,
    count(*) filter (where difference < 0) as worse,
    avg(more_turns) filter (where difference is not null) as more_turns,
    avg(more_tokens) filter (where difference is not null) as more_tokens
from pairs
group by iteration, split
order by iteration, split
