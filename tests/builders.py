"""Small conversations and small lakes for tests, committed as stages would, with numbers chosen by hand."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from itpo_core.types import (
    Conversation,
    FinishReason,
    Message,
    Role,
    Scenario,
    Scored,
    Split,
    StopReason,
    Turn,
    TurnTruth,
    Unscored,
)
from storage import commits, registry
from storage.commits import Commit
from storage.registry import PolicyVersion
from storage.rows import Table, to_table
from storage.schemas import CREDIT_METHODS
from tasks import config, curate
from tasks.context import Context
from tasks.metrics import metrics_table
from tasks.records import Lineage, Row, conversation_row, turn_rows

Inputs = Parents = Mapping[str, str] | None  # none of either in a lake whose chain does not matter
CONFIG_FILE = Path(__file__).parents[1] / "configs" / "sales_small.toml"
NEED = '{"product":"bike","values":{"color":"red","size":"large"},"volunteered":[]}'
SAID = ("hi i need a bike .", "which color ?", "red .", "take this one .", "thanks .")
REWARD = {
    "heldout_auc": 0.8,
    "heldout_auc_lower": 0.7,
    "heldout_auc_upper": 0.9,
    "heldout_conversations": 40.0,
}
TRAINED = {"steps": 3.0, "final_kl": 0.05, "final_entropy": 0.4}
STEP = {"loss": 0.1, "kl": 0.05, "entropy": 0.4, "gradient_norm": 0.5}


def make_conversation(
    name: str,
    *,
    outcome: float | None = 1.0,
    said: Sequence[str] = SAID,
    group: str = "g",
    split: Split = Split.SEEN,
    stop: StopReason = StopReason.COMPLETED,
    latent_json: str = NEED,
    has_tokens: bool = True,
) -> Conversation:
    """User and assistant in turns, the user first; the first turn asks and the last one recommends."""
    roles = (Role.USER, Role.ASSISTANT)
    messages = tuple(Message(roles[index % 2], text) for index, text in enumerate(said))
    scenario = Scenario(f"scenario-{group}", "sales", split, messages[:1], latent_json)
    return Conversation(
        conversation_id=name,
        group_id=group,
        sample_index=0,
        seed=7,
        scenario=scenario,
        messages=messages,
        turns=tuple(_turns(said[1::2], has_tokens=has_tokens)),
        outcome=Unscored("no outcome column") if outcome is None else Scored(outcome),
        stop=stop,
    )


def make_context(folder: Path, *, iteration: int = 0, **overrides: object) -> Context:
    """The experiment `shop` in a lake under the folder; overrides with double underscores for dots."""
    dotted = {name.replace("__", "."): value for name, value in overrides.items()}
    given = {"experiment": "shop", "lake.root": str(folder / "lake"), **dotted}
    return Context(config.load(CONFIG_FILE, overrides=given), iteration)


def make_lake(folder: Path, *, spoken: Sequence[Conversation] | None = None) -> Context:
    """Iteration 0 from logs and a decided iteration 1 whose rollouts are `spoken`; the latter's context."""
    first, second = make_context(folder), make_context(folder, iteration=1)
    commit_rollouts(first, [make_conversation(f"log{index}") for index in range(4)], speaker="logs:shop")
    curate.run(first)
    commit_policy(first, parent=None)
    commit_reward(first)
    commit_evaluation(first, {"candidate": "shop/v0000"}, successes={"shop/v0000": 1})
    decide(first, "promote", "shop/v0000", copy_accuracy=1.0, start_success=0.5)
    several = [make_conversation("good"), make_conversation("bad", outcome=0.0, stop=StopReason.USER_LEFT)]
    commit_rollouts(second, spoken or several, speaker="shop/v0000")
    curate.run(second)
    commit_reward(second)
    commit_credit(second)
    commit_policy(second, parent="shop/v0000")
    roles = {"candidate": "shop/v0001", "incumbent": "shop/v0000", "initial": "shop/v0000"}
    commit_evaluation(second, roles, successes={"shop/v0001": 2, "shop/v0000": 1})
    gains = {f"{name}{end}": value for name in ("gain", "gain_over_initial")
             for end, value in (("", 0.5), ("_lower", 0.25), ("_upper", 0.75), ("_pairs", 2.0))}  # fmt: skip
    decide(second, "promote", "shop/v0001", kl=0.05, entropy=0.4, failed_share=0.0, **gains)
    return second


def commit_rollouts(
    context: Context, spoken: Sequence[Conversation], *, speaker: str, parents: Parents = None
) -> Commit:
    """Conversations and turns as their collector or their importer would commit them."""
    inputs = {} if speaker.startswith("logs:") else {"policy_version": speaker}
    tables = tables_of(context, spoken, speaker=speaker)
    return commit(context, "rollouts", tables, inputs=inputs, parents=parents)


def tables_of(context: Context, spoken: Sequence[Conversation], *, speaker: str) -> dict[str, Table]:
    """Both tables of some conversations."""
    simulator = context.config.domain.name
    lineage = Lineage(context.experiment, context.iteration, 0, speaker, simulator, "1", "d" * 64, "rule-1")
    return {
        "conversations": to_table("conversations", [conversation_row(each, lineage) for each in spoken]),
        "turns": to_table("turns", [row for each in spoken for row in turn_rows(each, lineage)]),
    }


def commit_policy(
    context: Context, *, parent: str | None, parents: Parents = None, inputs: Inputs = None
) -> Commit:
    """A policy without weights, registered as the iteration's candidate."""
    metrics = metrics_table("train_policy" if parent else "warm_start", summary=TRAINED, steps=[STEP, STEP])
    made = commit(context, "policy", {"metrics": metrics}, parents=parents, inputs=inputs)
    name = registry.version_name(context.experiment, context.iteration)
    version = PolicyVersion(name, context.experiment, context.iteration, parent, made.digest, made.key.text)
    registry.register_candidate(context.store, version)
    return made


def commit_reward(context: Context, *, parents: Parents = None) -> Commit:
    """The figures of a reward model that passed its gate, and no scores."""
    metrics = metrics_table("fit_reward", summary={**REWARD, "gate_open": 1.0})
    tables = {"turn_scores": to_table("turn_scores", []), "metrics": metrics}
    return commit(context, "reward", tables, parents=parents)


def commit_credit(context: Context, *, parents: Parents = None) -> Commit:
    """Credit of every kept turn, a different number for every method, turn and quantity: see `credit_of`."""
    turns = commits.read_table(context.store, context.read("rollouts"), table="turns").to_pylist()
    credits = to_table("credits", [_credit_row(turn) for turn in turns])
    return commit(context, "credit", {"credits": credits}, parents=parents)


def credit_of(method: str, quantity: str, turn_index: int) -> float:
    """`0.mt` for the m-th method at turn t, 10 more for an advantage."""
    tenths = (CREDIT_METHODS.index(method) + 1) / 10 + turn_index / 100
    return round(tenths + (10 if quantity == "advantage" else 0), 2)


def commit_evaluation(
    context: Context, roles: Mapping[str, str], *, successes: Mapping[str, int], parents: Parents = None
) -> Commit:
    """Two unseen pairs per version, of which the first so many succeed."""
    spoken = [
        tables_of(
            context,
            [
                make_conversation(
                    f"{version}-{pair}", outcome=float(pair < wins), group=f"pair{pair}", split=Split.UNSEEN
                )
                for pair in range(2)
            ],
            speaker=version,
        )
        for version, wins in successes.items()
    ]
    rows = {
        name: to_table(name, [row for each in spoken for row in each[name].to_pylist()])
        for name in ("conversations", "turns")
    }
    return commit(context, "evaluation", rows, inputs=roles, parents=parents)


def decide(context: Context, action: str, version: str, **evidence: float) -> None:
    """The iteration's decision in the registry."""
    registry.record_decision(
        context.store,
        context.experiment,
        event_id=f"decide/{context.iteration:04d}",
        action=action,
        version=version,
        reason=f"{action} by hand",
        evidence=evidence,
    )


def commit(
    context: Context,
    kind: str,
    tables: Mapping[str, Table],
    *,
    inputs: Inputs = None,
    parents: Parents = None,
) -> Commit:
    """Commit tables under the iteration's key of this kind."""
    return commits.commit(
        context.store,
        context.key(kind),
        tables=tables,
        parents=parents or {},
        inputs=inputs or {},
        attempt=context.attempt,
    )


def _turns(texts: Sequence[str], *, has_tokens: bool) -> list[Turn]:
    kinds = ["ask"] * (len(texts) - 1) + ["recommend"]
    ids = ((1, 2), (3, 4), (-0.5, -0.25)) if has_tokens else ((), (), ())
    return [
        Turn(index, text, FinishReason.END_OF_TURN, *ids, TurnTruth(kind, 1, 6 - index, 0.9, 0.8, None))
        for index, (text, kind) in enumerate(zip(texts, kinds, strict=True))
    ]


def _credit_row(turn: Mapping[str, object]) -> Row:
    index = int(str(turn["turn_index"]))
    values = {
        f"{quantity}_{method}": credit_of(method, quantity, index)
        for quantity in ("credit", "advantage")
        for method in CREDIT_METHODS
    }
    names = ("conversation_id", "turn_index", "policy_version", "turn_kind", "response_tokens")
    return {
        **{name: turn[name] for name in names},
        **values,
        "group_id": "g",
        "advantage": values["advantage_norm_itpo_share"],
        "algorithm": "norm_itpo_share",
    }
