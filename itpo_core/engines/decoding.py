"""Feeding tokens to a causal LM over a cache that stays between turns.

A batch is a row of slots, each with cells for the keys and values of one conversation's tokens; the cell and
the position of a token are the same number. Axes: S slots that are fed, T tokens fed to each (right-padded),
P cells in use, V vocabulary.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import Cache, PreTrainedModel
from transformers.cache_utils import CacheLayerMixin

Indices = NDArray[np.int64]
# The least storage. It doubles from there: short conversations stay close together in memory.
LEAST_CELLS = 64


@dataclass(frozen=True, slots=True)
class Place:
    """Where fed tokens go: slots from `first` on, cells_ST of each; `used` counts the cells in use.

    last_S is the index of each slot's last real token. What follows it is padding, whose cells are
    overwritten before they are looked at.
    """

    first: int
    cells_ST: Indices
    last_S: Indices
    used: int

    @property
    def slots(self) -> slice:
        """The slots that are fed."""
        return slice(self.first, self.first + len(self.cells_ST))

    @property
    def slots_S(self) -> Indices:
        """The same, one by one."""
        return np.arange(self.first, self.first + len(self.cells_ST))

    @property
    def is_real_ST(self) -> NDArray[np.bool_]:
        """Where there is no padding."""
        return np.arange(self.cells_ST.shape[1]) <= self.last_S[:, None]

    @property
    def positions_ST(self) -> Indices:
        """The cells, with padding held back at the last real token: a model knows so many positions only."""
        return np.minimum(self.cells_ST, self.cells_ST[:, :1] + self.last_S[:, None])


def place_of(first: int, starts_S: Indices, *, counts_S: Indices) -> Place:
    """The place of `counts_S` tokens from cells `starts_S` on."""
    width = int(counts_S.max())
    cells_ST = starts_S[:, None] + np.arange(width)
    return Place(first, cells_ST, last_S=counts_S - 1, used=int(starts_S.max()) + width)


class Stepper(Protocol):
    """A batch's cache with the model above it."""

    def feed(self, tokens_ST: Indices, place: Place) -> Tensor:
        """Take the tokens in and return logits_SV (float32) after each slot's last real one."""
        ...

    def move(self, source: Indices, target: Indices) -> None:
        """Put what the source slots hold into the target slots, all at once."""
        ...


# slots -> an empty batch
StepperFactory = Callable[[int], Stepper]


def grown(storage: NDArray[np.float32], cells: int, *, axis: int) -> NDArray[np.float32]:
    """A copy with room for so many cells."""
    shape = list(storage.shape)
    shape[axis] = roomy_count(cells)
    roomy = np.empty(shape, np.float32)
    old, new = np.split(roomy, [storage.shape[axis]], axis=axis)
    old[...], new[...] = storage, 0
    return roomy


def roomy_count(cells: int) -> int:
    """The cells, rounded up to the next doubling of the least storage."""
    count = LEAST_CELLS
    while count < cells:
        count *= 2
    return count


@dataclass(frozen=True, slots=True)
class _Target:
    """A place on the model's device."""

    slots: slice
    cells_ST: Tensor
    used: int


class _SlotLayer(CacheLayerMixin):
    """Keys and values of one layer, (slots, heads, cells, width), written where told."""

    is_compileable = False
    is_sliding = False

    def __init__(self, slots: int) -> None:
        super().__init__()
        self.slots = slots
        self.target: _Target | None = None

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Begin without cells, with the widths that the first tokens show."""
        self.keys = key_states.new_zeros((self.slots, key_states.shape[1], 0, key_states.shape[3]))
        self.values = value_states.new_zeros((self.slots, value_states.shape[1], 0, value_states.shape[3]))
        self.is_initialized = True

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """Write where told and return all cells in use of the slots that are fed."""
        if self.keys is None or self.values is None:
            self.lazy_initialization(key_states, value_states)
            return self.update(key_states, value_states)
        target = self._told()
        self.keys = _with_room(self.keys, target.used)
        self.values = _with_room(self.values, target.used)
        return _written(self.keys, key_states, target=target), _written(
            self.values, value_states, target=target
        )

    def move(self, source: Tensor, target: Tensor) -> None:
        """See `Stepper.move`."""
        if self.keys is not None and self.values is not None:
            self.keys[target] = self.keys[source]
            self.values[target] = self.values[source]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Cells in use and the first of them."""
        return self._told().used, 0

    def get_seq_length(self) -> int:
        """Cells filled before the present tokens, in the fullest slot."""
        return 0 if self.target is None else self.target.used - self.target.cells_ST.shape[1]

    def get_max_length(self) -> int:
        """Without a limit of its own."""
        return -1

    def _told(self) -> _Target:
        if self.target is None:
            raise RuntimeError("a cache layer was used before it was told where to write")
        return self.target


def _with_room(storage: Tensor, cells: int) -> Tensor:
    if cells <= storage.shape[2]:
        return storage
    slots, heads, present, width = storage.shape
    return torch.cat([storage, storage.new_zeros((slots, heads, roomy_count(cells) - present, width))], dim=2)


def _written(storage: Tensor, states: Tensor, *, target: _Target) -> Tensor:
    """Write states (S, heads, T, width); all cells in use of the slots that were written."""
    fed = storage[target.slots]
    slots_S1 = torch.arange(len(states), device=states.device)[:, None]
    fed[slots_S1, :, target.cells_ST] = states.transpose(1, 2)
    return fed[:, :, : target.used]


def causal_mask(cells_ST: Tensor, used: int, *, dtype: torch.dtype) -> Tensor:
    """(S, 1, T, P) to add to attention scores: 0 up to a token's own cell, the lowest number after it."""
    later = torch.arange(used, device=cells_ST.device) > cells_ST[:, None, :, None]
    return torch.zeros(later.shape, dtype=dtype, device=later.device).masked_fill_(
        later, torch.finfo(dtype).min
    )


class GenericStepper:
    """Any causal LM of the library, through its own forward and a cache with per-slot writes."""

    def __init__(self, model: PreTrainedModel, *, slots: int) -> None:
        self._model = model
        self._layers = [_SlotLayer(slots) for _ in range(model.config.num_hidden_layers)]
        self._cache = Cache(layers=list(self._layers))

    def feed(self, tokens_ST: Indices, place: Place) -> Tensor:
        """One forward; logits are computed only where some slot's last token is."""
        cells_ST = self._on_device(place.cells_ST)
        for layer in self._layers:
            layer.target = _Target(place.slots, cells_ST, place.used)
        kept, which_S = np.unique(place.last_S, return_inverse=True)
        output = self._model(
            input_ids=self._on_device(tokens_ST),
            position_ids=self._on_device(place.positions_ST),
            attention_mask=causal_mask(cells_ST, place.used, dtype=self._model.dtype),
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=self._on_device(kept),
        )
        return output.logits[self._on_device(np.arange(len(tokens_ST))), self._on_device(which_S)].float()

    def move(self, source: Indices, target: Indices) -> None:
        """See `Stepper.move`."""
        for layer in self._layers:
            layer.move(self._on_device(source), self._on_device(target))

    def _on_device(self, indices: Indices) -> Tensor:
        return torch.from_numpy(indices).to(self._model.device)


def generic_steppers(model: PreTrainedModel, max_tokens: int) -> StepperFactory:
    """Batches over any causal LM."""
    return lambda slots: GenericStepper(model, slots=slots)


def stepping_gap(model: PreTrainedModel, steppers: StepperFactory) -> float:
    """Largest difference between logits fed piece by piece and those of one plain forward.

    Relative to the largest logit; a sound decoder shows rounding only. The pieces are a chunk with padding, a
    step of slots that stand one cell apart, and a chunk after they have changed places.
    """
    tokens_ST = (np.arange(12).reshape(2, 6) * 7 + 1) % model.config.vocab_size
    stepper = steppers(2)
    swapped = np.array([1, 0])
    with torch.inference_mode():
        ids = torch.from_numpy(tokens_ST).to(model.device)
        expected_STV = model(input_ids=ids, use_cache=False).logits.float()
        gaps = [_gap(stepper, tokens_ST, expected_STV, starts=(0, 0), counts=(3, 4))]
        gaps += [_gap(stepper, tokens_ST, expected_STV, starts=(3, 4), counts=(1, 1))]
        stepper.move(np.arange(2), swapped)
        gaps += [_gap(stepper, tokens_ST[swapped], expected_STV[swapped], starts=(5, 4), counts=(1, 2))]
    return max(gaps) / max(1.0, float(expected_STV.abs().max()))


def _gap(
    stepper: Stepper,
    tokens_ST: Indices,
    expected_STV: Tensor,
    *,
    starts: tuple[int, int],
    counts: tuple[int, int],
) -> float:
    place = place_of(0, np.array(starts), counts_S=np.array(counts))
    rows = np.arange(2)
    fed_ST = tokens_ST[rows[:, None], place.positions_ST]
    expected_SV = expected_STV[rows, place.cells_ST[:, 0] + place.last_S]
    return float((stepper.feed(fed_ST, place) - expected_SV).abs().max())
