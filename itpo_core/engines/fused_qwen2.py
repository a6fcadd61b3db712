"""A hand-written step of the Qwen2 architecture: the same numbers as the library's forward, less overhead.

Norm weights are folded into the projections that follow them; query, key and value are one product; rotary
embedding is one complex product over pairs that lie side by side; keys lie transposed, as scores read them.
Axes: S rows, T tokens fed at once, C channels, D width of a head, P positions. Weights are copied when made.
"""

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel, Qwen2Config, Qwen2ForCausalLM
from transformers.models.qwen2.modeling_qwen2 import Qwen2DecoderLayer

from itpo_core.engines.decoding import (
    Aligned,
    Place,
    Stepper,
    StepperFactory,
    causal_mask,
    generic_steppers,
    position_ids,
    seen,
)


@dataclass(frozen=True, slots=True)
class _Layer:
    """Transposed weights, norms folded in: (channels in, channels out)."""

    query_key_value: Tensor
    bias: Tensor
    attention_out: Tensor
    gate_up: Tensor
    down: Tensor


@dataclass(frozen=True, slots=True)
class _Weights:
    embedding: Tensor
    layers: tuple[_Layer, ...]
    vocabulary: Tensor
    # Complex unit numbers (positions, D / 2): how far each pair of channels turns at each position.
    turns: Tensor
    heads: int
    kv_heads: int
    width: int
    epsilon: float


def fused_qwen2_steppers(model: PreTrainedModel, max_tokens: int) -> StepperFactory:
    """Batches over a Qwen2 model; with sliding windows or not in fp32 it goes through the library."""
    config = cast(Qwen2Config, model.config)
    plain = all(kind == "full_attention" for kind in config.layer_types or ()) and config.hidden_act == "silu"
    if not plain or model.dtype != torch.float32:
        return generic_steppers(model, max_tokens)
    weights = _read(cast(Qwen2ForCausalLM, model), max_tokens)
    return lambda rows: _FusedStepper(weights, rows=rows, max_tokens=max_tokens)


def _read(model: Qwen2ForCausalLM, max_tokens: int) -> _Weights:
    config = model.config
    width = config.hidden_size // config.num_attention_heads
    positions = torch.arange(max_tokens, device=model.device)[None]
    with torch.no_grad():
        cosines, sines = model.model.rotary_emb(torch.zeros(1, device=model.device), positions)
        layers = tuple(_read_layer(cast(Qwen2DecoderLayer, layer), width) for layer in model.model.layers)
        return _Weights(
            embedding=model.model.embed_tokens.weight.detach().clone(),
            layers=layers,
            vocabulary=_folded(model.lm_head.weight, model.model.norm.weight),
            turns=torch.complex(cosines[0, :, : width // 2], sines[0, :, : width // 2]),
            heads=config.num_attention_heads,
            kv_heads=config.num_key_value_heads or config.num_attention_heads,
            width=width,
            epsilon=config.rms_norm_eps,
        )


def _read_layer(layer: Qwen2DecoderLayer, width: int) -> _Layer:
    attention, mlp = layer.self_attn, layer.mlp
    query, key, value = attention.q_proj, attention.k_proj, attention.v_proj
    # Scores are scaled once here instead of at every step.
    scale = width**-0.5
    weight = torch.cat(
        [_paired(query.weight, width) * scale, _paired(key.weight, width), value.weight.detach()]
    )
    bias = torch.cat([_paired(query.bias, width) * scale, _paired(key.bias, width), value.bias.detach()])
    return _Layer(
        query_key_value=_folded(weight, layer.input_layernorm.weight),
        bias=bias,
        attention_out=attention.o_proj.weight.detach().t().contiguous(),
        gate_up=_folded(
            torch.cat([mlp.gate_proj.weight, mlp.up_proj.weight]), layer.post_attention_layernorm.weight
        ),
        down=mlp.down_proj.weight.detach().t().contiguous(),
    )


def _folded(weight: Tensor, norm: Tensor) -> Tensor:
    return (weight * norm).detach().t().contiguous()


def _paired(weight: Tensor, width: int) -> Tensor:
    """Channels i and i + D / 2 of every head side by side: scores do not depend on the order of channels."""
    halves = weight.detach().reshape(-1, 2, width // 2, *weight.shape[1:])
    return halves.transpose(1, 2).reshape(weight.shape)


class _FusedStepper(Stepper):
    """Keys (S, kv heads, D, positions) and values (S, kv heads, positions, D) of every layer."""

    def __init__(self, weights: _Weights, *, rows: int, max_tokens: int) -> None:
        self._weights = weights
        self._max_tokens = max_tokens
        layers, heads, width = len(weights.layers), weights.kv_heads, weights.width
        device = weights.embedding.device
        self._keys = list(torch.zeros((layers, rows, heads, width, max_tokens), device=device))
        self._values = list(torch.zeros((layers, rows, heads, max_tokens, width), device=device))

    def feed(self, tokens_ST: Tensor, place: Place) -> Tensor:
        """See `Stepper.feed`."""
        rows, count = tokens_ST.shape
        weights = self._weights
        turns = self._turns(place, count)
        mask = self._mask(place, count)
        hidden = functional.embedding(tokens_ST.reshape(-1), weights.embedding)
        for index, layer in enumerate(weights.layers):
            projected = torch.addmm(layer.bias, _normed(hidden, weights.epsilon), layer.query_key_value)
            query = self._write(index, projected.view(rows, count, -1, weights.width), turns, place)
            mixed = self._attend(index, query, mask, seen(place, count))
            hidden = torch.addmm(hidden, mixed.reshape(rows * count, -1), layer.attention_out)
            gate, up = torch.mm(_normed(hidden, weights.epsilon), layer.gate_up).chunk(2, dim=-1)
            hidden = torch.addmm(hidden, functional.silu(gate).mul_(up), layer.down)
        last = hidden.view(rows, count, -1)[:, -1]
        return torch.mm(_normed(last, weights.epsilon), weights.vocabulary)

    def keep(self, rows: Tensor) -> None:
        """See `Stepper.keep`."""
        self._keys = [keys[rows] for keys in self._keys]
        self._values = [values[rows] for values in self._values]

    def _turns(self, place: Place, count: int) -> Tensor:
        if isinstance(place, Aligned):
            return self._weights.turns[place.start : place.start + count, None]
        return self._weights.turns[place.positions_S][:, None, None]

    def _mask(self, place: Place, count: int) -> Tensor | None:
        if isinstance(place, Aligned) and count == 1:
            return None
        positions = position_ids(place, count, device=self._weights.embedding.device)
        return causal_mask(positions, seen(place, count), dtype=torch.float32)

    def _write(self, index: int, projected: Tensor, turns: Tensor, place: Place) -> Tensor:
        """Turn queries and keys to their place, store keys and values. Returns queries (S, T, heads, D)."""
        heads, kv_heads = self._weights.heads, self._weights.kv_heads
        rows, count, _, width = projected.shape
        turning = projected[:, :, : heads + kv_heads].unflatten(-1, (width // 2, 2))
        turned = torch.view_as_real(torch.view_as_complex(turning) * turns).flatten(-2)
        key, value = turned[:, :, heads:], projected[:, :, heads + kv_heads :]
        if isinstance(place, Aligned):
            stop = place.start + count
            self._keys[index][..., place.start : stop] = key.permute(0, 2, 3, 1)
            self._values[index][:, :, place.start : stop] = value.transpose(1, 2)
        else:
            every = torch.arange(rows, device=projected.device)
            self._keys[index][every, :, :, place.positions_S] = key[:, 0]
            self._values[index][every, :, place.positions_S] = value[:, 0]
        return turned[:, :, :heads]

    def _attend(self, index: int, query: Tensor, mask: Tensor | None, reached: int) -> Tensor:
        """Queries that share a key head are rows of one product. Returns (S, T, heads x D)."""
        rows, count, heads, width = query.shape
        kv_heads = self._weights.kv_heads
        shared = heads // kv_heads
        grouped = query.view(rows, count, kv_heads, shared, width).permute(0, 2, 3, 1, 4)
        grouped = grouped.reshape(rows * kv_heads, shared * count, width)
        keys = self._keys[index].view(rows * kv_heads, width, -1)[:, :, :reached]
        values = self._values[index].view(rows * kv_heads, -1, width)[:, :reached]
        scores = torch.bmm(grouped, keys)
        if mask is not None:
            whole = scores.view(rows, kv_heads * shared, count, reached) + mask
            scores = whole.view(rows * kv_heads, shared * count, reached)
        mixed = torch.bmm(torch.softmax(scores, dim=-1), values)
        mixed = mixed.view(rows, kv_heads, shared, count, width).permute(0, 3, 1, 2, 4)
        return mixed.reshape(rows, count, heads * width)


def _normed(hidden: Tensor, epsilon: float) -> Tensor:
    """Root-mean-square norm without its weight (Zhang and Sennrich, arXiv:1910.07467)."""
    scale = torch.linalg.vector_norm(hidden, dim=-1, keepdim=True).square_().div_(hidden.shape[-1])
    return hidden * scale.add_(epsilon).rsqrt_()
