"""One optimiser step, the same for policy, reward model and warm start: refuse NaN, clip, step."""

from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import Parameter
from torch.nn.utils import clip_grad_norm_
from torch.optim import AdamW, Optimizer

from itpo_core.identifiers import derive_seed


class TrainingDivergedError(ArithmeticError):
    """A loss or gradient became NaN or infinite; nothing of this training is usable."""


def adamw(
    parameters: Iterable[Parameter],
    learning_rate: float,
    *,
    betas: tuple[float, float],
    weight_decay: float = 0.0,
) -> AdamW:
    """AdamW in its fused form: a loop over the parameters would show in a small model's step."""
    return AdamW(parameters, lr=learning_rate, betas=betas, weight_decay=weight_decay, fused=True)


def descend(loss: Tensor, optimiser: Optimizer, *, max_gradient_norm: float) -> float:
    """Backward, clip by the global norm, step; returns the norm before clipping.

    Raises TrainingDivergedError, before any weight moved, for a loss or gradient that is not finite.
    """
    return descend_parts([loss], optimiser, max_gradient_norm=max_gradient_norm)


def descend_parts(losses: Iterable[Tensor], optimiser: Optimizer, *, max_gradient_norm: float) -> float:
    """`descend` on a sum of losses that come one by one, so that one graph at a time is in memory."""
    optimiser.zero_grad(set_to_none=True)
    for loss in losses:
        if not bool(loss.isfinite()):
            raise TrainingDivergedError(
                f"the loss is {float(loss.detach())}; lower the learning rate or look at the inputs"
            )
        loss.backward()
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    norm = clip_grad_norm_(parameters, max_gradient_norm)
    if not bool(norm.isfinite()):
        raise TrainingDivergedError(f"the gradient norm is {float(norm)}; lower the learning rate")
    optimiser.step()
    return float(norm)


def save_optimiser(optimiser: Optimizer, path: Path) -> None:
    """Write the state's tensors, named by the parameter's place, as safetensors."""
    state = optimiser.state_dict()["state"]
    save_file(
        {f"{place}/{name}": tensor for place, slots in state.items() for name, tensor in slots.items()}, path
    )


def load_optimiser(optimiser: Optimizer, path: Path) -> None:
    """Put back what `save_optimiser` wrote, into an optimiser over the same parameters in the same order."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in load_file(path).items():
        place, name = key.split("/")
        state.setdefault(int(place), {})[name] = tensor
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})


def set_learning_rate(optimiser: Optimizer, learning_rate: float) -> None:
    """The same rate for every group."""
    for group in optimiser.param_groups:
        group["lr"] = learning_rate


def seeded(seed: int, *path: str | int) -> torch.Generator:
    """A generator of its own for one purpose: the same seed and path give the same draws."""
    return torch.Generator().manual_seed(derive_seed(seed, *path))
