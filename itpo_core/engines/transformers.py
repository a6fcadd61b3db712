"""The default engine: any Hugging Face causal LM, streamed in lock-step over a cache that outlives the turns.

Every row is one stream of tokens that only grows. At each step every ready row takes in its next known token
or speaks one; rows that wait for a user stand still. B rows in all, S rows still in the cache (slots).
"""

from collections.abc import Callable, Sequence
from types import MappingProxyType

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from itpo_core.engines.base import Sampling, SpokenTurn
from itpo_core.engines.decoding import (
    Aligned,
    Ragged,
    Stepper,
    StepperFactory,
    generic_steppers,
    stepping_gap,
)
from itpo_core.engines.fused_qwen2 import fused_qwen2_steppers
from itpo_core.sampling import row_uniforms, sampler
from itpo_core.tokens import ChatFormat, suppress
from itpo_core.types import FinishReason, Message

DECODERS: MappingProxyType[str, Callable[[PreTrainedModel, int], StepperFactory]] = MappingProxyType(
    {"qwen2": fused_qwen2_steppers}
)
# Below this share of open rows the cache is rewritten without the closed ones.
COMPACT_BELOW = 0.7
# Rounding stays three orders below; a wrong mask or position is far above.
MAX_STEPPING_GAP = 1e-3
_READY, _WAITING, _CLOSED = range(3)


class TransformersEngine:
    """Opens sessions on one model, whose weights are read when the engine is made."""

    def __init__(
        self,
        model: PreTrainedModel,
        chat_format: ChatFormat,
        *,
        max_context_tokens: int,
        device: torch.device | str = "cpu",
    ) -> None:
        """Raises ValueError for a context beyond the model's, or a model that cannot be decoded in steps."""
        _check_context(model, max_context_tokens)
        self._model = model.to(torch.device(device)).eval()  # pyright: ignore[reportArgumentType]
        self._format = chat_format
        self._max_context_tokens = max_context_tokens
        decoder = DECODERS.get(model.config.model_type, generic_steppers)
        self._steppers = decoder(self._model, max_context_tokens)
        _check_stepping(self._model, self._steppers)

    def open(
        self, openings: Sequence[Sequence[Message]], *, seeds: Sequence[int], sampling: Sampling
    ) -> "TransformersSession":
        """See `Engine.open`. Raises ValueError for an opening that leaves no room for a turn."""
        if len(openings) != len(seeds):
            raise ValueError(f"{len(openings)} openings but {len(seeds)} seeds: give one seed per opening")
        streams = [self._format.opening_ids(opening) for opening in openings]
        self._check_openings(streams, sampling.max_new_tokens)
        return TransformersSession(
            self._steppers(len(streams)),
            self._format,
            streams=streams,
            uniforms_BT=_uniforms(seeds, self._max_context_tokens),
            sampling=sampling,
            device=self._model.device,
        )

    def _check_openings(self, streams: Sequence[Sequence[int]], max_new_tokens: int) -> None:
        for row, stream in enumerate(streams):
            if len(stream) + max_new_tokens > self._max_context_tokens:
                raise ValueError(
                    f"opening {row} has {len(stream)} tokens: with a turn of {max_new_tokens} it exceeds the "
                    f"context of {self._max_context_tokens}; raise max_context_tokens or shorten the opening"
                )


def _check_context(model: PreTrainedModel, max_context_tokens: int) -> None:
    limit = model.config.max_position_embeddings
    if max_context_tokens > limit:
        raise ValueError(
            f"max_context_tokens {max_context_tokens}: the model knows {limit} positions; use at most {limit}"
        )
    window = model.config.to_dict().get("sliding_window")
    kinds = set(model.config.to_dict().get("layer_types") or ())
    if "sliding_attention" in kinds and window is not None and max_context_tokens > window:
        raise ValueError(
            f"max_context_tokens {max_context_tokens}: some layers see back {window}; use at most {window}"
        )


def _check_stepping(model: PreTrainedModel, steppers: StepperFactory) -> None:
    gap = stepping_gap(model, steppers)
    if not gap < MAX_STEPPING_GAP:
        raise ValueError(
            f"a {model.config.model_type} model cannot be decoded step by step here: its logits differ by "
            f"{gap:.1e} from a plain forward; use a model with ordinary attention in every layer"
        )


def _uniforms(seeds: Sequence[int], count: int) -> NDArray[np.float64]:
    return np.stack([row_uniforms(seed, count) for seed in seeds]) if seeds else np.zeros((0, count))


class TransformersSession:
    """A batch of conversations over one cache (see `Session`)."""

    def __init__(
        self,
        stepper: Stepper,
        chat_format: ChatFormat,
        *,
        streams: Sequence[Sequence[int]],
        uniforms_BT: NDArray[np.float64],
        sampling: Sampling,
        device: torch.device,
    ) -> None:
        rows = len(streams)
        self._stepper = stepper
        self._format = chat_format
        self._device = device
        self._uniforms_BT = uniforms_BT
        self._max_new_tokens = sampling.max_new_tokens
        self._draw = sampler(sampling.temperature, sampling.top_p)
        self._tokens_BT = np.zeros(uniforms_BT.shape, dtype=np.int64)
        self._logprobs_BT = np.zeros(uniforms_BT.shape, dtype=np.float32)
        # Known tokens, tokens already in the cache, where the last turn ended, where the present one starts.
        self._known_B = np.zeros(rows, dtype=np.int64)
        self._fed_B = np.zeros(rows, dtype=np.int64)
        self._heard_B = np.zeros(rows, dtype=np.int64)
        self._start_B = np.zeros(rows, dtype=np.int64)
        self._state_B = np.full(rows, _READY, dtype=np.int8)
        self._slots_S = np.arange(rows)
        for row, stream in enumerate(streams):
            self._give(row, stream)

    def advance(self) -> list[SpokenTurn]:
        """See `Session.advance`."""
        with torch.inference_mode():
            self._compact()
            finished: list[int] = []
            while not finished and (self._state_B == _READY).any():
                finished = self._step()
        return [self._spoken(row) for row in finished]

    def append(self, row: int, messages: Sequence[Message]) -> bool:
        """See `Session.append`. A turn that was cut is closed here, by a token that is not its own."""
        if self._state_B[row] != _WAITING:
            raise ValueError(f"row {row} does not wait for text: append once after each turn, before close")
        ids = self._format.continuation_ids(messages)
        known = self._known_B[row]
        if self._tokens_BT[row, known - 1] != self._format.end_of_turn_id:
            ids = [self._format.end_of_turn_id, *ids]
        if known + len(ids) + self._max_new_tokens > self._tokens_BT.shape[1]:
            return False
        self._heard_B[row] = known
        self._give(row, ids)
        self._state_B[row] = _READY
        return True

    def close(self, row: int) -> None:
        """See `Session.close`."""
        self._state_B[row] = _CLOSED

    def _give(self, row: int, ids: Sequence[int]) -> None:
        known = self._known_B[row]
        self._tokens_BT[row, known : known + len(ids)] = ids
        self._known_B[row] = self._start_B[row] = known + len(ids)

    def _compact(self) -> None:
        is_open_S = self._state_B[self._slots_S] != _CLOSED
        if 0 < is_open_S.sum() < COMPACT_BELOW * len(is_open_S):
            self._stepper.keep(torch.from_numpy(np.flatnonzero(is_open_S)).to(self._device))
            self._slots_S = self._slots_S[is_open_S]

    def _step(self) -> list[int]:
        """Feed every ready row; those with nothing left to take in speak a token. Returns finished rows."""
        slots_S = self._slots_S
        is_ready_S = self._state_B[slots_S] == _READY
        ready = slots_S[is_ready_S]
        starts = self._fed_B[ready]
        if (starts == starts[0]).all():
            logits_SV, count = self._feed_aligned(slots_S, ready)
        else:
            logits_SV, count = self._feed_ragged(slots_S), 1
        self._fed_B[ready] += count
        speaks_S = is_ready_S & (self._fed_B[slots_S] == self._known_B[slots_S])
        speakers = slots_S[speaks_S]
        if not len(speakers):
            return []
        if len(speakers) < len(slots_S):
            logits_SV = logits_SV[torch.from_numpy(np.flatnonzero(speaks_S)).to(self._device)]
        return self._speak(speakers, logits_SV)

    def _feed_aligned(self, slots_S: NDArray[np.int64], ready: NDArray[np.int64]) -> tuple[torch.Tensor, int]:
        # A row that stands still is fed along: its own tokens again, or padding that it overwrites before it
        # looks there. That is cheaper than taking it out of the batch.
        start = int(self._fed_B[ready[0]])
        count = int((self._known_B[ready] - start).min())
        tokens_ST = torch.from_numpy(self._tokens_BT[slots_S, start : start + count])
        return self._stepper.feed(tokens_ST.to(self._device), Aligned(start)), count

    def _feed_ragged(self, slots_S: NDArray[np.int64]) -> torch.Tensor:
        positions = self._fed_B[slots_S]
        tokens_S = torch.from_numpy(self._tokens_BT[slots_S, positions]).to(self._device)
        place = Ragged(torch.from_numpy(positions).to(self._device), farthest=int(positions.max()))
        return self._stepper.feed(tokens_S[:, None], place)

    def _speak(self, speakers: NDArray[np.int64], logits_SV: torch.Tensor) -> list[int]:
        known = self._known_B[speakers]
        uniforms_S = torch.from_numpy(self._uniforms_BT[speakers, known]).to(self._device)
        ids_S, logprobs_S = self._draw(suppress(logits_SV, self._format.suppressed_ids), uniforms_S)
        ids = ids_S.cpu().numpy()
        self._tokens_BT[speakers, known] = ids
        self._logprobs_BT[speakers, known] = logprobs_S.cpu().numpy()
        self._known_B[speakers] = known + 1
        is_cut = known + 1 - self._start_B[speakers] >= self._max_new_tokens
        finished = speakers[is_cut | (ids == self._format.end_of_turn_id)]
        self._state_B[finished] = _WAITING
        return finished.tolist()

    def _spoken(self, row: int) -> SpokenTurn:
        heard, start, known = self._heard_B[row], self._start_B[row], self._known_B[row]
        response = tuple(self._tokens_BT[row, start:known].tolist())
        closed = response[-1] == self._format.end_of_turn_id
        return SpokenTurn(
            row=row,
            text=self._format.decode(response[:-1] if closed else response),
            prompt_ids=tuple(self._tokens_BT[row, heard:start].tolist()),
            response_ids=response,
            logprobs=tuple(self._logprobs_BT[row, start:known].tolist()),
            finish=FinishReason.END_OF_TURN if closed else FinishReason.LENGTH,
        )
