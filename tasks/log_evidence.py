"""Evidence on a policy that nobody can talk to: what it makes of logged conversations that it has not read.

Such evidence describes imitation. It never promotes: see `decision.unjudged`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from itpo_core.decision import Verdict, unjudged
from itpo_core.identifiers import derive_seed
from storage import commits
from storage.commits import Commit
from storage.registry import PolicyVersion
from tasks.context import Context, StageResult, finished
from tasks.evaluate import evaluation_arms
from tasks.from_logs import REMEDY, check_reachable
from tasks.kept import fitting, kept_conversations, labelled
from tasks.limits import but_for_limits
from tasks.metrics import figures_of, metrics_table

if TYPE_CHECKING:
    from torch import Tensor

    from itpo_core.log_policy import Bootstrap
    from itpo_core.reward_fit import LabelledStreams
    from itpo_core.statistics import Interval

NO_USERS = "no_users"
# Of the reward model, as its stage committed it.
RANKED = ("heldout_auc", "heldout_auc_lower", "heldout_auc_upper")


@dataclass(frozen=True, slots=True)
class _Read:
    """The held-out conversations under each distinct arm: nats per token [B] by role."""

    logs: "LabelledStreams | None"
    nats: "Mapping[str, Tensor]"
    moved_kl: float | None
    moved_entropy: float | None


def run(context: Context) -> StageResult:
    """Commit what every arm makes of the held-out conversations of the file."""
    check_reachable(context)
    arms = evaluation_arms(context)
    parents = {
        **{role: context.read("policy", version.iteration).digest for role, version in arms.items()},
        **{name: context.read(name, 0).digest for name in ("rollouts", "curated", "reward")},
    }
    inputs = {
        **context.config.section("domain", "model", "evaluate"),
        "confidence": str(context.config.decide.confidence),
        "seed": str(context.config.seed),
        **{role: version.name for role, version in arms.items()},
    }
    existing = context.find("evaluation")
    if existing is not None:
        inputs = but_for_limits(inputs, existing.inputs)
        commits.check_inputs(existing, parents=parents, inputs=inputs, store=context.store)
        return finished("evaluate", existing, resumed=True)
    figures = evidence(context, arms)
    commit = commits.commit(
        context.store,
        context.key("evaluation"),
        tables={"metrics": metrics_table("evaluate", summary=figures)},
        parents=parents,
        inputs=inputs,
        attempt=context.attempt,
    )
    return finished("evaluate", commit, resumed=False, figures=figures)


def judge(context: Context, evaluation: Commit) -> tuple[Verdict, dict[str, float | str | bool | None]]:
    """Hold, with everything that is known of a policy that nobody has met."""
    figures = figures_of(context.store, evaluation)
    found = {name.removeprefix("evaluate/"): value for name, value in figures.items()}
    reward = figures_of(context.store, context.read("reward", 0))
    ranked = {
        f"reward_{name}": reward[f"fit_reward/{name}"] for name in RANKED if f"fit_reward/{name}" in reward
    }
    verdict = unjudged(heldout=int(found["heldout_conversations"]), remedy=REMEDY)
    return verdict, {"hold_cause": NO_USERS, **ranked, **found}


def evidence(context: Context, arms: Mapping[str, PolicyVersion]) -> dict[str, float]:
    """The named figures: candidate alone for version 0, beside its parent for a step."""
    from itpo_core.log_policy import likelier, nats_by_outcome, ranking

    read = _read(context, arms)
    if read.logs is None:
        return {"heldout_conversations": 0.0}
    outcomes_B, clusters = read.logs.labels_B.double(), read.logs.clusters_B
    bootstrap = _bootstrap(context)
    figures = {"heldout_conversations": float(len(clusters)), "heldout_groups": float(len(set(clusters)))}
    for role, nats_B in read.nats.items():
        figures |= {f"{role}_{name}": value for name, value in nats_by_outcome(nats_B, outcomes_B).items()}
    candidate_B = read.nats["candidate"]
    told = ranking(-candidate_B, outcomes_B, clusters=clusters, bootstrap=bootstrap)
    figures |= _columns("likelihood_auc", told)
    if "incumbent" in read.nats:
        parent_B = read.nats["incumbent"]
        gained = likelier(parent_B, candidate_B, clusters=clusters, bootstrap=bootstrap)
        sided = ranking(parent_B - candidate_B, outcomes_B, clusters=clusters, bootstrap=bootstrap)
        figures |= {**_columns("likelier", gained), **_columns("likelier_auc", sided)}
    moved = {"behaviour_kl": read.moved_kl, "entropy": read.moved_entropy}
    return {**figures, **{name: value for name, value in moved.items() if value is not None}}


def _read(context: Context, arms: Mapping[str, PolicyVersion]) -> _Read:
    """Load the arms and let them read; a file whose held-out fold is empty gives no figures."""
    from itpo_core.log_policy import moved, spoken_nats
    from itpo_core.tiny_policy import load_policy, suppressed_ids
    from itpo_core.tokens import ChatFormat

    model, tokenizer = load_policy(context.policy_folder(arms["candidate"]))
    chat = ChatFormat.from_tokenizer(tokenizer, suppressed_ids(model))
    kept = [each for each in kept_conversations(context, 0, chat=chat) if each.fold != "train"]
    held = fitting(kept, max_tokens=context.config.model.max_context_tokens)
    if not held:
        return _Read(None, {}, None, None)
    logs = labelled(held)
    nats = {"candidate": spoken_nats(model, logs.tokens)}
    if "incumbent" not in arms:
        return _Read(logs, nats, None, None)
    parent, _ = load_policy(context.policy_folder(arms["incumbent"]))
    far = moved(parent, model, conversations=logs.tokens)
    return _Read(logs, {**nats, "incumbent": spoken_nats(parent, logs.tokens)}, far.kl, far.entropy)


def _bootstrap(context: Context) -> "Bootstrap":
    from itpo_core.log_policy import Bootstrap

    return Bootstrap(
        confidence=context.config.decide.confidence,
        draws=context.config.evaluate.bootstrap,
        seed=derive_seed(context.config.seed, "offline-evidence", context.iteration),
    )


def _columns(name: str, interval: "Interval | None") -> dict[str, float]:
    """An interval as flat figures; nothing where there is none."""
    if interval is None:
        return {}
    return {name: interval.mean, f"{name}_lower": interval.lower, f"{name}_upper": interval.upper}
