"""What the policy step and the reward-model step cost over the bare forwards and backwards that they need.

Bare means: the same minibatches through the same network, the output embedding at the policy's tokens alone,
one mean cross-entropy, one backward; and the forwards without gradient that the step needs (log-probabilities
under the start weights or the reference once, scoring once). No optimiser, no loss of ours, no figures, no
files. Axes: B conversations, T tokens.
"""

import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

import torch
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel

from itpo_core.logprobs import length_buckets, scored_logprobs, wanted_logits
from itpo_core.optimisation import seeded
from itpo_core.reward_model import (
    ConversationTokens,
    FitSettings,
    ImplicitRewardModel,
    reference_logprobs,
)
from itpo_core.tiny_policy import Size, create_policy, load_policy, save_policy, suppressed_ids
from itpo_core.trainers.base import PolicySettings, TrainingBatch
from itpo_core.trainers.torch_local import TorchLocalTrainer

WORDS = 86
CONVERSATIONS = 512
EPOCHS = 2
ROUNDS = 3
SCORING_BATCH = 128
LIMIT = 1.15


@dataclass(frozen=True, slots=True)
class Timing:
    """CPU seconds of one thread: the step, its bare forwards and backwards, and their ratio."""

    name: str
    step_s: float
    bare_s: float
    ratio: float


def main() -> str:
    """Measure both steps at two sizes and report them as Markdown."""
    torch.set_num_threads(1)
    rows = [timing for size in ("xs", "s") for timing in measure(size)]
    table = "\n".join(
        f"| {row.name} | {row.step_s:.2f} | {row.bare_s:.2f} | {row.ratio:.3f} | {verdict(row)} |"
        for row in rows
    )
    return (
        "## Policy step and reward-model step against the bare forwards and backwards\n\n"
        f"{CONVERSATIONS} conversations of about {mean_length():.0f} tokens, {EPOCHS} epochs, one thread; CPU"
        f" seconds, median of {ROUNDS} interleaved rounds; the ratio is the median of their ratios. The"
        " policy step includes reading and writing the policy folder and its checkpoints, the reward-model"
        " step its scoring.\n\n"
        f"| step | CPU-s | bare CPU-s | ratio | at most {LIMIT} |\n|---|---|---|---|---|\n{table}\n"
    )


def verdict(row: Timing) -> str:
    """Whether the step stays within the limit."""
    return "yes" if row.ratio <= LIMIT else "no"


def measure(size: Size) -> Iterable[Timing]:
    """Both steps of one size, each interleaved with its bare counterpart."""
    with tempfile.TemporaryDirectory() as scratch:
        start = Path(scratch) / "start"
        model, tokenizer = create_policy([f"w{index}" for index in range(WORDS)], size, seed=0)
        save_policy(model, tokenizer, folder=start)
        spoken = conversations(seed=0)
        for name, step, bare in (
            ("policy", policy_step, bare_policy),
            ("reward model", reward_step, bare_reward),
        ):
            yield compare(f"{name}, {size}", partial(step, spoken, start), bare=partial(bare, spoken, start))


def compare(name: str, step: Callable[[], float], *, bare: Callable[[], float]) -> Timing:
    """Run step and bare in turn, so that both meet the same machine."""
    step()
    rounds = [(step(), bare()) for _ in range(ROUNDS)]
    print(name, [f"{ours:.2f}/{theirs:.2f}" for ours, theirs in rounds])
    return Timing(
        name,
        step_s=median(ours for ours, _ in rounds),
        bare_s=median(theirs for _, theirs in rounds),
        ratio=median(ours / theirs for ours, theirs in rounds),
    )


def conversations(*, seed: int) -> ConversationTokens:
    """Streams like those of the sales domain: up to six turns, about eight tokens of each side a turn."""
    generator = torch.Generator().manual_seed(seed)
    turns_B = torch.randint(2, 7, (CONVERSATIONS,), generator=generator)
    lengths_B = 12 + turns_B * 16
    width = int(lengths_B.max())
    tokens_BT = torch.randint(6, WORDS, (CONVERSATIONS, width), generator=generator)
    place_T = torch.arange(width) - 12
    turn_BT = torch.where((place_T >= 0) & (place_T % 16 >= 8), place_T // 16, -1).expand(CONVERSATIONS, -1)
    return ConversationTokens(tokens_BT, torch.where(turn_BT < turns_B[:, None], turn_BT, -1), lengths_B)


def mean_length() -> float:
    """Mean tokens of the benchmark's conversations."""
    return float(conversations(seed=0).lengths_B.float().mean())


def policy_step(spoken: ConversationTokens, start: Path) -> float:
    """CPU seconds of one whole training call on a batch that the start policy spoke."""
    batch = training_batch(spoken, start)
    settings = PolicySettings(epochs=EPOCHS)
    with tempfile.TemporaryDirectory() as scratch:
        begun_s = time.process_time()
        TorchLocalTrainer().train(
            batch,
            parent_version="v0",
            start_folder=start,
            out_folder=Path(scratch) / "candidate",
            settings=settings,
            on_step=lambda done, total: None,
        )
        return time.process_time() - begun_s


def training_batch(spoken: ConversationTokens, start: Path) -> TrainingBatch:
    """The conversations with random credit."""
    model, _ = load_policy(start)
    behaviour_BT = score_all(model, spoken)
    advantages_BT = torch.randn(len(spoken.lengths_B), 1, generator=seeded(1)) * spoken.is_policy_BT
    return TrainingBatch(
        tokens_BT=spoken.tokens_BT,
        is_policy_BT=spoken.is_policy_BT,
        behaviour_logprobs_BT=behaviour_BT,
        advantages_BT=advantages_BT,
        lengths_B=spoken.lengths_B,
        policy_versions=frozenset({"v0"}),
    )


def bare_policy(spoken: ConversationTokens, start: Path) -> float:
    """CPU seconds of one forward over everything and of each epoch's forwards and backwards."""
    model, _ = load_policy(start)
    begun_s = time.process_time()
    forwards(model, spoken)
    for epoch in range(EPOCHS):
        forwards_and_backwards(model, spoken, size=PolicySettings().minibatch_conversations, epoch=epoch)
    return time.process_time() - begun_s


def reward_step(spoken: ConversationTokens, start: Path) -> float:
    """CPU seconds of the reference's log-probabilities, the fit and the scores."""
    reference, _ = load_policy(start)
    model, _ = load_policy(start)
    phi = ImplicitRewardModel(model, beta=0.2, suppressed_ids=suppressed_ids(model))
    labels_B = (torch.rand(len(spoken.lengths_B), generator=seeded(2)) < 0.5).float()
    begun_s = time.process_time()
    reference_BT = reference_logprobs(reference, spoken, suppressed_ids=phi.suppressed_ids)
    phi.fit(spoken, labels_B, reference_logprobs_BT=reference_BT, settings=FitSettings(epochs=EPOCHS))
    phi.score(spoken, reference_logprobs_BT=reference_BT, turns=6)
    return time.process_time() - begun_s


def bare_reward(spoken: ConversationTokens, start: Path) -> float:
    """CPU seconds of two forwards over everything and of each epoch's forwards and backwards."""
    model, _ = load_policy(start)
    begun_s = time.process_time()
    forwards(model, spoken)
    for epoch in range(EPOCHS):
        forwards_and_backwards(model, spoken, size=FitSettings().minibatch, epoch=epoch)
    forwards(model, spoken)
    return time.process_time() - begun_s


@torch.no_grad()
def forwards(model: PreTrainedModel, spoken: ConversationTokens) -> None:
    """Every conversation once, sorted by length, logits at the policy's tokens."""
    for rows in spoken.lengths_B.argsort(stable=True).split(SCORING_BATCH):
        bare_loss(model, spoken, rows=rows)


def forwards_and_backwards(
    model: PreTrainedModel, spoken: ConversationTokens, *, size: int, epoch: int
) -> None:
    """One epoch of minibatches, gradients thrown away."""
    for rows in length_buckets(spoken.lengths_B, size, generator=seeded(0, epoch)):
        bare_loss(model, spoken, rows=rows).backward()
        model.zero_grad(set_to_none=True)


def bare_loss(model: PreTrainedModel, spoken: ConversationTokens, *, rows: Tensor) -> Tensor:
    """Mean cross-entropy of the policy's tokens, and nothing else."""
    width = int(spoken.lengths_B[rows].max())
    tokens_BT, wanted_BT = spoken.tokens_BT[rows, :width], spoken.is_policy_BT[rows, :width]
    return functional.cross_entropy(
        wanted_logits(model, tokens_BT, wanted_BT=wanted_BT), tokens_BT[wanted_BT]
    )


def score_all(model: PreTrainedModel, spoken: ConversationTokens) -> Tensor:
    """Log-probabilities of the policy's tokens under a model."""
    return scored_logprobs(
        model,
        spoken.tokens_BT,
        wanted_BT=spoken.is_policy_BT,
        lengths_B=spoken.lengths_B,
        suppressed_ids=suppressed_ids(model),
        temperature=1.0,
    )
