"""What a trainer outside this process left behind: is it a whole policy, of the parent's kind, and trained?

Nothing is loaded as a model: tensors are read one by one, so that a folder of any size fits. A tied head that
was written beside the embeddings (as OpenRLHF does) is accepted while it equals them.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from itpo_core.tiny_policy import PolicyFolderError

WHOLE, INDEX, HEAD = "model.safetensors", "model.safetensors.index.json", "lm_head.weight"
EMBEDDINGS = ("embed_tokens.weight", "wte.weight", "embed_in.weight", "word_embeddings.weight")
DTYPES = frozenset({"float32", "bfloat16", "float16"})
PICKLED = ("*.bin", "*.pt", "*.pth", "*.pkl", "*.ckpt")
# How a tokenizer was last called stands in its file; it changes no id.
LAST_CALL = frozenset({"padding", "truncation"})


@dataclass(frozen=True, slots=True)
class CandidateFacts:
    """What was found: counts of tensors and weights, the one dtype, and how far the weights moved.

    `moved_share` is the share of weights that differ from the parent's after both are rounded to the
    candidate's dtype, `largest_move` the largest difference.
    """

    tensors: int
    weights: int
    dtype: str
    has_extra_head: bool
    moved_share: float
    largest_move: float


class TensorFile(Protocol):
    """An open safetensors file."""

    def get_tensor(self, name: str) -> Tensor:
        """One tensor of it."""
        ...


@dataclass(frozen=True, slots=True)
class Tensors:
    """The tensors of a folder by name; read when asked for."""

    files: Mapping[str, TensorFile]

    def __getitem__(self, name: str) -> Tensor:
        return self.files[name].get_tensor(name)

    @property
    def names(self) -> frozenset[str]:
        """All of them."""
        return frozenset(self.files)


def check_candidate(candidate: Path, *, parent: Path) -> CandidateFacts:
    """What the candidate's folder holds, once it has passed every check.

    Raises PolicyFolderError, naming file or tensor and the remedy, for pickled weights, a file that is
    missing or cut off, tensors other than the parent's, mixed dtypes, NaN or infinity, a head that is not the
    embeddings, a vocabulary or a tokenizer or a chat template that is not the parent's, and for weights that
    are the parent's: then no step was taken.
    """
    _refuse_pickled(candidate)
    check_same_tokenizer(candidate, parent=parent)
    with ExitStack() as files:
        found, before = _opened(candidate, files), _opened(parent, files)
        ties = _is_tied(candidate)
        has_extra_head = _check_names(found, before, folder=candidate, ties=ties)
        facts = _compared(found, before, folder=candidate, has_extra_head=has_extra_head)
    if facts.moved_share == 0:
        raise PolicyFolderError(
            f"{candidate}: every weight is the parent's: no step was taken, whatever the exit code; look at "
            "the log of the training, and at how many prompts it was given"
        )
    return facts


def check_same_tokenizer(candidate: Path, *, parent: Path) -> None:
    """PolicyFolderError unless both folders turn text and conversations into the same ids."""
    found, wanted = _tokenizer(candidate), _tokenizer(parent)
    if found.chat_template != wanted.chat_template:
        raise PolicyFolderError(
            f"{candidate}: its chat template is not the parent's; copy chat_template.jinja from {parent}"
        )
    if _ids_of(found) != _ids_of(wanted):
        raise PolicyFolderError(
            f"{candidate}: its tokenizer is not the parent's; copy tokenizer.json and tokenizer_config.json "
            f"from {parent} if the training used the parent's, else train again"
        )


def _refuse_pickled(folder: Path) -> None:
    if not (folder / "config.json").is_file():
        raise PolicyFolderError(f"{folder}: no config.json; the training ended before it wrote its weights")
    pickled = sorted(path.name for pattern in PICKLED for path in folder.glob(pattern))
    if pickled:
        raise PolicyFolderError(
            f"{folder}: {pickled} may be pickled and run code when loaded; write safetensors instead"
        )


def _tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise PolicyFolderError(f"{folder}: no tokenizer can be read ({error})") from None
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise PolicyFolderError(f"{folder}: the tokenizer has no tokenizer.json; save it as a fast one")
    return tokenizer


def _ids_of(tokenizer: PreTrainedTokenizerFast) -> tuple[str, int | None, int | None]:
    told = json.loads(tokenizer.backend_tokenizer.to_str())
    kept = {name: value for name, value in told.items() if name not in LAST_CALL}
    return json.dumps(kept, sort_keys=True), tokenizer.eos_token_id, tokenizer.pad_token_id


def _is_tied(folder: Path) -> bool:
    return bool(_json(folder / "config.json").get("tie_word_embeddings", False))


def _json(path: Path) -> dict[str, object]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise PolicyFolderError(
            f"{path} is not whole ({error}); the writer was stopped in the middle"
        ) from None


def _opened(folder: Path, files: ExitStack) -> Tensors:
    """Every tensor of the folder, by the index where there is one."""
    placed: dict[str, TensorFile] = {}
    for path, expected in _shards(folder):
        opened = _open(path, files)
        held = frozenset(opened.keys())
        lacking = sorted(expected - held) if expected is not None else []
        if lacking:
            raise PolicyFolderError(f"{path}: {lacking[:3]} should be in it by {INDEX}; copy the shard again")
        placed |= dict.fromkeys(held, opened)
    return Tensors(placed)


def _shards(folder: Path) -> Iterator[tuple[Path, frozenset[str] | None]]:
    index = folder / INDEX
    if not index.is_file():
        yield folder / WHOLE, None
        return
    places = _json(index).get("weight_map")
    if not isinstance(places, dict):
        raise PolicyFolderError(f"{index} has no weight_map; write the weights again")
    for name in sorted(set(places.values())):
        yield folder / name, frozenset(tensor for tensor, shard in places.items() if shard == name)


def _open(path: Path, files: ExitStack) -> safe_open:
    if not path.is_file():
        adapters = (path.parent / "adapter_model.safetensors").is_file()
        remedy = (
            "it holds adapters: merge them first" if adapters else "the weights are not whole; copy it there"
        )
        raise PolicyFolderError(f"{path} is missing; {remedy}")
    try:
        return files.enter_context(safe_open(path, framework="pt"))
    except SafetensorError as error:
        raise PolicyFolderError(
            f"{path} is cut off or damaged ({error}): its writer was stopped in the middle; resume the "
            "training"
        ) from None


def _check_names(found: Tensors, before: Tensors, *, folder: Path, ties: bool) -> bool:
    """Whether there is a tied head beside the embeddings."""
    extra, lacking = found.names - before.names, before.names - found.names
    forgiven = frozenset({HEAD}) if ties else frozenset[str]()
    has_extra_head = ties and HEAD in found.names
    if has_extra_head and not torch.equal(found[HEAD], found[_embeddings(found, folder)]):
        raise PolicyFolderError(
            f"{folder}: {HEAD} differs from the embeddings, though the configuration ties them: one of both "
            "would be lost; untie them, or write the embeddings alone"
        )
    for title, names in (("has no", lacking - forgiven), ("holds unknown", extra - forgiven)):
        if names:
            raise PolicyFolderError(
                f"{folder} {title} {sorted(names)[:3]} ({len(names)} in all): it is no policy of the "
                "parent's kind; start the training from the parent"
            )
    return has_extra_head


def _embeddings(found: Tensors, folder: Path) -> str:
    names = [name for name in found.names if name.endswith(EMBEDDINGS)]
    if len(names) != 1:
        raise PolicyFolderError(f"{folder}: {HEAD} is tied, and {names} may be the embeddings; leave it out")
    return names[0]


def _compared(found: Tensors, before: Tensors, *, folder: Path, has_extra_head: bool) -> CandidateFacts:
    names = sorted(found.names & before.names)
    weights, moved, largest = 0, 0, 0.0
    dtypes = {str(found[name].dtype).removeprefix("torch.") for name in names}
    if len(dtypes) != 1 or not dtypes <= DTYPES:
        raise PolicyFolderError(
            f"{folder}: its weights are in {sorted(dtypes)}; save all of them in one of {sorted(DTYPES)}"
        )
    for name in names:
        new, old = found[name], before[name]
        _check_tensor(name, new, old=old, folder=folder)
        difference = (new.float() - old.to(new.dtype).float()).abs()
        weights += new.numel()
        moved += int((difference > 0).sum())
        largest = max(largest, float(difference.max()))
    return CandidateFacts(len(names), weights, dtypes.pop(), has_extra_head, moved / weights, largest)


def _check_tensor(name: str, new: Tensor, *, old: Tensor, folder: Path) -> None:
    if new.shape != old.shape:
        what = "vocabulary" if name.endswith((*EMBEDDINGS, HEAD)) else "shape"
        raise PolicyFolderError(
            f"{folder}: the {what} of {name} is {tuple(new.shape)}, the parent's {tuple(old.shape)}; start "
            "the training from the parent"
        )
    if not bool(new.isfinite().all()):
        bad = int((~new.isfinite()).sum())
        raise PolicyFolderError(
            f"{folder}: {bad} weights of {name} are NaN or infinite: the training diverged; lower its rate"
        )
