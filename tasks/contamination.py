"""No evaluation on scenarios that were trained on, anywhere in the experiment's lineage."""

from collections.abc import Iterator, Mapping, Sequence

from itpo_core.contamination import Found, exact, identity, texts_of
from itpo_core.types import Scenario, Split
from storage import commits
from storage.manifests import Commit
from storage.rows import to_table
from storage.warehouse import Relation, run_sql, stream_sql
from tasks import build
from tasks.config import ConfigError
from tasks.context import Context
from tasks.from_logs import is_bare
from tasks.metrics import figures_of
from tasks.records import messages_from_json

OPEN_LANGUAGE = 0.8  # the similarity at which texts are the same where nothing else is configured
SHOWN = 5
EVIDENCE = ("contaminated_scenarios", "seen_scenarios_trained_on", "trained_on_without_facts")


class ContaminatedEvaluation(ConfigError):
    """Evaluation scenarios are in the training data; the message names them, their rows and the remedy."""


def check(context: Context, scenarios: Sequence[Scenario]) -> dict[str, float]:
    """Counts of what was compared and found, for the evidence.

    Seen scenarios are met in training on purpose: they are counted. Raises ContaminatedEvaluation for unseen
    ones that are there, unless the configuration only wants them reported.
    """
    unseen = [scenario for scenario in scenarios if scenario.split is Split.UNSEEN]
    trained, counts = trained_on(context)
    leaks = [*exact(unseen, trained), *near(context, unseen)]
    if leaks and context.config.evaluate.contamination == "refuse":
        raise ContaminatedEvaluation(explained(leaks, of=len({each.scenario_id for each in unseen})))
    seen = [scenario for scenario in scenarios if scenario.split is Split.SEEN]
    return {
        **counts,
        "contaminated_scenarios": float(len({leak.scenario_id for leak in leaks})),
        "seen_scenarios_trained_on": float(len({each.scenario_id for each in exact(seen, trained)})),
    }


def trained_on(context: Context) -> tuple[dict[str, str], dict[str, float]]:
    """Where each identity was trained on first, and how many rows there are, with and without facts."""
    places: dict[str, str] = {}
    counts = {"trained_on": 0.0, "trained_on_without_facts": 0.0}
    for iteration, relations in kept(context):
        rows = run_sql("training_facts.sql", relations=relations, parameters={}, settings=context.duck)
        for row in rows.to_pylist():
            facts = identity(str(row["latent_json"]))
            counts["trained_on"] += row["conversations"]
            counts["trained_on_without_facts"] += 0 if facts else row["conversations"]
            if facts:
                places.setdefault(facts, _place(row, iteration))
    return places, counts


def near(context: Context, scenarios: Sequence[Scenario]) -> list[Found]:
    """The scenarios whose texts are nearly those of a training row; none where only facts identify."""
    threshold = threshold_of(context)
    if threshold is None or not scenarios:
        return []
    # Imported here: its library is not needed where openings are templates.
    from itpo_core.near_texts import NearTexts

    known, found = NearTexts(scenarios, threshold=threshold), dict[str, Found]()
    for iteration, relations in kept(context):
        rows = stream_sql("training_texts.sql", relations=relations, parameters={}, settings=context.duck)
        for row in rows:
            texts = texts_of(messages_from_json(str(row["messages_json"])), str(row["latent_json"]))
            for scenario, similarity in known.alike(texts).items():
                found.setdefault(scenario, Found(scenario, _place(row, iteration), similarity))
    return list(found.values())


def threshold_of(context: Context) -> float | None:
    """How alike texts must be to be the same; None where openings are templates and nothing is configured."""
    chosen = context.config.evaluate.near_duplicate
    if chosen is not None:
        return chosen
    return None if build.domain(context.config).vocabulary else OPEN_LANGUAGE


def kept(context: Context) -> Iterator[tuple[int, Mapping[str, Relation]]]:
    """Conversations and their curation, of every iteration up to this one."""
    for iteration in range(context.iteration + 1):
        rollouts, curated = context.find("rollouts", iteration), context.find("curated", iteration)
        if rollouts is not None and curated is not None:
            yield (
                iteration,
                {
                    "conversations": commits.table_paths(context.store, rollouts, table="conversations"),
                    "curated": _learnt(context, curated),
                },
            )


def _learnt(context: Context, curated: Commit) -> Relation:
    """The curation; of logs of no domain only what is learnt from, for their held-out tasks are the test."""
    if not is_bare(context.config) or curated.key.iteration:
        return commits.table_paths(context.store, curated, table="curated")
    rows = commits.read_table(context.store, curated, table="curated").to_pylist()
    return to_table("curated", [row for row in rows if row["fold"] == "train"])


def explained(leaks: Sequence[Found], *, of: int) -> str:
    """The message of the refusal."""
    named = list({leak.scenario_id: leak for leak in leaks}.values())
    lines = [
        f"{leak.scenario_id} is {'' if leak.similarity == 1 else f'nearly ({leak.similarity:.2f}) '}"
        f"{leak.source}"
        for leak in named[:SHOWN]
    ]
    more = f" and {len(named) - SHOWN} more" if len(named) > SHOWN else ""
    return (
        f"{len(named)} of {of} unseen evaluation scenarios are in the training data: "
        f"{'; '.join(lines)}{more}. "
        "What was trained on proves nothing: take these rows out of the logs and start another experiment, "
        'evaluate with another seed, or count them with evaluate.contamination = "report"'
    )


def evidence(context: Context, evaluation: Commit) -> dict[str, float]:
    """The counts of an evaluation, for the decision; nothing for one from before they were taken."""
    figures = figures_of(context.store, evaluation)
    return {name: figures[f"evaluate/{name}"] for name in EVIDENCE if f"evaluate/{name}" in figures}


def _place(row: Mapping[str, object], iteration: int) -> str:
    where = f"iteration {iteration}"
    if row["source_file"]:
        where = f"{row['source_file']}, row {row['source_row']}"
    return f"conversation {row['conversation_id']} ({where})"
