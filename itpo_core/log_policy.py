"""A policy for logs whose words belong to no domain: a byte-pair tokenizer of the texts and a small network.

What it learns from them is imitation. How far it can be trusted is told by conversations that it has not
read: how likely it finds what was said there, and how far a step moved it. Nobody answers it, so no figure
here says how well it would do. Axes: B conversations, T tokens (right-padded), N spoken tokens, V vocabulary.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from itpo_core.concordance import concordance_interval
from itpo_core.log_reward import long_model
from itpo_core.logprobs import entropies, rows_that_fit, scored_logprobs, wanted_logits
from itpo_core.reward_model import ConversationTokens
from itpo_core.statistics import Interval, paired_interval
from itpo_core.tiny_policy import Size, build_bpe_tokenizer, suppressed_ids
from itpo_core.tokens import suppress

TOKENS_AT_ONCE = 32_768
LOGITS_AT_ONCE = 2**26  # of each policy, beside some more arrays of that size


@dataclass(frozen=True, slots=True)
class Moved:
    """Exact divergence KL(before || after) and entropy after, nats per spoken token."""

    kl: float
    entropy: float


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """How an interval over whole clusters is made."""

    confidence: float
    draws: int
    seed: int


def create_log_policy(
    texts: Iterable[str], size: Size, *, vocabulary_size: int, max_tokens: int, seed: int
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A fresh policy that can read and say every text; equal arguments give equal weights."""
    tokenizer = build_bpe_tokenizer(texts, vocabulary_size=vocabulary_size)
    return long_model(len(tokenizer), max_tokens=max_tokens, seed=seed, size=size), tokenizer


def spoken_nats(model: PreTrainedModel, conversations: ConversationTokens) -> Tensor:
    """Mean of -log p over the assistant's tokens of each conversation, float64 [B]; each has some."""
    wanted_BT = conversations.is_policy_BT
    logprobs_BT = scored_logprobs(
        model,
        conversations.tokens_BT,
        wanted_BT=wanted_BT,
        lengths_B=conversations.lengths_B,
        suppressed_ids=suppressed_ids(model),
        temperature=1.0,
    )
    return -logprobs_BT.double().sum(dim=1) / wanted_BT.sum(dim=1)


@torch.no_grad()
def moved(before: PreTrainedModel, after: PreTrainedModel, *, conversations: ConversationTokens) -> Moved:
    """How far the second policy is from the first at every token that the logged assistant spoke.

    Exact over the vocabulary, so no propensity of the logged agent is needed; it is not the divergence from
    that agent, of which only words are known, but from the policy that imitates it.
    """
    kls, spreads = [], []
    width, vocabulary = int(conversations.lengths_B.max()), before.config.vocab_size
    size = rows_that_fit(width, vocabulary, tokens=TOKENS_AT_ONCE, logits=LOGITS_AT_ONCE)
    for rows in conversations.lengths_B.argsort(stable=True).split(size):
        first_NV, second_NV = (_logprobs(model, conversations.of_rows(rows)) for model in (before, after))
        kls.append((first_NV.exp() * (first_NV - second_NV)).sum(dim=1).double())
        spreads.append(entropies(second_NV).double())
    return Moved(float(torch.cat(kls).mean()), float(torch.cat(spreads).mean()))


def nats_by_outcome(nats_B: Tensor, outcomes_B: Tensor) -> dict[str, float]:
    """Nats per token of all, of successes and of failures; an outcome between counts for both, by its share.

    A side that no conversation is on has no figure.
    """
    sides = {
        "nats": torch.ones_like(outcomes_B),
        "success_nats": outcomes_B,
        "failure_nats": 1 - outcomes_B,
    }
    return {
        name: float((nats_B * weights_B).sum() / weights_B.sum())
        for name, weights_B in sides.items()
        if float(weights_B.sum()) > 0
    }


def likelier(
    before_B: Tensor, after_B: Tensor, *, clusters: Sequence[str], bootstrap: Bootstrap
) -> Interval | None:
    """By how much likelier the second policy finds the conversations, nats per token, above 0: likelier.

    None for fewer than two clusters, of which no interval can be made.
    """
    if len(set(clusters)) < 2:
        return None
    return paired_interval(
        (before_B - after_B).tolist(),
        clusters,
        confidence=bootstrap.confidence,
        draws=bootstrap.draws,
        seed=bootstrap.seed,
    )


def ranking(
    scores_B: Tensor, outcomes_B: Tensor, *, clusters: Sequence[str], bootstrap: Bootstrap
) -> Interval | None:
    """Chance that the better of two conversations scores higher; None where that cannot be told."""
    if len(set(clusters)) < 2:
        return None
    return concordance_interval(
        scores_B.tolist(),
        outcomes_B.tolist(),
        clusters=clusters,
        confidence=bootstrap.confidence,
        draws=bootstrap.draws,
        seed=bootstrap.seed,
    )


def _logprobs(model: PreTrainedModel, conversations: ConversationTokens) -> Tensor:
    width = int(conversations.lengths_B.max())
    logits_NV = wanted_logits(
        model, conversations.tokens_BT[:, :width], wanted_BT=conversations.is_policy_BT[:, :width]
    )
    return suppress(logits_NV, suppressed_ids(model)).log_softmax(dim=-1)
