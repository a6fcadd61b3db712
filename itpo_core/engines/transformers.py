"""The default engine: any Hugging Face causal LM, streamed over a cache that outlives the turns.

Every row is one stream of tokens that only grows, and lives in a slot of the cache. Rows that speak go on in
lock-step, one token each; rows that were given text wait until taking it in, all of it at once, is worth a
pass of its own. Rows that wait for a user stand still. B rows in all, S slots that are fed.
"""

from collections.abc import Callable, Sequence
from types import MappingProxyType

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from itpo_core.engines.base import Sampling, SpokenTurn
from itpo_core.engines.decoding import (
    Indices,
    Stepper,
    StepperFactory,
    generic_steppers,
    place_of,
    stepping_gap,
)
from itpo_core.engines.fused_qwen2 import fused_qwen2_steppers
from itpo_core.sampling import draw_rows, row_uniforms, sampler, turn_temperatures
from itpo_core.tokens import ChatFormat, suppress
from itpo_core.types import FinishReason, Message

DECODERS: MappingProxyType[str, Callable[[PreTrainedModel, int], StepperFactory]] = MappingProxyType(
    {"qwen2": fused_qwen2_steppers}
)
# Text is taken in once as many rows wait to hear theirs as there are rows that speak, times this.
HEAR_AT = 2.0
# So many rows, or this share, may be fed along without a part in the pass; with more, rows change slots.
SPARE_ROWS = 8
SPARE_SHARE = 0.1
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
        max_fed_tokens: int = 16_384,
        device: torch.device | str = "cpu",
    ) -> None:
        """`max_fed_tokens` bounds what one pass takes in; what is left of longer texts follows in the next.

        Raises ValueError for a context beyond the model's, or a model that cannot be decoded in steps."""
        _check_context(model, max_context_tokens)
        self._model = model.to(torch.device(device)).eval()  # pyright: ignore[reportArgumentType]
        self._format = chat_format
        self._max_context_tokens = max_context_tokens
        self._max_fed_tokens = max_fed_tokens
        decoder = DECODERS.get(model.config.model_type, generic_steppers)
        self._steppers = decoder(self._model, max_context_tokens)
        _check_stepping(self._model, self._steppers)

    def open(
        self,
        openings: Sequence[Sequence[Message]],
        *,
        seeds: Sequence[int],
        sampling: Sampling,
        temperatures: Sequence[Sequence[float]] | None = None,
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
            uniforms_BT=row_uniforms(seeds, self._max_context_tokens),
            sampling=sampling,
            temperatures=temperatures,
            max_fed_tokens=self._max_fed_tokens,
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


def _first_equal(streams: Sequence[Sequence[int]]) -> Indices:
    """Per stream the index of the first one that equals it."""
    first: dict[tuple[int, ...], int] = {}
    return np.array(
        [first.setdefault(tuple(stream), row) for row, stream in enumerate(streams)], dtype=np.int64
    )


class TransformersSession:
    """A batch of conversations over one cache (see `Session`)."""

    def __init__(
        self,
        stepper: Stepper,
        chat_format: ChatFormat,
        *,
        streams: Sequence[Sequence[int]],
        uniforms_BT: NDArray[np.float32],
        sampling: Sampling,
        max_fed_tokens: int,
        temperatures: Sequence[Sequence[float]] | None = None,
    ) -> None:
        rows = len(streams)
        self._stepper = stepper
        self._format = chat_format
        self._uniforms_BT = uniforms_BT
        self._max_fed_tokens = max_fed_tokens
        self._max_new_tokens = sampling.max_new_tokens
        self._draw = sampler(sampling.temperature, sampling.top_p)
        self._top_p = sampling.top_p
        self._temperatures_BK = (
            None if temperatures is None else turn_temperatures(temperatures, sampling.temperature)
        )
        self._turn_B = np.zeros(rows, dtype=np.int64)
        self._tokens_BT = np.zeros(uniforms_BT.shape, dtype=np.int64)
        self._logprobs_BT = np.zeros(uniforms_BT.shape, dtype=np.float32)
        # Known tokens, tokens already in the cache, where the last turn ended, where the present one starts.
        self._known_B = np.zeros(rows, dtype=np.int64)
        self._fed_B = np.zeros(rows, dtype=np.int64)
        self._heard_B = np.zeros(rows, dtype=np.int64)
        self._start_B = np.zeros(rows, dtype=np.int64)
        self._state_B = np.full(rows, _READY, dtype=np.int8)
        self._slot_B = np.arange(rows)
        self._row_at_B = np.arange(rows)
        self._twin_B = _first_equal(streams)
        for row, stream in enumerate(streams):
            self._give(row, stream)

    def advance(self) -> list[SpokenTurn]:
        """See `Session.advance`."""
        with torch.inference_mode():
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
        self._turn_B[row] += 1
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

    def _step(self) -> list[int]:
        """One pass of the model for the rows that speak, or for those that hear. Returns finished rows."""
        pending_B = np.where(self._state_B == _READY, self._known_B - self._fed_B, 0)
        hearing, speaking = np.flatnonzero(pending_B > 1), np.flatnonzero(pending_B == 1)
        hears = len(hearing) > 0 and len(hearing) >= HEAR_AT * len(speaking)
        if hears and not self._fed_B[hearing].any():
            return self._hear_openings(hearing, pending_B)
        chosen = hearing if hears else speaking
        slots = self._arrange(chosen, spare=max(SPARE_ROWS, int(SPARE_SHARE * len(chosen))))
        rows_S = self._row_at_B[slots]
        pending_S = pending_B[rows_S]
        counts_S = self._bounded(pending_S) if hears else (pending_S == 1).astype(np.int64)
        return self._speak(rows_S, self._feed(slots, counts_S))

    def _hear_openings(self, rows: Indices, pending_B: Indices) -> list[int]:
        """Equal openings are taken in once, and what came of it is copied."""
        _, first, which = np.unique(self._twin_B[rows], return_index=True, return_inverse=True)
        slots = self._arrange(rows[first], spare=0)
        counts_S = self._bounded(pending_B[self._row_at_B[slots]])
        logits_SV = self._feed(slots, counts_S)
        source = self._slot_B[rows[first]][which] - slots.start
        self._stepper.move(slots.start + source, self._slot_B[rows])
        self._fed_B[rows] = counts_S[source]
        return self._speak(rows, logits_SV[torch.from_numpy(source)])

    def _bounded(self, pending_S: Indices) -> Indices:
        return np.minimum(pending_S, max(1, self._max_fed_tokens // len(pending_S)))

    def _arrange(self, rows: Indices, *, spare: int) -> slice:
        """Slots where these rows stand together with at most so many others, if need be after moving."""
        slots = self._slot_B[rows]
        first, end = int(slots.min()), int(slots.max()) + 1
        if end - first <= len(rows) + spare:
            return slice(first, end)
        count = len(rows)
        is_taken = np.zeros(count, dtype=bool)
        is_taken[slots[slots < count]] = True
        inside, outside = np.flatnonzero(~is_taken), slots[slots >= count]
        arriving, leaving = self._row_at_B[outside], self._row_at_B[inside]
        # What a closed row leaves behind is not worth moving.
        kept = self._state_B[leaving] != _CLOSED
        self._stepper.move(np.concatenate([outside, inside[kept]]), np.concatenate([inside, outside[kept]]))
        self._row_at_B[inside], self._row_at_B[outside] = arriving, leaving
        self._slot_B[arriving], self._slot_B[leaving] = inside, outside
        return slice(0, count)

    def _feed(self, slots: slice, counts_S: Indices) -> torch.Tensor:
        # A row without tokens to take in is fed along in its slot: its own tokens again, or padding, in cells
        # that are overwritten before they are looked at. That is cheaper than taking it out of the pass.
        rows_S = self._row_at_B[slots]
        starts_S = self._fed_B[rows_S]
        place = place_of(slots.start, starts_S, counts_S=np.maximum(counts_S, 1))
        columns_ST = np.minimum(place.cells_ST, self._tokens_BT.shape[1] - 1)
        logits_SV = self._stepper.feed(self._tokens_BT[rows_S[:, None], columns_ST], place)
        self._fed_B[rows_S] += counts_S
        return logits_SV

    def _speak(self, rows_S: Indices, logits_SV: torch.Tensor) -> list[int]:
        """Rows that have taken in all they know speak a token; those that end their turn are returned."""
        speaks_S = (self._state_B[rows_S] == _READY) & (self._fed_B[rows_S] == self._known_B[rows_S])
        speakers = rows_S[speaks_S]
        # All draw and the others' tokens are thrown away: picking the speakers' logits out would cost more.
        cells_S = np.minimum(self._known_B[rows_S], self._tokens_BT.shape[1] - 1)
        uniforms_S = torch.from_numpy(self._uniforms_BT[rows_S, cells_S]).to(logits_SV.device)
        allowed_SV = suppress(logits_SV, self._format.suppressed_ids)
        ids_S, logprobs_S = self._drawn(allowed_SV, uniforms_S, rows_S=rows_S)
        ids = ids_S.cpu().numpy()[speaks_S]
        known = self._known_B[speakers]
        self._tokens_BT[speakers, known] = ids
        self._logprobs_BT[speakers, known] = logprobs_S.cpu().numpy()[speaks_S]
        self._known_B[speakers] = known + 1
        is_cut = known + 1 - self._start_B[speakers] >= self._max_new_tokens
        finished = speakers[is_cut | (ids == self._format.end_of_turn_id)]
        self._state_B[finished] = _WAITING
        return finished.tolist()

    def _drawn(
        self, logits_SV: torch.Tensor, uniforms_S: torch.Tensor, *, rows_S: Indices
    ) -> tuple[torch.Tensor, torch.Tensor]:
        table_BK = self._temperatures_BK
        if table_BK is None:
            return self._draw(logits_SV, uniforms_S)
        turns_S = np.minimum(self._turn_B[rows_S], table_BK.shape[1] - 1)
        temperatures_S = torch.from_numpy(table_BK[rows_S, turns_S]).to(logits_SV.device)
        return draw_rows(logits_SV, uniforms_S, temperatures_B=temperatures_S, top_p=self._top_p)

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
