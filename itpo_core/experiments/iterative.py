"""Iterative PPO of one seed, in memory: collect, fit Q, pass its gate, improve turn by turn, certify, again.

Two lines come out of one run. The raw line goes on with every candidate; the promoted one keeps a policy
until a candidate is surely better on unseen scenarios that both meet.

Source: Iterative PPO (arXiv:2511.21638), algorithm 1, with the numbers of `SingleTurnSettings`.
"""

import copy
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

from transformers import PreTrainedModel

from itpo_core.branch_values import q_action_values
from itpo_core.certificate import Certificate, Horizon, QError, QErrorKind, certify
from itpo_core.experiments.batches import as_batch, talk
from itpo_core.experiments.branch_truths import BranchRanking, rank_branches
from itpo_core.experiments.iterative_steps import IterativeStep, Row, Spoken, figures, measured
from itpo_core.experiments.loop import final_success
from itpo_core.experiments.paired import (
    Evidence,
    held_out_scenarios,
    improvement_on_unseen,
    success_weight,
)
from itpo_core.experiments.recipes import Regime
from itpo_core.experiments.world import World, world
from itpo_core.identifiers import derive_seed
from itpo_core.q_data import QSet, q_set, with_reference
from itpo_core.q_fit import QFitSettings
from itpo_core.q_gate import MIN_CONVERSATIONS
from itpo_core.q_models import QModel, new_q
from itpo_core.q_recipe import QRecipe, QResult, Speaker, run_recipe
from itpo_core.reward_fit import Judging, LabelledStreams
from itpo_core.scored_branches import Problem
from itpo_core.single_turn import Improvement, improve
from itpo_core.single_turn_settings import SingleTurnSettings
from itpo_core.types import Scored, Split


@dataclass(frozen=True, slots=True)
class KindFit:
    """How a kind of Q is fitted: the weight of its log-ratio, and its fit."""

    beta: float
    fit: QFitSettings


KINDS: Mapping[str, KindFit] = MappingProxyType(
    {
        "dueling_logratio": KindFit(1.0, QFitSettings()),
        # The textbook form gets what helped it most: a higher rate, and the language loss beside it.
        "scalar_head": KindFit(1.0, QFitSettings(learning_rate=1e-3, language_weight=0.3)),
        "implicit_prm": KindFit(0.2, QFitSettings()),
    }
)


@dataclass(frozen=True, slots=True)
class IterativeRecipe:
    """Everything but the regime's sizes. `paired` unseen scenarios decide a promotion; the turns of `ranked`
    conversations are ranked against the truth, in the first iteration. `cross_fit`: the gate judges all
    conversations, each by a Q of the same recipe that was fitted to the other half."""

    step: SingleTurnSettings = field(default_factory=SingleTurnSettings)
    held_out_share: float = 0.1
    cross_fit: bool = False
    min_held_out: int = MIN_CONVERSATIONS
    paired: int = 512
    ranked: int = 60
    draws: int = 2000
    confidence: float = 0.95

    def judging(self, seed: int) -> Judging:
        """How intervals are made."""
        return Judging(self.confidence, self.draws, seed)


@dataclass(frozen=True, slots=True)
class IterativeOutcome:
    """All iterations, and success on fresh unseen scenarios: of the last policy, and of the last promoted."""

    rows: tuple[Row, ...]
    final_success: float
    final_promoted_success: float


@dataclass(slots=True)
class Lines:
    """The policies that the two lines have come to; the same object while they agree."""

    raw: PreTrainedModel
    promoted: PreTrainedModel


def run_iterative(
    *, kind: str, seed: int, regime: Regime, cache: Path, recipe: IterativeRecipe | None = None
) -> IterativeOutcome:
    """All iterations and the evaluation; of the regime count preset, scenarios, group size and iterations.

    Raises ValueError for an unknown kind. Equal arguments give equal figures but time.
    """
    if kind not in KINDS:
        raise ValueError(f"q kind {kind!r} is not compared here: use one of {', '.join(KINDS)}")
    of = world(regime.preset, seed=seed, cache=cache)
    start = copy.deepcopy(of.clone)
    lines = Lines(start, start)
    chosen = IterativeRecipe() if recipe is None else recipe
    rows = tuple(figures(step) for step in iterate(of, lines, kind=kind, regime=regime, recipe=chosen))
    success = final_success(of, lines.raw)
    promoted = success if lines.promoted is lines.raw else final_success(of, lines.promoted)
    return IterativeOutcome(rows, success, promoted)


def as_rows(outcome: IterativeOutcome) -> list[Row]:
    """One row per iteration; the last one has the final figures too."""
    last: Row = {
        "final_success": outcome.final_success,
        "final_promoted_success": outcome.final_promoted_success,
    }
    return [*outcome.rows[:-1], {**outcome.rows[-1], **last}]


def iterate(
    of: World, lines: Lines, *, kind: str, regime: Regime, recipe: IterativeRecipe
) -> Iterator[IterativeStep]:
    """Move both lines, iteration by iteration. While the gate is closed, collections of the same policy add
    up: the next Q is fitted to all of them and judged on the newest."""
    held = [speak(of, lines.raw, regime=regime, iteration=0)]
    for iteration in range(regime.iterations):
        began = time.process_time()
        settings = replace(
            recipe.step, iteration=iteration, seed=derive_seed(of.seed, "single-turn", iteration)
        )
        data = data_of(held, policy=lines.raw, of=of, recipe=recipe)
        q = fitted(data, policy=lines.raw, kind=kind, of=of, recipe=recipe, iteration=iteration)
        problem = problem_of(held[-1], q, policy=lines.raw, of=of)
        ranking = ranked(held[0], problem, of=of, regime=regime, recipe=recipe) if iteration == 0 else None
        improvement = evidence = None
        if q.gate.open:
            lines.raw, improvement = improved(problem, settings=settings)
            evidence = judged_on_unseen(of, lines, recipe=recipe, iteration=iteration)
        before, after = held[-1], speak(of, lines.raw, regime=regime, iteration=iteration + 1)
        held = [*held, after] if improvement is None else [after]
        if evidence is not None and evidence.promotes:
            lines.promoted = lines.raw
        yield IterativeStep(
            iteration=iteration,
            before=before,
            after=after,
            q=q,
            improvement=improvement,
            certificate=certificate(
                of, q, improvement=improvement, before=before, after=after, settings=settings
            ),
            evidence=evidence,
            ranking=ranking,
            cpu_seconds=time.process_time() - began,
        )


def speak(of: World, policy: PreTrainedModel, *, regime: Regime, iteration: int) -> Spoken:
    """Fresh seen scenarios; they and the users' luck are common to all kinds of a seed."""
    conversations = talk(
        of,
        policy,
        split=Split.SEEN,
        scenarios=regime.scenarios,
        group_size=regime.group_size,
        purpose=f"collect-{iteration}",
    )
    kept = tuple(each for each in conversations if isinstance(each.outcome, Scored) and each.turns)
    # Q is fitted to raw outcomes; what tokens cost is no part of them.
    batch = as_batch(kept, of.domain.oracle, token_cost=0.0, seed=of.seed)
    return Spoken(kept, batch, broken=len(conversations) - len(kept))


def data_of(held: Sequence[Spoken], *, policy: PreTrainedModel, of: World, recipe: IterativeRecipe) -> QSet:
    """Collections of one policy, oldest first, with whole scenarios held out."""
    sets = [_labelled(each, place, recipe=recipe, seed=of.seed) for place, each in enumerate(held)]
    return with_reference(q_set(sets, gamma=1.0), policy, suppressed_ids=of.chat.suppressed_ids)


def fitted(
    data: QSet, *, policy: PreTrainedModel, kind: str, of: World, recipe: IterativeRecipe, iteration: int
) -> QResult:
    """Q from scratch: its trunk starts as the collecting policy, which its log-ratio compares with."""
    how, never = KINDS[kind], of.chat.suppressed_ids

    def make(place: int) -> QModel:
        return new_q(kind, copy.deepcopy(policy), beta=how.beta, suppressed_ids=never)

    return run_recipe(
        make,
        data,
        recipe=QRecipe(
            replace(how.fit, seed=derive_seed(of.seed, "q", iteration)),
            cross_fit=recipe.cross_fit,
            min_conversations=recipe.min_held_out,
        ),
        speaker=Speaker(policy, policy),
        judging=recipe.judging(derive_seed(of.seed, "gate", iteration)),
    )


def problem_of(spoken: Spoken, q: QResult, *, policy: PreTrainedModel, of: World) -> Problem:
    """Improve on every history of the newest collection."""
    tokens = spoken.batch.tokens
    values = q_action_values(q.members, tokens, reference=policy)
    return Problem(tokens, policy, values, of.chat.end_of_turn_id)


def ranked(
    spoken: Spoken, problem: Problem, *, of: World, regime: Regime, recipe: IterativeRecipe
) -> BranchRanking | None:
    """How Q ranks fresh turns of the policy that it was fitted on."""
    return rank_branches(
        of,
        spoken.conversations,
        problem=problem,
        preset=regime.preset,
        ranked=recipe.ranked,
        settings=recipe.step,
    )


def improved(problem: Problem, *, settings: SingleTurnSettings) -> tuple[PreTrainedModel, Improvement]:
    """A new policy; the collecting one stays as it is."""
    candidate = copy.deepcopy(problem.reference)
    return candidate, improve(candidate, problem, settings=settings)


def judged_on_unseen(of: World, lines: Lines, *, recipe: IterativeRecipe, iteration: int) -> Evidence:
    """The new raw policy against the promoted one, on scenarios of this iteration alone."""
    return improvement_on_unseen(
        of,
        old=lines.promoted,
        new=lines.raw,
        scenarios=recipe.paired,
        purpose=f"paired-{iteration}",
        judging=recipe.judging(derive_seed(of.seed, "paired", iteration)),
    )


def certificate(
    of: World,
    q: QResult,
    *,
    improvement: Improvement | None,
    before: Spoken,
    after: Spoken,
    settings: SingleTurnSettings,
) -> Certificate | None:
    """What the step claims beside what the next collection shows; None without a step."""
    if improvement is None or q.judged is None:
        return None
    rewards = [step["reward_std"] for step in improvement.steps]
    return certify(
        improvement.taken.movement,
        measured(before, after),
        # A Brier score's root: it holds the outcomes' own noise, and the bound will be vacuous for it.
        q_error=QError(q.judged.brier**0.5, QErrorKind.OUTCOMES),
        horizon=Horizon(after.turns, of.domain.environment.max_turns),
        beta=settings.kl_weight_now * sum(rewards) / len(rewards) * success_weight(before.success),
    )


def _labelled(spoken: Spoken, place: int, *, recipe: IterativeRecipe, seed: int) -> LabelledStreams:
    groups = [each.group_id for each in spoken.conversations]
    held_out = held_out_scenarios(
        groups, share=recipe.held_out_share, seed=derive_seed(seed, "held-out", place)
    )
    return LabelledStreams(
        spoken.batch.streams,
        spoken.batch.turns.outcome_B.tolist(),
        [group not in held_out for group in groups],
        [f"{place}-{group}" for group in groups],
    )
