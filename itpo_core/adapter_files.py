"""An adapter as a folder: its matrices and settings as peft writes them, and which policy it belongs to.

The policy itself stands in `.base` beside them, a link that never leaves this machine: the lake keeps the
adapter alone and names the version of its base.
"""

import hashlib
import json
import os
import uuid
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PreTrainedModel

from itpo_core.lora import AdapterError, LoraSettings, adapter_tensors

CONFIG, TENSORS, BELONGS, BASE = "adapter_config.json", "adapter_model.safetensors", "itpo_base.json", ".base"


@dataclass(frozen=True, slots=True)
class Adapter:
    """What a folder holds; `base_digest` is SHA-256 over the files of the weights that it was trained on."""

    settings: LoraSettings
    tensors: dict[str, Tensor]
    base_digest: str


def is_adapter(folder: Path) -> bool:
    """Whether the folder holds an adapter and not whole weights."""
    return (folder / CONFIG).is_file()


def base_of(folder: Path) -> Path:
    """The folder of whole weights behind a policy: an adapter's base, or the folder itself."""
    return (folder / BASE).resolve() if is_adapter(folder) else folder


def weights_digest(folder: Path) -> str:
    """SHA-256 over the folder's safetensors files, in the order of their names."""
    whole = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            whole.update(hashlib.file_digest(file, "sha256").digest())
    return whole.hexdigest()


def save_adapter(model: PreTrainedModel, settings: LoraSettings, *, folder: Path, base: Path) -> None:
    """Write the adapters of the model; the same bytes for the same adapter, wherever its base lies."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(adapter_tensors(model), folder / TENSORS, metadata={"format": "pt"})
    _write_json(folder / CONFIG, _peft_config(settings))
    _write_json(folder / BELONGS, {"weights_sha256": weights_digest(base)})
    link_base(folder, base)


def link_base(folder: Path, base: Path) -> None:
    """Let the adapter in `folder` find its base; what another process linked meanwhile is as good."""
    fresh = folder / f".{uuid.uuid4().hex}"
    os.symlink(base.resolve(), fresh, target_is_directory=True)
    os.replace(fresh, folder / BASE)


def read_adapter(folder: Path) -> Adapter:
    """The adapter in the folder. Raises AdapterError for one that cannot be used, with the reason."""
    _check_files(folder, (TENSORS, BELONGS))
    settings, tensors = read_matrices(folder)
    belongs = json.loads((folder / BELONGS).read_text(encoding="utf-8"))
    return Adapter(settings, tensors, belongs["weights_sha256"])


def read_matrices(folder: Path, *, dropout: float = 0.0) -> tuple[LoraSettings, dict[str, Tensor]]:
    """Settings and matrices of an adapter of peft's, trained with this dropout; which policy it belongs to is
    the caller's to know. Raises AdapterError as `read_adapter` does."""
    _check_files(folder, (TENSORS,))
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    fixed = {**_FIXED, "lora_dropout": dropout}
    other = {name: config.get(name) for name, wanted in fixed.items() if config.get(name, wanted) != wanted}
    if other:
        raise AdapterError(f"{folder / CONFIG}: {other} is not supported; this reads plain LoRA without bias")
    settings = LoraSettings(config["r"], config["lora_alpha"], tuple(sorted(config["target_modules"])))
    return settings, load_file(folder / TENSORS)


def _check_files(folder: Path, names: tuple[str, ...]) -> None:
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise AdapterError(f"{folder}: {', '.join(missing)} missing beside {CONFIG}; copy the whole folder")


def check_base(folder: Path, adapter: Adapter) -> Path:
    """The adapter's base, or AdapterError when it is not there or is not the one it was trained on."""
    base = base_of(folder)
    if not base.is_dir():
        raise AdapterError(f"{folder}: the policy that this adapter belongs to is not linked at {BASE}")
    found = weights_digest(base)
    if found != adapter.base_digest:
        raise AdapterError(
            f"{folder}: the adapter belongs to weights {adapter.base_digest[:12]}…, {base} has {found[:12]}…"
        )
    return base


_FIXED = {
    "peft_type": "LORA",
    "task_type": "CAUSAL_LM",
    "bias": "none",
    "lora_dropout": 0.0,
    "fan_in_fan_out": False,
    "modules_to_save": None,
    "use_rslora": False,
    "use_dora": False,
    "rank_pattern": {},
    "alpha_pattern": {},
}


def _peft_config(settings: LoraSettings) -> dict[str, object]:
    return {
        **_FIXED,
        "r": settings.rank,
        "lora_alpha": settings.alpha,
        "target_modules": sorted(settings.targets),
        "base_model_name_or_path": BASE,
        "inference_mode": True,
        "init_lora_weights": True,
    }


def _write_json(path: Path, value: dict[str, object]) -> None:
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")
