"""Can a critic know what turn rewards add up to? PPO on three streams, each with a critic of its own returns.

Experiment F-5: the published reason for normalised turn rewards is a steadier target for the critic.

Axes: B conversations, K turns.
"""

import copy
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

import torch
from torch import Tensor
from torch.nn.functional import pad

from itpo_core.credit import Credited, credit
from itpo_core.experiments.batches import Collected, collect
from itpo_core.experiments.learners import LEARNERS
from itpo_core.experiments.loop import (
    BETAS,
    credit_method,
    policy_settings,
    take_step,
    training_batch,
)
from itpo_core.experiments.recipes import Arm, Regime
from itpo_core.experiments.world import World, world
from itpo_core.identifiers import derive_seed
from itpo_core.optimisation import adamw
from itpo_core.q_fit import QData, QFitSettings, fit_q
from itpo_core.q_gate import explained_variance
from itpo_core.q_models import QModel, new_q
from itpo_core.reward_model import ConversationTokens

Row = dict[str, float | str | int | None]
STREAMS: Mapping[str, Arm] = MappingProxyType(
    {
        "outcome": Arm("outcome", advantage="ppo"),
        "itpo": Arm("itpo", signal="prm", advantage="ppo"),
        "norm_itpo": Arm("norm_itpo", signal="prm", advantage="ppo"),
    }
)
REGIME = Regime(iterations=20)
# Returns of implicit rewards are no chances: the critic regresses, with one loss for every stream.
CRITIC_FIT = QFitSettings(learning_rate=1e-3, epochs=2, minibatch=32, warmup_steps=0, loss="huber")


@dataclass(slots=True)
class Critic:
    """A value head with a trunk of its own, fitted to the returns of one stream."""

    q: QModel
    seed: int
    earlier: list[QData] = field(default_factory=list)

    def values(self, batch: Collected) -> Tensor:
        """What it foresees before each turn, [B, K]."""
        turns = batch.turns.happened_BK.shape[1]
        return self.q.score(batch.tokens, reference_logprobs_BT=None, turns=turns).logits_BK.double()

    def learn(self, batch: Collected, credited: Credited, *, iteration: int) -> float:
        """Fit to the batch's returns and once more to the last batch's; mean loss of the first pass.

        Raises ValueError for credit that was not given by ppo: it has no returns.
        """
        returns_BK = credited.facts.returns_BK
        if returns_BK is None:
            raise ValueError("a critic is fitted to the returns of ppo: give credit with advantage 'ppo'")
        targets_BK = torch.where(batch.turns.happened_BK, returns_BK.float(), torch.nan)
        self.earlier = [*self.earlier[-1:], QData(batch.tokens, targets_BK)]
        settings = replace(CRITIC_FIT, seed=derive_seed(self.seed, "critic", iteration))
        return fit_q(self.q, stacked(self.earlier), settings=settings).losses[0]


def critic_probe(*, seed: int, cache: Path) -> list[Row]:
    """The whole probe of one seed: every stream trains its own policy."""
    of = world("small", seed=seed, cache=cache)
    return [row for stream in STREAMS for row in critic_rows(of, stream, regime=REGIME)]


def critic_rows(of: World, stream: str, *, regime: Regime) -> Iterator[Row]:
    """One row per iteration of PPO on the stream. Values are taken before the critic learns the batch."""
    arm, policy = STREAMS[stream], copy.deepcopy(of.clone)
    learner = LEARNERS[arm.signal](of, arm, start=copy.deepcopy(of.clone))
    critic = Critic(new_q("value", copy.deepcopy(of.clone), suppressed_ids=of.chat.suppressed_ids), of.seed)
    optimiser = adamw(policy.parameters(), regime.learning_rate, betas=BETAS)
    for iteration in range(regime.iterations):
        began = time.process_time()
        batch = collect(of, policy, regime=regime, iteration=iteration)
        values_BK = critic.values(batch)
        turns = replace(learner.observe(batch, policy, iteration=iteration), values_BK=values_BK)
        credited = credit(turns, credit_method(arm))
        loss = critic.learn(batch, credited, iteration=iteration)
        taught = training_batch(
            batch, credited.advantages_BK, token_advantages_BT=credited.token_advantages_BT
        )
        settings = policy_settings(regime, seed=of.seed, iteration=iteration)
        step = take_step(policy, optimiser, batch=taught, settings=settings)
        yield {
            "stream": stream,
            "iteration": iteration,
            "success": float(turns.outcome_B.mean()),
            **critic_figures(credited, values_BK=values_BK, happened_BK=turns.happened_BK),
            "critic_loss": loss,
            "kl": step["kl"],
            "cpu_seconds": time.process_time() - began,
        }


def critic_figures(credited: Credited, *, values_BK: Tensor, happened_BK: Tensor) -> Row:
    """How much of the returns the critic foresaw: of its own targets, and of the plain sums of rewards.

    The targets of GAE hold the critic's own later values; the sums of rewards to go do not.
    """
    sums_N = to_go(credited.rewards_BK, happened_BK)[happened_BK]
    return {
        "explained_variance": credited.facts.explained_variance,
        "explained_variance_sums": explained_variance(values_BK[happened_BK], sums_N),
        "returns_mean": float(sums_N.mean()),
        "returns_std": float(sums_N.std(correction=0)),
    }


def to_go(rewards_BK: Tensor, happened_BK: Tensor) -> Tensor:
    """Sums of this and all later rewards."""
    return torch.where(happened_BK, rewards_BK, 0).flip(1).cumsum(1).flip(1)


def stacked(parts: Sequence[QData]) -> QData:
    """Under each other, padded to the longest stream and to the most turns."""
    tokens = [each.conversations for each in parts]
    return QData(
        ConversationTokens(
            _padded([each.tokens_BT for each in tokens], fill=0),
            _padded([each.turn_BT for each in tokens], fill=-1),
            torch.cat([each.lengths_B for each in tokens]),
        ),
        _padded([each.targets_BK for each in parts], fill=torch.nan),
    )


def _padded(parts: Sequence[Tensor], *, fill: float) -> Tensor:
    width = max(part.shape[1] for part in parts)
    return torch.cat([pad(part, (0, width - part.shape[1]), value=fill) for part in parts])
