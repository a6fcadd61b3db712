"""Feeding tokens to a causal LM over a cache that stays between turns.

Axes: S rows of the batch, T tokens fed at once, P positions seen, V vocabulary. A row's position is its own.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from transformers import Cache, PreTrainedModel
from transformers.cache_utils import CacheLayerMixin


@dataclass(frozen=True, slots=True)
class Aligned:
    """Every row is fed at the same positions, from `start` on."""

    start: int


@dataclass(frozen=True, slots=True)
class Ragged:
    """Each row is fed one token at its own position; `farthest` is the largest of positions_S."""

    positions_S: Tensor
    farthest: int


Place = Aligned | Ragged


class Stepper(Protocol):
    """A batch's cache with the model above it."""

    def feed(self, tokens_ST: Tensor, place: Place) -> Tensor:
        """Take the tokens in at their positions and return logits_SV (float32) after the last of them."""
        ...

    def keep(self, rows: Tensor) -> None:
        """Go on with these rows of the batch only, in this order."""
        ...


# rows -> an empty batch
StepperFactory = Callable[[int], Stepper]


def seen(place: Place, count: int) -> int:
    """How many positions the rows reach to once `count` tokens are fed there: P."""
    return place.start + count if isinstance(place, Aligned) else place.farthest + 1


def position_ids(place: Place, count: int, *, device: torch.device) -> Tensor:
    """The positions of the fed tokens: (1, T) or (S, 1)."""
    if isinstance(place, Aligned):
        return torch.arange(place.start, place.start + count, device=device)[None]
    return place.positions_S[:, None]


def causal_mask(positions_ST: Tensor, count: int, *, dtype: torch.dtype) -> Tensor:
    """(S, 1, T, P) to add to attention scores: 0 up to a token's own position, the lowest number after it."""
    later = torch.arange(count, device=positions_ST.device) > positions_ST[:, None, :, None]
    return torch.zeros(later.shape, dtype=dtype, device=later.device).masked_fill(
        later, torch.finfo(dtype).min
    )


class _RowLayer(CacheLayerMixin):
    """Keys and values of one layer in fixed storage (S, heads, positions, width), written where told."""

    is_compileable = False
    is_sliding = False

    def __init__(self, max_tokens: int) -> None:
        super().__init__()
        self.max_tokens = max_tokens
        self.place: Place = Aligned(0)

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Allocate for the widths that the first tokens show."""
        self.keys = _storage(key_states, self.max_tokens)
        self.values = _storage(value_states, self.max_tokens)
        self.is_initialized = True

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """Write at the current place and return everything up to the farthest position."""
        if self.keys is None or self.values is None:
            self.lazy_initialization(key_states, value_states)
            return self.update(key_states, value_states)
        _write(self.keys, key_states, place=self.place)
        _write(self.values, value_states, place=self.place)
        reached = seen(self.place, key_states.shape[-2])
        return self.keys[:, :, :reached], self.values[:, :, :reached]

    def keep(self, rows: Tensor) -> None:
        """Drop the other rows' keys and values."""
        if self.keys is not None and self.values is not None:
            self.keys, self.values = self.keys[rows], self.values[rows]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Positions seen and the first of them."""
        return seen(self.place, query_length), 0

    def get_seq_length(self) -> int:
        """Positions filled before the current tokens, in the farthest row."""
        return seen(self.place, 0) if isinstance(self.place, Aligned) else self.place.farthest

    def get_max_length(self) -> int:
        """The fixed number of positions."""
        return self.max_tokens


def _storage(states: Tensor, max_tokens: int) -> Tensor:
    rows, heads, _, width = states.shape
    return states.new_zeros((rows, heads, max_tokens, width))


def _write(storage: Tensor, states: Tensor, *, place: Place) -> None:
    if isinstance(place, Aligned):
        storage[:, :, place.start : place.start + states.shape[2]] = states
    else:
        rows = torch.arange(len(states), device=states.device)
        storage[rows, :, place.positions_S] = states[:, :, 0]


class GenericStepper:
    """Any causal LM of the library, through its own forward and a cache with per-row writes."""

    def __init__(self, model: PreTrainedModel, *, max_tokens: int) -> None:
        self._model = model
        self._layers = [_RowLayer(max_tokens) for _ in range(model.config.num_hidden_layers)]
        self._cache = Cache(layers=list(self._layers))

    def feed(self, tokens_ST: Tensor, place: Place) -> Tensor:
        """One forward over the fed tokens; only the last one's logits are computed."""
        for layer in self._layers:
            layer.place = place
        count = tokens_ST.shape[1]
        positions = position_ids(place, count, device=tokens_ST.device)
        positions_ST = positions.expand(len(tokens_ST), count)
        output = self._model(
            input_ids=tokens_ST,
            position_ids=positions_ST,
            attention_mask=causal_mask(positions_ST, seen(place, count), dtype=self._model.dtype),
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
        )
        return output.logits[:, -1].float()

    def keep(self, rows: Tensor) -> None:
        """Go on with these rows only."""
        for layer in self._layers:
            layer.keep(rows)


def generic_steppers(model: PreTrainedModel, max_tokens: int) -> StepperFactory:
    """Batches over any causal LM."""
    return lambda _rows: GenericStepper(model, max_tokens=max_tokens)


def stepping_gap(model: PreTrainedModel, steppers: StepperFactory) -> float:
    """Largest difference between step-by-step logits (rows apart by one position) and one plain forward.

    Relative to the largest logit; a sound decoder shows rounding only.
    """
    vocabulary = model.config.vocab_size
    tokens_ST = (torch.arange(12, device=model.device).reshape(2, 6) * 7 + 1) % vocabulary
    stepper = steppers(2)
    with torch.inference_mode():
        expected_STV = model(input_ids=tokens_ST, use_cache=False).logits.float()
        gaps = [
            stepper.feed(tokens_ST[:, :3], Aligned(0)) - expected_STV[:, 2],
            stepper.feed(tokens_ST[:, 3:4], Aligned(3)) - expected_STV[:, 3],
        ]
        # The first row steps back to where it was: feeding a token again changes nothing.
        positions_S = torch.tensor([3, 4], device=model.device)
        rows = torch.arange(2, device=model.device)
        stepped_SV = stepper.feed(tokens_ST[rows, positions_S][:, None], Ragged(positions_S, farthest=4))
        gaps.append(stepped_SV - expected_STV[rows, positions_S])
    largest = max(float(gap.abs().max()) for gap in gaps)
    return largest / max(1.0, float(expected_STV.abs().max()))
