"""Log-probabilities of given tokens under a causal language model.

Axes: B conversations, T tokens (right-padded), N wanted tokens of a batch, row by row. Rows are padded on
the right only, so causal attention keeps padding out of every real position and no attention mask is needed;
where a row ends is told by its length and never read off the ids.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import Module, functional
from transformers import PreTrainedModel

from itpo_core.tokens import suppress

# Architectures whose logits are the output embedding of the body's last hidden state and nothing else. Others
# may cap or scale their logits on the way, and take the slower road through their own forward.
PLAIN_HEADS = frozenset({"llama", "mistral", "qwen2", "qwen3"})
POOL_MINIBATCHES = 4
TOKENS_AT_ONCE = 131_072  # padded; longer rows than those of a small domain come fewer at a time
LOGITS_AT_ONCE = 2**28  # one for each token and each entry of the vocabulary: 1 GiB


@dataclass(frozen=True, slots=True)
class TokenLogprobs:
    """Log-probability of every wanted token, row by row, and the logits [N, V] it was taken from."""

    logprobs_N: Tensor
    logits_NV: Tensor

    def entropies(self, *, with_gradient: bool) -> Tensor:
        """Entropy (nats) behind every wanted token; without gradient it is cheap to watch."""
        return entropies(self.logits_NV if with_gradient else self.logits_NV.detach())


def token_logprobs(
    model: PreTrainedModel,
    tokens_BT: Tensor,
    *,
    wanted_BT: Tensor,
    suppressed_ids: Sequence[int],
    temperature: float,
) -> TokenLogprobs:
    """Log-probability of each wanted token as it was sampled: suppressed ids out, divided by the temperature.

    Only the positions that predict a wanted token pass the output embedding. Raises ValueError when a row's
    first token is wanted (nothing predicts it) and for a temperature that is not above 0.
    """
    _check(wanted_BT, temperature)
    logits_NV = wanted_logits(model, tokens_BT, wanted_BT=wanted_BT)
    logits_NV = suppress(logits_NV, suppressed_ids)
    if temperature != 1.0:
        logits_NV = logits_NV / temperature
    logprobs_N = -functional.cross_entropy(logits_NV, tokens_BT[wanted_BT], reduction="none")
    return TokenLogprobs(logprobs_N, logits_NV)


def wanted_logits(model: PreTrainedModel, tokens_BT: Tensor, *, wanted_BT: Tensor) -> Tensor:
    """Raw fp32 logits that predict the wanted tokens, [N, V]; the last column of tokens is never run."""
    predicts_BT = wanted_BT[:, 1:]
    if model.config.model_type not in PLAIN_HEADS:
        return model(input_ids=tokens_BT[:, :-1], use_cache=False).logits[predicts_BT].float()
    hidden_BTH = model.base_model(input_ids=tokens_BT[:, :-1], use_cache=False).last_hidden_state
    return _head(model)(hidden_BTH[predicts_BT]).float()


def entropies(logits_NV: Tensor) -> Tensor:
    """Entropy of each row's softmax, in nats; a suppressed logit has probability 0 and adds nothing."""
    logprobs_NV = logits_NV.log_softmax(dim=-1)
    return -(logprobs_NV.exp() * logprobs_NV).sum(dim=-1)


@torch.no_grad()
def scored_logprobs(
    model: PreTrainedModel,
    tokens_BT: Tensor,
    *,
    wanted_BT: Tensor,
    lengths_B: Tensor,
    suppressed_ids: Sequence[int],
    temperature: float,
    batch: int = 128,
) -> Tensor:
    """`token_logprobs` of a whole data set without gradient, [B, T], 0 where nothing is wanted."""
    scored_BT = torch.zeros(tokens_BT.shape, dtype=torch.float32)
    for rows in _at_once(lengths_B, batch, vocabulary=model.config.vocab_size):
        width = int(lengths_B[rows].max())
        wanted = wanted_BT[rows, :width]
        found = token_logprobs(
            model,
            tokens_BT[rows, :width],
            wanted_BT=wanted,
            suppressed_ids=suppressed_ids,
            temperature=temperature,
        )
        scored_BT[rows, :width] = scored_BT[rows, :width].masked_scatter(wanted, found.logprobs_N)
    return scored_BT


def rows_that_fit(width: int, vocabulary: int, *, tokens: int, logits: int) -> int:
    """How many rows of so many tokens stay within a budget of padded tokens and one of logits; never none."""
    return max(1, min(tokens, logits // vocabulary) // max(1, width))


def _at_once(lengths_B: Tensor, batch: int, *, vocabulary: int) -> list[Tensor]:
    """Rows by length, at most `batch` and, but for a single row, no more than the budgets together."""
    parts = lengths_B.argsort(stable=True).split(batch)
    widths = [int(lengths_B[rows].max()) if len(rows) else 1 for rows in parts]
    fit = [rows_that_fit(width, vocabulary, tokens=TOKENS_AT_ONCE, logits=LOGITS_AT_ONCE) for width in widths]
    return [few for rows, size in zip(parts, fit, strict=True) for few in rows.split(size)]


def length_buckets(lengths_B: Tensor, batch: int, *, generator: torch.Generator) -> list[Tensor]:
    """Row indices of shuffled minibatches, each row once, whose rows are of similar length.

    Rows are shuffled, sorted by length within pools of a few minibatches, and the minibatches shuffled again:
    little padding, and still other neighbours in every epoch.
    """
    shuffled_B = torch.randperm(len(lengths_B), generator=generator)
    buckets = [
        pool[lengths_B[pool].argsort(stable=True)].split(batch)
        for pool in shuffled_B.split(batch * POOL_MINIBATCHES)
    ]
    flat = [rows for pool in buckets for rows in pool]
    return [flat[index] for index in torch.randperm(len(flat), generator=generator).tolist()]


def _head(model: PreTrainedModel) -> Module:
    head = model.get_output_embeddings()
    if head is None:
        raise ValueError(f"{model.config.model_type}: no output embedding; give a causal language model")
    return head


def _check(wanted_BT: Tensor, temperature: float) -> None:
    if bool(wanted_BT[:, 0].any()):
        row = int(wanted_BT[:, 0].nonzero()[0])
        raise ValueError(f"row {row}: its first token has no token before it; a stream starts with a prompt")
    if temperature <= 0:
        raise ValueError(
            f"temperature {temperature}: log-probabilities are defined for temperatures above 0 only"
        )


def check_spoken(tokens_BT: Tensor, wanted_BT: Tensor, *, suppressed_ids: Sequence[int]) -> None:
    """Raises ValueError for a wanted token that the policy never speaks: it has no log-probability."""
    never_BT = wanted_BT & torch.isin(tokens_BT, torch.tensor(list(suppressed_ids), dtype=tokens_BT.dtype))
    if bool(never_BT.any()):
        row, place = never_BT.nonzero()[0].tolist()
        raise ValueError(
            f"row {row}, token {place}: id {int(tokens_BT[row, place])} is never spoken by this policy;"
            " encode the text with a tokenizer that knows its words"
        )
