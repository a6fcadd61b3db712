"""A Q-function as a folder: the trunk as any causal language model, the head and the kind beside it."""

import json
from collections.abc import Sequence
from pathlib import Path

from safetensors.torch import load_file, save_file
from transformers import PreTrainedTokenizerBase

from itpo_core.q_models import QModel, new_q
from itpo_core.tiny_policy import load_policy, save_policy

HEAD_FILE = "head.safetensors"
KIND_FILE = "q.json"


def save_q(q: QModel, tokenizer: PreTrainedTokenizerBase, *, folder: Path) -> None:
    """Write the folder; the same bytes for the same weights. Plain `from_pretrained` loads its trunk."""
    save_policy(q.model, tokenizer, folder=folder)
    save_file({"weight": q.head.weight.detach(), "bias": q.head.bias.detach()}, folder / HEAD_FILE)
    named = {"beta": q.beta, "kind": q.kind, "suppressed_ids": list(q.suppressed_ids)}
    (folder / KIND_FILE).write_text(json.dumps(named, sort_keys=True) + "\n", encoding="utf-8")


def save_members(members: Sequence[QModel], tokenizer: PreTrainedTokenizerBase, *, folder: Path) -> None:
    """One folder per member, `member-0` first."""
    for place, member in enumerate(members):
        save_q(member, tokenizer, folder=folder / f"member-{place}")


def load_members(folder: Path) -> tuple[QModel, ...]:
    """What `save_members` wrote. Raises ValueError when there is no member."""
    count = len(list(folder.glob("member-*")))
    if count == 0:
        raise ValueError(f"{folder}: no member-0; give the folder that a fit of Q committed")
    return tuple(load_q(folder / f"member-{place}") for place in range(count))


def load_q(folder: Path) -> QModel:
    """The Q-function of a folder. Raises ValueError, naming the file, when the folder holds another thing."""
    for name in (KIND_FILE, HEAD_FILE):
        if not (folder / name).is_file():
            raise ValueError(f"{folder}: no {name}; give a folder that save_q wrote, not a policy's")
    named = json.loads((folder / KIND_FILE).read_text(encoding="utf-8"))
    model, _ = load_policy(folder)
    q = new_q(named["kind"], model, beta=named["beta"], suppressed_ids=tuple(named["suppressed_ids"]))
    q.head.load_state_dict(load_file(folder / HEAD_FILE))
    return q
