"""What a training run leaves behind while it runs, so that a killed one goes on where its last epoch ended.

Everything appears under its final name in one rename: a folder that is there is whole.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch.nn import Parameter
from torch.optim import Optimizer
from transformers import PreTrainedModel

from itpo_core.adapter_files import base_of, is_adapter
from itpo_core.lora import LoraSettings
from itpo_core.optimisation import load_optimiser, save_optimiser
from itpo_core.trainers.base import PolicySettings, TrainingBatch, TrainingResult

Step = Mapping[str, float]


def fingerprint(
    batch: TrainingBatch,
    start_folder: Path,
    *,
    settings: PolicySettings,
    parent_version: str,
    lora: LoraSettings | None = None,
) -> str:
    """SHA-256 of everything that decides what a training run computes."""
    whole = hashlib.sha256()
    for tensor in (
        batch.tokens_BT,
        batch.is_policy_BT,
        batch.behaviour_logprobs_BT,
        batch.advantages_BT,
        batch.lengths_B,
        *_given(batch.turn_BT, batch.group_B, batch.reward_B, batch.reference_logprobs_BT),
    ):
        whole.update(tensor.contiguous().numpy().tobytes())
    base = base_of(start_folder)
    adapter = sorted(start_folder.glob("adapter_*")) if base != start_folder else []
    for path in [*sorted([*base.glob("*.safetensors"), base / "config.json"]), *adapter]:
        whole.update(hashlib.sha256(path.read_bytes()).digest())
    named = {"parent": parent_version, "temperature": batch.temperature, "settings": asdict(settings)}
    if lora is not None:
        named["lora"] = asdict(lora)
    whole.update(json.dumps(named, sort_keys=True).encode())
    return whole.hexdigest()


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """The work folder of one training run; `fingerprint` keeps runs with other inputs apart."""

    folder: Path
    out_folder: Path
    fingerprint: str

    def open(self) -> None:
        """Make the work folder ours: what runs with other inputs left there, or in the output folder, goes.

        Raises FileExistsError for an output folder that no run of this trainer left behind.
        """
        if self.folder.exists() and self._owner() != self.fingerprint:
            shutil.rmtree(self.folder)
            shutil.rmtree(self.out_folder, ignore_errors=True)
        elif not self.folder.exists() and self.out_folder.exists() and any(self.out_folder.iterdir()):
            raise FileExistsError(
                f"{self.out_folder} holds other files; name a folder that does not exist yet"
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        _write_text(self.folder / "owner", self.fingerprint)

    def result(self) -> TrainingResult | None:
        """What this very run returned before it was killed; None while its candidate is not written."""
        recorded, staged = self.folder / "result.json", self.folder / "candidate"
        if not recorded.exists() or not (staged.exists() or self._published()):
            return None
        if staged.exists():
            _replace(staged, self.out_folder)
        found = json.loads(recorded.read_text())
        return TrainingResult(steps=tuple(found["steps"]), summary=found["summary"])

    def save(
        self, model: PreTrainedModel, optimiser: Optimizer, *, epochs: int, steps: Sequence[Step]
    ) -> None:
        """Record the state after so many whole epochs, then drop the older one."""
        partial = self._fresh("partial")
        save_file(_weights(model), partial / "weights.safetensors")
        save_optimiser(optimiser, partial / "optimiser.safetensors")
        (partial / "steps.json").write_text(json.dumps([dict(step) for step in steps]))
        _replace(partial, self._epoch(epochs))
        if epochs > 1:
            shutil.rmtree(self._epoch(epochs - 1), ignore_errors=True)

    def restore(self, model: PreTrainedModel, optimiser: Optimizer) -> tuple[int, list[Step]]:
        """Put the newest recorded state into model and optimiser; whole epochs done, and their steps."""
        newest = max(self.folder.glob("epoch-*"), default=None)
        if newest is None:
            return 0, []
        recorded = load_file(newest / "weights.safetensors")
        with torch.no_grad():
            for name, parameter in trained_parameters(model).items():
                parameter.copy_(recorded[name])
        load_optimiser(optimiser, newest / "optimiser.safetensors")
        return int(newest.name.removeprefix("epoch-")), json.loads((newest / "steps.json").read_text())

    def publish(self, write: Callable[[Path], None], *, result: TrainingResult) -> None:
        """Have the candidate's folder written, and its result, so that a kill in between repeats nothing."""
        partial = self._fresh("partial")
        write(partial)
        _replace(partial, self.folder / "candidate")
        _write_text(self.folder / "result.json", json.dumps(asdict(result)))
        _replace(self.folder / "candidate", self.out_folder)
        for epoch in self.folder.glob("epoch-*"):
            shutil.rmtree(epoch)

    def clear(self) -> None:
        """Leave nothing behind."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _owner(self) -> str:
        owner = self.folder / "owner"
        return owner.read_text() if owner.exists() else ""

    def _published(self) -> bool:
        return (self.out_folder / "config.json").exists() or is_adapter(self.out_folder)

    def _epoch(self, epochs: int) -> Path:
        return self.folder / f"epoch-{epochs:04d}"

    def _fresh(self, name: str) -> Path:
        path = self.folder / name
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir()
        return path


def _given(*optional: torch.Tensor | None) -> list[torch.Tensor]:
    # A byte for what is missing, so that two batches that lack different tensors differ.
    return [torch.zeros(1, dtype=torch.int8) if tensor is None else tensor for tensor in optional]


def trained_parameters(model: PreTrainedModel) -> dict[str, Parameter]:
    """The parameters that a training moves, by name: all, or the adapter's where the rest is frozen."""
    return {name: each for name, each in model.named_parameters() if each.requires_grad}


def _weights(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    # Parameters, not the state dict: a tied embedding has two names there and one tensor.
    return {name: each.detach().contiguous() for name, each in trained_parameters(model).items()}


def _replace(source: Path, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    source.replace(target)


def _write_text(path: Path, text: str) -> None:
    partial = path.with_suffix(".partial")
    partial.write_text(text)
    partial.replace(path)
