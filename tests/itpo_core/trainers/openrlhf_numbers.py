"""OpenRLHF's own losses, divergences and advantages of given tensors: run as a file, in a process of its own.

    python openrlhf_numbers.py given.safetensors found.safetensors

Its modules are imported as they are; of what they need only torch is real, the rest is empty names.
Axes: B conversations, A action places of a row.
"""

import sys
from collections.abc import Mapping, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

SOURCE = Path(__file__).parents[3] / ".venv" / "openrlhf"
EMPTY = frozenset(
    {
        "accelerate", "bitsandbytes", "datasets", "deepspeed", "einops", "flash_attn", "peft", "pylatexenc",
        "ray", "torchdata", "tqdm", "transformers", "vllm", "wandb",
    }
)  # fmt: skip
# name -> arguments of PolicyLoss; clip widths are wide enough that some tokens are outside and some not.
POLICY_LOSSES: Mapping[str, Mapping[str, object]] = {
    "ppo": {"clip_eps_low": 0.2, "clip_eps_high": 0.2},
    "asymmetric": {"clip_eps_low": 0.2, "clip_eps_high": 0.5},
    "dual": {"clip_eps_low": 0.2, "clip_eps_high": 0.2, "dual_clip": 1.5},
    "sequence_mean": {"clip_eps_low": 0.2, "clip_eps_high": 0.2, "token_level_loss": False},
    "gspo": {"clip_eps_low": 0.1, "clip_eps_high": 0.1, "policy_loss_type": "gspo"},
    "token_clip": {
        "is_correction_level": "token",
        "is_correction_mode": "clip",
        "is_correction_threshold": [0.0, 1.2],
    },
    "token_mask": {"is_correction_level": "token", "is_correction_threshold": [0.7, 1.3]},
    "sequence_mask": {"is_correction_level": "seq", "is_correction_threshold": [0.9, 1.1]},
}
ESTIMATORS = ("group_norm", "rloo", "dr_grpo", "reinforce_baseline", "reinforce", "gae")
GROUP, GAMMA, LAMBDA, KL_WEIGHT, VALUE_CLIP = 4, 0.9, 0.8, 0.05, 0.5


class Nothing:
    """Stands for every class and every function; made of anything, and a decorator that changes nothing."""

    def __init__(self, *args: object, **named: object) -> None: ...

    def __class_getitem__(cls, item: object) -> type:
        return cls


class EmptyModule(ModuleType):
    """A module that has every name."""

    __version__ = "0.29.0"

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return Nothing if name[0].isupper() else _unchanged  # ty: ignore[invalid-explicit-return]


def _unchanged(given: object = None, *args: object, **named: object) -> object:
    return _unchanged if given is None else given  # without one it makes a decorator


class EmptyPackages(MetaPathFinder, Loader):
    """Finds every module of the packages that are left out."""

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> ModuleSpec | None:
        return ModuleSpec(fullname, self, is_package=True) if fullname.split(".")[0] in EMPTY else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return EmptyModule(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """There is nothing to run."""


def gradient(of: Tensor) -> Tensor:
    """What came back to it."""
    assert of.grad is not None
    return of.grad


def policy_losses(given: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Loss and gradient at the log-probabilities, of every variant."""
    from openrlhf.models.loss import PolicyLoss

    found = {}
    for name, arguments in POLICY_LOSSES.items():
        logprobs_BA = given["logprobs_BA"].clone().requires_grad_()
        loss, *_ = PolicyLoss(**arguments)(
            logprobs_BA,
            given["start_BA"],
            given["advantages_BA"],
            action_mask=given["mask_BA"],
            rollout_log_probs=given["behaviour_BA"],
        )
        loss.backward()
        found |= {f"{name}.loss": loss.detach(), f"{name}.gradient": gradient(logprobs_BA)}
    return found


def value_losses(given: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Loss and gradient at the values."""
    from openrlhf.models.loss import ValueLoss

    values_BA = given["values_BA"].clone().requires_grad_()
    loss = ValueLoss(clip_eps=VALUE_CLIP)(
        values_BA, given["old_values_BA"], given["returns_BA"], action_mask=given["mask_BA"]
    )
    loss.backward()
    return {"value.loss": loss.detach(), "value.gradient": gradient(values_BA)}


def divergences(given: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Value and gradient of every estimator of the KL, of the batch and of log-ratios far out."""
    return {
        f"{name}.{label}{kind}": tensor
        for name in ("k1", "k2", "k3")
        for label, log_ratios in (
            ("", given["logprobs_BA"] - given["reference_BA"]),
            ("far.", given["far_log_ratios"]),
        )
        for kind, tensor in _divergence(log_ratios, name).items()
    }


def _divergence(log_ratios: Tensor, name: str) -> dict[str, Tensor]:
    from openrlhf.models.utils import compute_approx_kl

    ratios = log_ratios.clone().requires_grad_()
    values = compute_approx_kl(ratios, torch.zeros_like(log_ratios), kl_estimator=name)
    values.sum().backward()
    return {"values": values.detach(), "gradient": gradient(ratios)}


def advantages(given: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Advantages by every estimator, without and with the divergence as a reward."""
    return {
        f"{name}.{label}": _advantages(given, name, kl_weight=weight)
        for name in ESTIMATORS
        for label, weight in (("plain", 0.0), ("kl", KL_WEIGHT))
    }


def _advantages(given: Mapping[str, Tensor], estimator: str, *, kl_weight: float) -> Tensor:
    from openrlhf.models.utils import compute_approx_kl
    from openrlhf.trainer.ppo_utils.experience import Experience
    from openrlhf.trainer.ppo_utils.experience_maker import RemoteExperienceMaker

    maker = RemoteExperienceMaker.__new__(RemoteExperienceMaker)
    maker.strategy = SimpleNamespace(args=_arguments(estimator))
    maker.args, maker.advantage_estimator = maker.strategy.args, estimator
    maker.kl_ctl = SimpleNamespace(value=kl_weight)
    experience = Experience(
        sequences=torch.zeros(given["mask_BA"].shape, dtype=torch.long),
        action_mask=given["mask_BA"].bool(),
        rewards=given["rewards_B"].clone(),
        kl=compute_approx_kl(given["start_BA"], given["reference_BA"]),
        values=given["values_BA"].clone(),
        index=list(range(len(given["rewards_B"]))),
        info={},
    )
    return maker.compute_advantages_and_returns([experience])[0].advantages.contiguous()


def _arguments(estimator: str) -> SimpleNamespace:
    gamma = GAMMA if estimator == "gae" else 1.0
    return SimpleNamespace(
        algo=SimpleNamespace(
            advantage=SimpleNamespace(estimator=estimator, gamma=gamma, lambd=LAMBDA, no_std_norm=False)
        ),
        rollout=SimpleNamespace(n_samples_per_prompt=GROUP),
        reward=SimpleNamespace(
            clip_range=(-10.0, 10.0), overlong_buffer_len=None, stop_properly_penalty_coef=None
        ),
    )


def main(arguments: Sequence[str]) -> None:
    """Read the tensors, write everything that OpenRLHF says about them."""
    # One function is decorated with it that nobody asks here.
    torch.compile = _unchanged  # ty: ignore[invalid-assignment]
    sys.meta_path.insert(0, EmptyPackages())
    sys.path.append(str(SOURCE))
    given = load_file(arguments[0])
    save_file(
        policy_losses(given) | value_losses(given) | divergences(given) | advantages(given), arguments[1]
    )


if __name__ == "__main__":
    main(sys.argv[1:])
