"""Low-rank adapters: a few small matrices are trained, the policy they belong to stays as it is.

W' = W + (alpha / rank) B A, with A random and B zero at the start, so that an untrained adapter changes
nothing. Source: Hu et al. (arXiv:2106.09685), section 4.1, eq. 3. Files are those of the peft library, which
vLLM and others read. R is the rank, I and O a layer's inputs and outputs.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from itpo_core.optimisation import seeded

PREFIX = "base_model.model."
PARTS = ("lora_A.weight", "lora_B.weight")


class AdapterError(ValueError):
    """An adapter that does not fit its policy; the message names what differs and the remedy."""


@dataclass(frozen=True, slots=True)
class LoraSettings:
    """The adapter's rank, its scale alpha / rank, and the last names of the linear layers that get one."""

    rank: int
    alpha: float
    targets: tuple[str, ...]

    def __post_init__(self) -> None:
        """Raises ValueError for a rank below 1 or no targets."""
        if self.rank < 1 or not self.targets:
            raise ValueError(
                f"lora of rank {self.rank} on {list(self.targets)}: give a rank above 0 and layers"
            )

    @property
    def scale(self) -> float:
        """What the product of both matrices is multiplied by."""
        return self.alpha / self.rank


class LoraLinear(nn.Module):
    """A linear layer that stays, and beside it the pair that is trained."""

    def __init__(self, base: nn.Linear, settings: LoraSettings, *, generator: torch.Generator) -> None:
        super().__init__()
        self.base = base
        self.scale = settings.scale
        bound = 1 / math.sqrt(base.in_features)
        first_RI = torch.empty(settings.rank, base.in_features).uniform_(-bound, bound, generator=generator)
        self.lora_A = nn.Parameter(first_RI.to(base.weight))
        self.lora_B = nn.Parameter(base.weight.new_zeros(base.out_features, settings.rank))

    def forward(self, inputs: Tensor) -> Tensor:
        """[..., I] to [..., O]."""
        return self.base(inputs) + self.scale * (inputs @ self.lora_A.T @ self.lora_B.T)


def add_adapter(model: PreTrainedModel, settings: LoraSettings, *, seed: int) -> None:
    """Freeze the model and give its target layers an untrained adapter each, in place.

    Raises AdapterError for a target that names no linear layer.
    """
    layers = target_layers(model, settings)
    model.requires_grad_(False)
    for name, layer in layers.items():
        parent, _, own = name.rpartition(".")
        adapted = LoraLinear(layer, settings, generator=seeded(seed, "lora", name))
        setattr(model.get_submodule(parent), own, adapted)


def target_layers(model: PreTrainedModel, settings: LoraSettings) -> dict[str, nn.Linear]:
    """The linear layers that get an adapter, by name. Raises AdapterError."""
    linear = {name: layer for name, layer in model.named_modules() if isinstance(layer, nn.Linear)}
    known = {name.rpartition(".")[2] for name in linear}
    unknown = sorted(set(settings.targets) - known)
    if unknown:
        raise AdapterError(f"lora.targets {unknown}: the linear layers of this model are {sorted(known)}")
    return {name: layer for name, layer in linear.items() if name.rpartition(".")[2] in settings.targets}


def adapter_tensors(model: PreTrainedModel) -> dict[str, Tensor]:
    """The trained pairs under the names that their file gives them."""
    tensors = dict[str, Tensor]()
    for name, layer in model.named_modules():
        if isinstance(layer, LoraLinear):
            pair = (layer.lora_A, layer.lora_B)
            tensors |= {
                f"{PREFIX}{name}.{part}": tensor.detach().contiguous()
                for part, tensor in zip(PARTS, pair, strict=True)
            }
    return tensors


@torch.no_grad()
def put_tensors(model: PreTrainedModel, tensors: Mapping[str, Tensor]) -> None:
    """Into the adapters that `add_adapter` made. Raises AdapterError when names or shapes differ."""
    _check_names(set(tensors), set(adapter_tensors(model)))
    for name, layer in model.named_modules():
        if isinstance(layer, LoraLinear):
            for part, own in zip(PARTS, (layer.lora_A, layer.lora_B), strict=True):
                _check_shape(f"{name}.{part}", tensors[f"{PREFIX}{name}.{part}"], own.shape)
                own.copy_(tensors[f"{PREFIX}{name}.{part}"])


@torch.no_grad()
def merge(model: PreTrainedModel, settings: LoraSettings, *, tensors: Mapping[str, Tensor]) -> None:
    """Add the adapter to the plain model's weights, in place; no layer is added. Raises AdapterError."""
    layers = target_layers(model, settings)
    _check_names(set(tensors), {f"{PREFIX}{name}.{part}" for name in layers for part in PARTS})
    for name, layer in layers.items():
        first_RI, second_OR = (tensors[f"{PREFIX}{name}.{part}"] for part in PARTS)
        _check_shape(f"{name}.{PARTS[0]}", first_RI, (settings.rank, layer.in_features))
        _check_shape(f"{name}.{PARTS[1]}", second_OR, (layer.out_features, settings.rank))
        # In double, as the sum is taken once and for all: then both orders of work agree to the last bits.
        change_OI = settings.scale * second_OR.double() @ first_RI.double()
        layer.weight.copy_((layer.weight.double() + change_OI).to(layer.weight))


def _check_names(found: set[str], wanted: set[str]) -> None:
    if found != wanted:
        raise AdapterError(
            f"the adapter lacks {sorted(wanted - found)[:3]} and has beyond it {sorted(found - wanted)[:3]}: "
            "it was made for another model or other targets"
        )


def _check_shape(name: str, tensor: Tensor, wanted: tuple[int, ...]) -> None:
    if tuple(tensor.shape) != tuple(wanted):
        raise AdapterError(
            f"{name} has shape {tuple(tensor.shape)}, the policy needs {tuple(wanted)}: it was made for "
            "another model or another rank"
        )
