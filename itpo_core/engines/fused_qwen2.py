"""A hand-written pass of the Qwen2 architecture on the CPU: the library's numbers with far less overhead.

A narrow model spends its time between the products: so norm weights are folded into the projections that
follow them, query, key and value are one product, rotary embedding is one complex product in place, keys lie
transposed as scores read them, the last layer goes on with the last tokens only, and numpy calls the
products, because it calls them faster than torch does. Weights are copied when made. Axes: S slots, T tokens
fed to each, N of them real, C channels, H heads, D width of a head, P cells in use.
"""

from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel, Qwen2Config, Qwen2ForCausalLM
from transformers.models.qwen2.modeling_qwen2 import Qwen2DecoderLayer

from itpo_core.engines.decoding import Indices, Place, StepperFactory, generic_steppers, grown

Floats = NDArray[np.float32]
# Added to the scores of cells that lie after a token's own.
LATER = np.float32(-1e30)


@dataclass(frozen=True, slots=True)
class _Layer:
    """Transposed weights, norms folded in: (channels in, channels out)."""

    query_key_value: Floats
    bias: Floats
    attention_out: Floats
    gate_up: Floats
    down: Floats


@dataclass(frozen=True, slots=True)
class _Weights:
    embedding: Floats
    layers: tuple[_Layer, ...]
    vocabulary: Floats
    # Complex unit numbers (positions, D / 2): how far each pair of channels turns at each position.
    turns: NDArray[np.complex64]
    heads: int
    kv_heads: int
    width: int
    epsilon: float


def fused_qwen2_steppers(model: PreTrainedModel, max_tokens: int) -> StepperFactory:
    """Batches over a Qwen2 model; with sliding windows, not in fp32 or not on the CPU through the library."""
    config = cast(Qwen2Config, model.config)
    plain = all(kind == "full_attention" for kind in config.layer_types or ()) and config.hidden_act == "silu"
    if not plain or model.dtype != torch.float32 or model.device.type != "cpu":
        return generic_steppers(model, max_tokens)
    weights = _read(cast(Qwen2ForCausalLM, model), max_tokens)
    return lambda slots: _FusedStepper(weights, slots=slots)


@torch.no_grad()
def _read(model: Qwen2ForCausalLM, max_tokens: int) -> _Weights:
    config = model.config
    width = config.hidden_size // config.num_attention_heads
    cosines, sines = model.model.rotary_emb(torch.zeros(1), torch.arange(max_tokens)[None])
    return _Weights(
        embedding=model.model.embed_tokens.weight.numpy().copy(),
        layers=tuple(_read_layer(cast(Qwen2DecoderLayer, layer), width) for layer in model.model.layers),
        vocabulary=_folded(model.lm_head.weight, model.model.norm.weight),
        turns=torch.complex(cosines[0, :, : width // 2], sines[0, :, : width // 2]).numpy(),
        heads=config.num_attention_heads,
        kv_heads=config.num_key_value_heads or config.num_attention_heads,
        width=width,
        epsilon=config.rms_norm_eps,
    )


def _read_layer(layer: Qwen2DecoderLayer, width: int) -> _Layer:
    attention, mlp = layer.self_attn, layer.mlp
    query, key, value = attention.q_proj, attention.k_proj, attention.v_proj
    # Scores are scaled once here instead of in every pass.
    scale = width**-0.5
    weight = torch.cat([_paired(query.weight, width) * scale, _paired(key.weight, width), value.weight])
    bias = torch.cat([_paired(query.bias, width) * scale, _paired(key.bias, width), value.bias])
    gate_up = torch.cat([mlp.gate_proj.weight, mlp.up_proj.weight])
    return _Layer(
        query_key_value=_folded(weight, layer.input_layernorm.weight),
        bias=bias.numpy(),
        attention_out=_transposed(attention.o_proj.weight),
        gate_up=_folded(gate_up, layer.post_attention_layernorm.weight),
        down=_transposed(mlp.down_proj.weight),
    )


def _folded(weight: Tensor, norm: Tensor) -> Floats:
    return _transposed(weight * norm * weight.shape[1] ** 0.5)


def _transposed(weight: Tensor) -> Floats:
    return weight.t().contiguous().clone().numpy()


def _paired(weight: Tensor, width: int) -> Tensor:
    """Channels i and i + D / 2 of every head side by side: scores do not depend on the order of channels."""
    halves = weight.reshape(-1, 2, width // 2, *weight.shape[1:])
    return halves.transpose(1, 2).reshape(weight.shape)


@dataclass(frozen=True, slots=True)
class _Fed:
    """The real tokens of one pass, padding left out: where each stands, and which are last in their slots."""

    rows_N: Indices
    columns_N: Indices
    slots_N: Indices
    cells_N: Indices
    last_S: Indices
    # (S, T, P), to add to scores: nothing up to a token's own cell.
    later_STP: Floats


class _FusedStepper:
    """Keys (slots, kv heads, D, cells) and values (slots, kv heads, cells, D) of every layer."""

    def __init__(self, weights: _Weights, *, slots: int) -> None:
        self._weights = weights
        shape = (slots, weights.kv_heads)
        self._keys = [np.zeros((*shape, weights.width, 0), np.float32) for _ in weights.layers]
        self._values = [np.zeros((*shape, 0, weights.width), np.float32) for _ in weights.layers]

    def feed(self, tokens_ST: Indices, place: Place) -> Tensor:
        """See `Stepper.feed`."""
        weights = self._weights
        self._grow(place.used)
        fed = _fed(place)
        turns_N1D = weights.turns[fed.cells_N][:, None]
        hidden_NC = weights.embedding[tokens_ST[fed.rows_N, fed.columns_N]]
        for index, layer in enumerate(weights.layers):
            queries_NHD = self._project(index, hidden_NC, turns_N1D=turns_N1D, fed=fed)
            if index == len(weights.layers) - 1 and place.cells_ST.shape[1] > 1:
                # Nothing looks at the last layer but the last tokens' logits.
                hidden_NC, queries_NHD = hidden_NC[fed.last_S], queries_NHD[fed.last_S]
                fed = _last_of(fed, place)
            hidden_NC += self._attend(index, queries_NHD, fed=fed, place=place) @ layer.attention_out
            gate_up = hidden_NC @ layer.gate_up
            gate_up /= _size(hidden_NC, weights.epsilon)
            hidden_NC += _gated(gate_up) @ layer.down
        logits_SV = hidden_NC @ weights.vocabulary
        logits_SV /= _size(hidden_NC, weights.epsilon)
        return torch.from_numpy(logits_SV)

    def move(self, source: Indices, target: Indices) -> None:
        """See `Stepper.move`."""
        for stored in (*self._keys, *self._values):
            stored[target] = stored[source]

    def _grow(self, cells: int) -> None:
        if cells > self._keys[0].shape[3]:
            self._keys = [grown(keys, cells, axis=3) for keys in self._keys]
            self._values = [grown(values, cells, axis=2) for values in self._values]

    def _project(
        self, index: int, hidden_NC: Floats, *, turns_N1D: NDArray[np.complex64], fed: _Fed
    ) -> Floats:
        """Store keys and values, return queries (N, H, D); queries and keys are turned to their positions."""
        weights, layer = self._weights, self._weights.layers[index]
        projected = hidden_NC @ layer.query_key_value
        projected /= _size(hidden_NC, weights.epsilon)
        projected += layer.bias
        projected_NHD = projected.reshape(len(projected), -1, weights.width)
        first_value = weights.heads + weights.kv_heads
        pairs = projected_NHD[:, :first_value].view(np.complex64)
        pairs *= turns_N1D
        keys, values = projected_NHD[:, weights.heads : first_value], projected_NHD[:, first_value:]
        self._keys[index][fed.slots_N, :, :, fed.cells_N] = keys
        self._values[index][fed.slots_N, :, fed.cells_N] = values
        return projected_NHD[:, : weights.heads]

    def _attend(self, index: int, queries_NHD: Floats, *, fed: _Fed, place: Place) -> Floats:
        """What the queries find, (N, H x D). Those that share a key head are rows of one product."""
        slots, count, cells = fed.later_STP.shape
        _, heads, width = queries_NHD.shape
        kv_heads = self._weights.kv_heads
        shared = heads // kv_heads
        queries = _spread(queries_NHD, fed).reshape(slots, count, kv_heads, shared, width)
        queries = queries.transpose(0, 2, 3, 1, 4).reshape(slots, kv_heads, shared * count, width)
        scores = queries @ self._keys[index][place.slots, :, :, :cells]
        whole = scores.reshape(slots, heads, count, cells)
        whole += fed.later_STP[:, None]
        shares = torch.softmax(torch.from_numpy(scores), dim=-1).numpy()
        mixed = shares @ self._values[index][place.slots, :, :cells]
        if count == 1:
            return mixed.reshape(slots, heads * width)
        mixed = mixed.reshape(slots, heads, count, width).transpose(0, 2, 1, 3)
        return mixed[fed.rows_N, fed.columns_N].reshape(len(queries_NHD), heads * width)


def _fed(place: Place) -> _Fed:
    is_later_STP = np.arange(place.used) > place.cells_ST[:, :, None]
    later_STP = np.multiply(is_later_STP, LATER, dtype=np.float32)
    if place.cells_ST.shape[1] == 1:
        return _one_each(place.slots_S, place.cells_ST[:, 0], later_STP=later_STP)
    rows_N, columns_N = np.nonzero(place.is_real_ST)
    return _Fed(
        rows_N,
        columns_N,
        slots_N=rows_N + place.first,
        cells_N=place.cells_ST[rows_N, columns_N],
        last_S=np.cumsum(place.last_S + 1) - 1,
        later_STP=later_STP,
    )


def _one_each(slots_S: Indices, cells_S: Indices, *, later_STP: Floats) -> _Fed:
    rows_S = np.arange(len(slots_S))
    return _Fed(
        rows_S, np.zeros_like(rows_S), slots_N=slots_S, cells_N=cells_S, last_S=rows_S, later_STP=later_STP
    )


def _last_of(fed: _Fed, place: Place) -> _Fed:
    """The slots' last tokens alone."""
    later_STP = fed.later_STP[np.arange(len(place.last_S)), place.last_S][:, None]
    return _one_each(place.slots_S, fed.cells_N[fed.last_S], later_STP=later_STP)


def _spread(queries_NHD: Floats, fed: _Fed) -> Floats:
    """(S, T, H, D), zero where there is padding."""
    slots, count, _ = fed.later_STP.shape
    if count == 1:
        return queries_NHD[:, None]
    spread = np.zeros((slots, count, *queries_NHD.shape[1:]), np.float32)
    spread[fed.rows_N, fed.columns_N] = queries_NHD
    return spread


def _size(hidden_NC: Floats, epsilon: float) -> Floats:
    """Each row's root mean square (arXiv:1910.07467) times the root of C, which the weights hold: (N, 1)."""
    size_N = np.vecdot(hidden_NC, hidden_NC)
    size_N += epsilon * hidden_NC.shape[1]
    return np.sqrt(size_N, out=size_N)[:, None]


def _gated(gate_up: Floats) -> Floats:
    """silu(gate) x up (Shazeer, arXiv:2002.05202)."""
    gate, up = torch.from_numpy(gate_up).chunk(2, dim=-1)
    return functional.silu(gate).mul_(up).numpy()
