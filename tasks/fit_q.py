"""Fit Q: raw outcomes become a turn-level Q-function, which then values every kept turn."""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from itpo_core.critic_fit import CriticFit, fit_critic
from itpo_core.identifiers import derive_seed
from itpo_core.q_data import QSet, q_set, with_reference
from itpo_core.q_files import load_members, save_members
from itpo_core.q_fit import QFitSettings
from itpo_core.q_gate import Gate
from itpo_core.q_models import QModel, new_q
from itpo_core.q_recipe import QRecipe, QResult, Speaker, run_recipe
from itpo_core.reward_fit import Judging, LabelledStreams
from itpo_core.tiny_policy import load_policy, suppressed_ids
from itpo_core.tokens import ChatFormat
from storage import commits, registry, weights
from storage.commits import Commit
from storage.rows import Table, to_table
from tasks import from_logs
from tasks.config_credit import is_cross_fitted, q_kind
from tasks.context import Context, StageResult, finished
from tasks.credit import previous_scale
from tasks.critic_targets import stream_of, stream_targets
from tasks.fit_q_figures import critic_figures, figures
from tasks.kept import fitting, kept_conversations, labelled
from tasks.metrics import metrics_table

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

Progress = Callable[[int, int], None]
GATE_FILE = "gate.json"
NO_GATE = Gate(True, "a critic of turn rewards is a baseline and moves no policy by itself: it has no gate")


@dataclass(frozen=True, slots=True)
class Fitted:
    """What one fit gave: figures, the values of every turn of this iteration, and where the weights lie."""

    figures: dict[str, float]
    turn_values: Table
    folder: Path


def run(context: Context, *, on_progress: Progress | None = None) -> StageResult:
    """Commit the Q-function's weights, its values of every kept turn, and its held-out figures."""
    sources = source_commits(context)
    parents = {role: commit.digest for role, commit in sources.items()}
    inputs = inputs_of(context)
    existing = context.find("q")
    if existing is not None:
        commits.check_inputs(existing, parents=parents, inputs=inputs, store=context.store)
        return finished("fit_q", existing, resumed=True)
    fitted = fit_and_value(context, sources, on_progress=on_progress or (lambda done, total: None))
    commit = commits.commit(
        context.store,
        context.key("q"),
        tables={
            "turn_values": fitted.turn_values,
            "metrics": metrics_table("fit_q", summary=fitted.figures),
        },
        parents=parents,
        inputs=inputs,
        artifacts=weights.put_folder(context.store, context.key("q"), folder=fitted.folder),
        attempt=context.attempt,
    )
    return finished("fit_q", commit, resumed=False, figures=fitted.figures)


def inputs_of(context: Context) -> dict[str, str]:
    """What the fit depends on besides commits: [q] and what it resolves to, and the stream of a critic."""
    config = context.config
    streamed = config.section("credit") if config.credit.has_stream_critic else {}
    return {
        **config.section("q"),
        **streamed,
        "kind": q_kind(config.credit, config.q),
        "cross_fit": str(is_cross_fitted(config.credit, config.q)),
        "seed": str(config.seed),
    }


def source_commits(context: Context) -> dict[str, Commit]:
    """What the fit reads: this and the replayed curations, the policies, the Q to go on from."""
    settings = context.config.q
    window = from_logs.window(context.config, context.iteration, replayed=settings.replay_iterations)
    sources = {f"curated/{iteration:04d}": context.read("curated", iteration) for iteration in window}
    collector = collector_iteration(context)
    sources["collector"] = context.read("policy", collector)
    sources["reference"] = context.read("policy", 0 if settings.reference == "initial" else collector)
    previous = context.find("q", context.iteration - 1) if context.iteration > 0 else None
    if settings.start == "continue" and previous is not None:
        sources["previous"] = previous
    if context.config.credit.has_stream_critic:
        sources["reward"] = context.read("reward")
        scale = previous_scale(context)
        sources |= {} if scale is None else {"scale": scale}
    return sources


def collector_iteration(context: Context) -> int:
    """Which version spoke this iteration's conversations; logs of others count as version 0's."""
    if context.iteration == 0:
        return 0
    name = context.read("rollouts").inputs["policy_version"]
    versions = {version.name: version for version in registry.versions(context.store, context.experiment)}
    return versions[name].iteration


def fit_and_value(context: Context, sources: dict[str, Commit], *, on_progress: Progress) -> Fitted:
    """Load, fit on the training folds, value this iteration's turns, judge on its held-out fold, save."""
    reference, tokenizer = load_policy(context.artifact_folder(sources["reference"]))
    same = sources["collector"] == sources["reference"]
    collector = reference if same else load_policy(context.artifact_folder(sources["collector"]))[0]
    chat = ChatFormat.from_tokenizer(tokenizer, suppressed_ids(reference))
    data = [read_data(context, iteration, chat=chat) for iteration in _window(sources)]
    of = with_reference(
        q_set(data, gamma=context.config.q.gamma), reference, suppressed_ids=chat.suppressed_ids
    )
    stream = stream_of(context, sources)
    chosen = recipe(context, continues="previous" in sources)
    if stream is None:
        speaker = Speaker(reference, collector, context.config.sampling.temperature or 1.0)
        result = run_recipe(
            starts(context, sources, chat=chat),
            of,
            recipe=chosen,
            speaker=speaker,
            judging=judging(context),
            on_step=on_progress,
        )
    else:
        returns_BK = stream_targets(
            context, sources, algorithm=stream, ids=data[-1].streams.ids, turns=of.data.turns
        )
        result = fit_critic(
            starts(context, sources, chat=chat),
            of,
            returns_BK=returns_BK,
            settings=chosen.settings,
            cross_fit=chosen.cross_fit,
            on_step=on_progress,
        )
    return saved(context, result, tokenizer=tokenizer, newest=data[-1], of=of)


def saved(
    context: Context,
    result: QResult | CriticFit,
    *,
    tokenizer: "PreTrainedTokenizerBase",
    newest: LabelledStreams,
    of: QSet,
) -> Fitted:
    """Write the weights and the gate into a scratch folder; figures and values of either fit."""
    folder = context.work_folder("q")
    shutil.rmtree(folder, ignore_errors=True)
    if isinstance(result, CriticFit):
        save_members((result.member,), tokenizer, folder=folder)
        write_gate(NO_GATE, folder)
        columns = {"return_value": result.values_BK}
        return Fitted(critic_figures(result), value_table(context, columns, newest=newest, of=of), folder)
    save_members(result.members, tokenizer, folder=folder)
    write_gate(result.gate, folder)
    turns = result.turns
    found = {
        "value": turns.values_BK,
        "log_ratio": turns.log_ratios_BK,
        "q": turns.q_BK,
        "q_std": turns.q_std_BK,
    }
    columns = {name: values_BK for name, values_BK in found.items() if values_BK is not None}
    return Fitted(figures(result), value_table(context, columns, newest=newest, of=of), folder)


def read_data(context: Context, iteration: int, *, chat: ChatFormat) -> LabelledStreams:
    """The iteration's kept conversations that may teach outcomes and that fit the context."""
    kept = [
        each
        for each in kept_conversations(context, iteration, chat=chat)
        if each.persona_id not in context.config.logs.supervised_only_personas
    ]
    return labelled(fitting(kept, max_tokens=context.config.model.max_context_tokens))


def starts(context: Context, sources: dict[str, Commit], *, chat: ChatFormat) -> Callable[[int], QModel]:
    """Gives each member its start weights: the previous fit's, or the collector's and an empty head."""
    settings, kind = context.config.q, q_kind(context.config.credit, context.config.q)
    if "previous" in sources:
        folder = context.artifact_folder(sources["previous"])
        return lambda place: load_members(folder)[place]
    folder = context.artifact_folder(sources["collector"])

    def fresh(place: int) -> QModel:
        model, _ = load_policy(folder)
        return new_q(kind, model, beta=settings.beta, suppressed_ids=chat.suppressed_ids)

    return fresh


def recipe(context: Context, *, continues: bool) -> QRecipe:
    """The configured fit; one that continues has fewer passes to make."""
    settings = context.config.q
    return QRecipe(
        settings=QFitSettings(
            learning_rate=settings.learning_rate,
            head_learning_rate=settings.head_learning_rate,
            epochs=settings.epochs if continues else settings.first_epochs,
            minibatch=settings.minibatch,
            seed=derive_seed(context.config.seed, "q", context.iteration),
        ),
        gamma=settings.gamma,
        td_lambda=settings.td_lambda if settings.targets == "td_lambda" else 1.0,
        members=settings.members,
        pessimism=settings.pessimism,
        cross_fit=is_cross_fitted(context.config.credit, settings),
        min_conversations=settings.min_heldout_conversations,
        min_improvement=settings.min_heldout_improvement,
    )


def judging(context: Context) -> Judging:
    """The held-out intervals, at the confidence of the decision."""
    return Judging(
        confidence=context.config.decide.confidence,
        draws=context.config.evaluate.bootstrap,
        seed=derive_seed(context.config.seed, "q-interval", context.iteration),
    )


def write_gate(decision: Gate, folder: Path) -> None:
    """Beside the weights: whether a policy step may follow this Q, and why, in words."""
    text = json.dumps({"open": decision.open, "reason": decision.reason}, sort_keys=True)
    (folder / GATE_FILE).write_text(text + "\n", encoding="utf-8")


def read_gate(context: Context, commit: Commit) -> Gate:
    """The gate that a fit of Q committed."""
    found = json.loads((context.artifact_folder(commit) / GATE_FILE).read_text(encoding="utf-8"))
    return Gate(bool(found["open"]), str(found["reason"]))


def value_table(
    context: Context, columns: "Mapping[str, Tensor]", *, newest: LabelledStreams, of: QSet
) -> Table:
    """One row per valued turn of this iteration, null where the kind has no such figure."""
    spoken = newest.streams
    known = {name: values_BK[of.newest_B].double().tolist() for name, values_BK in columns.items()}
    rows = [
        {
            "conversation_id": conversation,
            "turn_index": turn,
            "q_version": f"{context.experiment}/q{context.iteration:04d}",
            **{name: values[row][turn] for name, values in known.items()},
        }
        for row, conversation in enumerate(spoken.ids)
        for turn in range(int(spoken.turns_B[row]))
    ]
    return to_table("turn_values", rows)


def _window(sources: dict[str, Commit]) -> list[int]:
    return sorted(commit.key.iteration for role, commit in sources.items() if role.startswith("curated/"))
