"""Fresh turns at logged histories, sampled from a cached prefix: every visited history is a prompt.

A conversation is taken in once, however many turns it has; what the model keeps of it is copied to one slot
per branch, and each branch goes on from its own place. What the logged conversation said after that place
stays in the slot, lies behind every token of the branch, and is overwritten as the branch grows.

Axes: B conversations, T tokens of a conversation (right-padded), H histories, M draws at each, N = H x M
branches (those of a history side by side), L tokens of a branch (right-padded), V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel

from itpo_core.engines.decoding import Indices, Stepper, generic_steppers, place_of
from itpo_core.engines.transformers import DECODERS
from itpo_core.identifiers import derive_seed
from itpo_core.optimisation import TrainingDivergedError
from itpo_core.reward_model import ConversationTokens
from itpo_core.sampling import row_uniforms, sampler
from itpo_core.tokens import suppress

# So many branches share a pass: enough to keep the products busy, few enough that their caches stay small.
BRANCHES_AT_ONCE = 512
# Branches that have ended are fed along until they are more than this share of the slots.
ENDED_SHARE = 0.25


@dataclass(frozen=True, slots=True)
class Histories:
    """Where the assistant spoke: conversation, turn index, and the place of the turn's first token; int64."""

    row_H: Tensor
    turn_H: Tensor
    start_H: Tensor


@dataclass(frozen=True, slots=True)
class Branches:
    """Turns that begin at `start_N` of conversation `row_N` in place of its logged turn `turn_N`.

    tokens_NL int64 with the end of turn included, 0 after lengths_N; logprobs_NL float32, those of the
    distribution that was drawn from, 0 there too; is_closed_N is false for a turn cut at the token limit.
    """

    row_N: Tensor
    turn_N: Tensor
    start_N: Tensor
    tokens_NL: Tensor
    lengths_N: Tensor
    logprobs_NL: Tensor
    is_closed_N: Tensor

    @property
    def is_real_NL(self) -> Tensor:
        """Where there is no padding."""
        return torch.arange(self.tokens_NL.shape[1]) < self.lengths_N[:, None]

    def of(self, picked: Tensor) -> "Branches":
        """Only these branches, in this order."""
        return Branches(
            self.row_N[picked],
            self.turn_N[picked],
            self.start_N[picked],
            self.tokens_NL[picked],
            self.lengths_N[picked],
            self.logprobs_NL[picked],
            self.is_closed_N[picked],
        )


@dataclass(frozen=True, slots=True)
class Drawing:
    """How a turn is drawn: where it ends, what is never spoken, and after how many tokens it is cut."""

    end_of_turn_id: int
    suppressed_ids: tuple[int, ...] = ()
    max_new_tokens: int = 16
    temperature: float = 1.0


def visited_histories(turn_BT: Tensor) -> Histories:
    """Every place at which a turn begins, row by row.

    Raises ValueError for a stream that begins with a turn: nothing would predict its first token.
    """
    before_BT = torch.nn.functional.pad(turn_BT[:, :-1], (1, 0), value=-1)
    row_H, start_H = ((turn_BT >= 0) & (turn_BT != before_BT)).nonzero(as_tuple=True)
    if bool((start_H == 0).any()):
        row = int(row_H[start_H == 0][0])
        raise ValueError(f"row {row}: its first token has no token before it; a stream starts with a prompt")
    return Histories(row_H, turn_BT[row_H, start_H], start_H)


def branch_seeds(histories: Histories, keys_B: Sequence[int], *, draws: int, root: int) -> list[int]:
    """One seed per branch, a function of the conversation's key, the turn, the draw and `root` alone."""
    return [
        derive_seed(root, "branch", keys_B[row], turn, draw)
        for row, turn in zip(histories.row_H.tolist(), histories.turn_H.tolist(), strict=True)
        for draw in range(draws)
    ]


def sample_branches(
    model: PreTrainedModel,
    conversations: ConversationTokens,
    *,
    histories: Histories,
    seeds_N: Sequence[int],
    drawing: Drawing,
    at_once: int = BRANCHES_AT_ONCE,
) -> Branches:
    """Draw len(seeds_N) / H turns at each history; a branch depends on its history and its own seed alone.

    Equal to giving each history to the model as a prompt of its own. A turn that would leave the model's
    positions is cut there. Raises ValueError for seeds that do not divide among the histories, and for a
    temperature or a token limit that is not above 0; TrainingDivergedError for a model with broken weights.
    """
    _check(histories, seeds_N, drawing=drawing)
    count, context = len(histories.row_H), model.config.max_position_embeddings
    draws = len(seeds_N) // max(count, 1)
    spoken = _Spoken.empty(len(seeds_N), drawing.max_new_tokens)
    steppers = DECODERS.get(model.config.model_type, generic_steppers)(model, context)
    with torch.inference_mode():
        for picked_H in _batches(
            histories, conversations.lengths_B, per_batch=max(at_once // max(draws, 1), 1)
        ):
            prompts = _prompts(conversations, histories, picked_H=picked_H, context=context)
            branch_N = (picked_H[:, None] * draws + np.arange(draws)).ravel()
            uniforms_NL = row_uniforms([seeds_N[n] for n in branch_N], drawing.max_new_tokens)
            slots = max(len(prompts.counts_C), len(branch_N))
            batch = _speak(steppers(slots), prompts, uniforms_NL=uniforms_NL, drawing=drawing)
            spoken.put(branch_N, batch)
    return _branches(spoken, histories, draws=draws, end_of_turn_id=drawing.end_of_turn_id)


def logged_branches(
    conversations: ConversationTokens, logprobs_BT: Tensor, *, end_of_turn_id: int
) -> Branches:
    """The logged turns themselves, as branches at their own histories, with the given log-probabilities."""
    histories = visited_histories(conversations.turn_BT)
    same_HT = conversations.turn_BT[histories.row_H] == histories.turn_H[:, None]
    lengths_N = same_HT.sum(dim=1)
    width = int(lengths_N.max()) if len(lengths_N) else 0
    is_real_NL = torch.arange(width) < lengths_N[:, None]
    places_NL = torch.where(is_real_NL, histories.start_H[:, None] + torch.arange(width), 0)
    row_N1 = histories.row_H[:, None]
    tokens_NL = torch.where(is_real_NL, conversations.tokens_BT[row_N1, places_NL], 0)
    last_N = tokens_NL.gather(1, (lengths_N - 1)[:, None])[:, 0]
    return Branches(
        histories.row_H,
        histories.turn_H,
        histories.start_H,
        tokens_NL,
        lengths_N,
        torch.where(is_real_NL, logprobs_BT[row_N1, places_NL], 0.0),
        last_N == end_of_turn_id,
    )


def joined(first: Branches, second: Branches) -> Branches:
    """The first, then the second, in one."""
    width = max(first.tokens_NL.shape[1], second.tokens_NL.shape[1])

    def wide(values_NL: Tensor) -> Tensor:
        return torch.nn.functional.pad(values_NL, (0, width - values_NL.shape[1]))

    return Branches(
        torch.cat([first.row_N, second.row_N]),
        torch.cat([first.turn_N, second.turn_N]),
        torch.cat([first.start_N, second.start_N]),
        torch.cat([wide(first.tokens_NL), wide(second.tokens_NL)]),
        torch.cat([first.lengths_N, second.lengths_N]),
        torch.cat([wide(first.logprobs_NL), wide(second.logprobs_NL)]),
        torch.cat([first.is_closed_N, second.is_closed_N]),
    )


def _check(histories: Histories, seeds_N: Sequence[int], *, drawing: Drawing) -> None:
    if len(seeds_N) % max(len(histories.row_H), 1):
        raise ValueError(f"{len(seeds_N)} seeds for {len(histories.row_H)} histories: give each equally many")
    if drawing.temperature <= 0:
        raise ValueError(f"temperature {drawing.temperature}: branches are drawn at temperatures above 0")
    if drawing.max_new_tokens < 1:
        raise ValueError(f"max_new_tokens {drawing.max_new_tokens}: a turn needs room for one token")


@dataclass(frozen=True, slots=True)
class _Spoken:
    """What branches said so far, written in place."""

    tokens_NL: Indices
    logprobs_NL: NDArray[np.float32]
    lengths_N: Indices

    @classmethod
    def empty(cls, count: int, width: int) -> "_Spoken":
        shape = (count, width)
        return cls(np.zeros(shape, np.int64), np.zeros(shape, np.float32), np.zeros(count, np.int64))

    def put(self, at_N: Indices, other: "_Spoken") -> None:
        self.tokens_NL[at_N] = other.tokens_NL
        self.logprobs_NL[at_N] = other.logprobs_NL
        self.lengths_N[at_N] = other.lengths_N


@dataclass(frozen=True, slots=True)
class _Prompts:
    """Some histories as prompts that share their conversations.

    Conversations C with the counts_C tokens that some history wants; of each history the index of its
    conversation, its start, and how many tokens there is room for.
    """

    tokens_CT: Indices
    counts_C: Indices
    of_H: Indices
    start_H: Indices
    room_H: Indices


def _batches(histories: Histories, lengths_B: Tensor, *, per_batch: int) -> list[Indices]:
    """Histories that share a pass: those of one conversation together, conversations of similar length."""
    order_H = torch.argsort(lengths_B[histories.row_H] * len(lengths_B) + histories.row_H, stable=True)
    return [part.numpy() for part in order_H.split(per_batch) if len(part)]


def _prompts(
    conversations: ConversationTokens, histories: Histories, *, picked_H: Indices, context: int
) -> _Prompts:
    rows_C, of_H = np.unique(histories.row_H.numpy()[picked_H], return_inverse=True)
    start_H = histories.start_H.numpy()[picked_H]
    counts_C = np.zeros(len(rows_C), np.int64)
    np.maximum.at(counts_C, of_H, start_H)
    tokens_CT = conversations.tokens_BT[torch.from_numpy(rows_C), : counts_C.max()].numpy()
    return _Prompts(tokens_CT, counts_C, of_H, start_H, room_H=context - start_H)


def _speak(
    stepper: Stepper, prompts: _Prompts, *, uniforms_NL: NDArray[np.float32], drawing: Drawing
) -> _Spoken:
    """All branches of some histories in lock-step, those of a history side by side."""
    count, width = uniforms_NL.shape
    history_N = np.repeat(np.arange(len(prompts.start_H)), count // len(prompts.start_H))
    start_N, room_N = prompts.start_H[history_N], np.minimum(prompts.room_H, width)[history_N]
    spoken, is_open_N, branch_S = _Spoken.empty(count, width), np.ones(count, np.bool_), np.arange(count)
    logits_SV = _first_logits(stepper, prompts)[torch.from_numpy(history_N)]
    stepper.move(history_N, branch_S)
    for step in range(width):
        uniforms_S = uniforms_NL[branch_S, step]
        ids_S, logprobs_S = _drawn(logits_SV, uniforms_S, drawing=drawing)
        says_S = is_open_N[branch_S]
        speakers = branch_S[says_S]
        spoken.tokens_NL[speakers, step] = ids_S[says_S]
        spoken.logprobs_NL[speakers, step] = logprobs_S[says_S]
        spoken.lengths_N[speakers] = step + 1
        is_open_N[branch_S] &= (ids_S != drawing.end_of_turn_id) & (step + 1 < room_N[branch_S])
        if not is_open_N.any():
            break
        branch_S = _closed_up(stepper, branch_S, is_open_N=is_open_N)
        # What has ended is fed along where it ended, at most: the model knows so many positions only.
        cells_S = start_N[branch_S] + np.minimum(step, room_N[branch_S] - 1)
        logits_SV = _feed_one(stepper, spoken.tokens_NL[branch_S, step], cells_S)
    return spoken


def _first_logits(stepper: Stepper, prompts: _Prompts) -> Tensor:
    """Take the conversations in, give every history a slot, and look at what follows its last token, [H, V].

    That token is fed once more, to its own cell: a pass over a whole conversation tells what follows the
    conversation only.
    """
    whole = place_of(0, np.zeros_like(prompts.counts_C), counts_S=prompts.counts_C)
    stepper.feed(prompts.tokens_CT, whole)
    stepper.move(prompts.of_H, np.arange(len(prompts.of_H)))
    before_H = prompts.start_H - 1
    logits_HV = _feed_one(stepper, prompts.tokens_CT[prompts.of_H, before_H], before_H)
    if not bool(logits_HV.isfinite().all()):
        raise TrainingDivergedError("the policy's logits are not finite; lower the learning rate")
    return logits_HV


def _feed_one(stepper: Stepper, tokens_S: Indices, cells_S: Indices) -> Tensor:
    place = place_of(0, cells_S, counts_S=np.ones_like(cells_S))
    return stepper.feed(tokens_S[:, None], place)


def _drawn(
    logits_SV: Tensor, uniforms_S: NDArray[np.float32], *, drawing: Drawing
) -> tuple[Indices, NDArray[np.float32]]:
    draw = sampler(drawing.temperature, 1.0)
    allowed_SV = suppress(logits_SV, drawing.suppressed_ids)
    ids_S, logprobs_S = draw(allowed_SV, torch.from_numpy(uniforms_S).to(logits_SV.device))
    return ids_S.cpu().numpy(), logprobs_S.cpu().numpy()


def _closed_up(stepper: Stepper, branch_S: Indices, *, is_open_N: NDArray[np.bool_]) -> Indices:
    """Which branches the slots hold from here on: all of them, or, when many have ended, the open ones."""
    open_slots = np.flatnonzero(is_open_N[branch_S])
    if len(open_slots) >= (1 - ENDED_SHARE) * len(branch_S):
        return branch_S
    stepper.move(open_slots, np.arange(len(open_slots)))
    return branch_S[open_slots]


def _branches(spoken: _Spoken, histories: Histories, *, draws: int, end_of_turn_id: int) -> Branches:
    width = int(spoken.lengths_N.max(initial=0))
    tokens_NL = torch.from_numpy(spoken.tokens_NL[:, :width].copy())
    lengths_N = torch.from_numpy(spoken.lengths_N)
    last_N = tokens_NL.gather(1, (lengths_N - 1)[:, None])[:, 0] if width else lengths_N
    return Branches(
        histories.row_H.repeat_interleave(draws),
        histories.turn_H.repeat_interleave(draws),
        histories.start_H.repeat_interleave(draws),
        tokens_NL,
        lengths_N,
        torch.from_numpy(spoken.logprobs_NL[:, :width].copy()),
        last_N == end_of_turn_id,
    )
