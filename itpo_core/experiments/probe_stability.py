"""Do turn scores settle sooner than token scores? Snapshots of a reward model while it is fitted.

Experiment F-2. Ranks are compared with the last ones of the same fit; noise is between fits to other logs.

Axes: B conversations, K turns, T tokens, F fits, I items (turns or tokens that happened).
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from itpo_core.experiments.probe_ranking import BETA, Row, Talk, logged_talk, own_talk
from itpo_core.experiments.world import World, world
from itpo_core.identifiers import derive_seed
from itpo_core.reward_facts import rank_stability
from itpo_core.reward_model import FitSettings, ImplicitRewardModel, ScoredTurns


@dataclass(frozen=True, slots=True)
class StabilitySizes:
    """Logs of each fit, conversations that are scored, fits, snapshots of each fit, passes."""

    logs: int = 1200
    scored: int = 256
    fits: int = 3
    snapshots: int = 12
    epochs: int = 4


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Scores after so many of the fit's steps."""

    step: int
    steps: int
    scores: ScoredTurns


def stability_probe(*, seed: int, cache: Path) -> list[Row]:
    """The whole probe of one seed."""
    return stability_rows(world("small", seed=seed, cache=cache), StabilitySizes())


def stability_rows(of: World, sizes: StabilitySizes) -> list[Row]:
    """One row per snapshot of every fit, then one with the noise between fits."""
    given = own_talk(of, count=sizes.scored, purpose="stability")
    fits = [snapshots(of, given, sizes=sizes, fit=fit) for fit in range(sizes.fits)]
    rows: list[Row] = [
        {"fit": fit, **row} for fit, found in enumerate(fits) for row in settling(found, given)
    ]
    return [*rows, between_fits([found[-1].scores for found in fits], given)]


def snapshots(of: World, given: Talk, *, sizes: StabilitySizes, fit: int) -> list[Snapshot]:
    """Fit to logs of its own, and score the same conversations on the way; the last snapshot is the end."""
    logs = logged_talk(of, count=sizes.logs, purpose=f"stability-{fit}")
    prm = ImplicitRewardModel(copy.deepcopy(of.clone), BETA, of.chat.suppressed_ids)
    found: list[Snapshot] = []

    def look(done: int, total: int) -> None:
        if done == total or done % max(total // sizes.snapshots, 1) == 0:
            scores = prm.score_tokens(
                given.tokens, reference_logprobs_BT=given.reference_BT, turns=given.happened_BK.shape[1]
            )
            found.append(Snapshot(done, total, scores))

    prm.fit(
        logs.tokens,
        logs.outcomes_B,
        reference_logprobs_BT=logs.reference_BT,
        settings=FitSettings(epochs=sizes.epochs, seed=derive_seed(of.seed, "stability", fit)),
        on_step=look,
    )
    return found


def settling(found: Sequence[Snapshot], given: Talk) -> list[Row]:
    """Rank correlation of every snapshot with the last one, of turns and of tokens."""
    last = found[-1].scores
    return [
        {
            "step": each.step,
            "steps": each.steps,
            "rank_turns": rank_stability(each.scores.scores_BK, last.scores_BK, among=given.happened_BK),
            "rank_tokens": rank_stability(
                each.scores.token_scores_BT, last.token_scores_BT, among=given.spoken.is_policy_BT
            ),
        }
        for each in found
    ]


def between_fits(last: Sequence[ScoredTurns], given: Talk) -> Row:
    """Noise of turn and of token scores between fits, and the tokens' over the turns' (above 1: turns are
    the steadier)."""
    turns = noise_share(torch.stack([each.scores_BK[given.happened_BK] for each in last]))
    tokens = noise_share(torch.stack([each.token_scores_BT[given.spoken.is_policy_BT] for each in last]))
    known = turns is not None and tokens is not None and turns > 0
    return {
        "fit": "between",
        "noise_turns": turns,
        "noise_tokens": tokens,
        "noise_ratio": tokens / turns if known else None,
    }


def noise_share(scores_FI: Tensor) -> float | None:
    """Variance between fits over variance between items of the fits' mean; None when the mean is constant.

    Raises ValueError for a single fit.
    """
    if len(scores_FI) < 2:
        raise ValueError(f"{len(scores_FI)} fit: noise between fits needs at least two")
    scores_FI = scores_FI.double()
    signal = float(scores_FI.mean(dim=0).var(correction=0))
    return float(scores_FI.var(dim=0, correction=1).mean()) / signal if signal > 0 else None
