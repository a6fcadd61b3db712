"""What a training starts from: whole weights, or a policy that stays and the adapter that is trained."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from transformers import PreTrainedModel

from itpo_core.adapter_files import check_base, is_adapter, read_adapter, save_adapter
from itpo_core.lora import AdapterError, LoraSettings, add_adapter, put_tensors
from itpo_core.tiny_policy import load_policy, save_policy


@dataclass(frozen=True, slots=True)
class Start:
    """The model whose trainable parameters are moved, and how its candidate is written into a folder."""

    model: PreTrainedModel
    write: Callable[[Path], None]


def starting(folder: Path, lora: LoraSettings | None, *, seed: int) -> Start:
    """The policy in `folder`, ready to be trained whole, or by an adapter with these settings.

    Raises AdapterError where the folder is an adapter of other settings.
    """
    if lora is not None:
        return _adapter(folder, lora, seed=seed)
    model, tokenizer = load_policy(folder)
    return Start(model, lambda out: save_policy(model, tokenizer, folder=out))


def _adapter(folder: Path, lora: LoraSettings, *, seed: int) -> Start:
    """An adapter goes on where its parent's stopped: there is never an adapter on an adapter."""
    if not is_adapter(folder):
        model, _ = load_policy(folder)
        add_adapter(model, lora, seed=seed)
        return Start(model, lambda out: save_adapter(model, lora, folder=out, base=folder))
    before = read_adapter(folder)
    if (before.settings.rank, before.settings.alpha, set(before.settings.targets)) != (
        lora.rank,
        lora.alpha,
        set(lora.targets),
    ):
        raise AdapterError(
            f"train.lora {lora} goes on from {before.settings}: keep its settings, or merge it first "
            "with `itpo merge` and start another experiment from that folder"
        )
    base = check_base(folder, before)
    model, _ = load_policy(base)
    add_adapter(model, lora, seed=seed)
    put_tensors(model, before.tensors)
    return Start(model, lambda out: save_adapter(model, lora, folder=out, base=base))
