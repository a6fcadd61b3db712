"""A policy's folder on its way to OpenRLHF and back.

OpenRLHF and vLLM load with `trust_remote_code`, so a folder must not name code that it does not hold; what
comes back has weights of another type and a tokenizer written anew, and the parent's own takes its place.
"""

import json
import shutil
from pathlib import Path

from itpo_core.adapter_files import is_adapter, read_matrices
from itpo_core.lora import merge
from itpo_core.tiny_policy import load_policy, save_policy

CONFIG, GENERATION, TOKENIZER, TOKENIZER_CONFIG = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
)
TEMPLATE = "chat_template.jinja"
AGENT_FILE, REWARD_FILE = "agent.py", "reward.py"
CODE_FILE = "plain_tokenizer.py"
CODE = '''"""tokenizer.json as it stands: for a model type whose own tokenizer would rebuild it."""

from transformers import PreTrainedTokenizerFast


class PlainTokenizer(PreTrainedTokenizerFast):
    """Nothing but the file."""
'''


class CandidateError(ValueError):
    """What OpenRLHF left is no candidate; the message names the file and what is wrong with it."""


def stage_policy(folder: Path, target: Path) -> None:
    """A copy that OpenRLHF can load; `target` is made anew."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(folder, target)
    path = target / TOKENIZER_CONFIG
    named = json.loads(path.read_text(encoding="utf-8"))
    if named.get("auto_map", {}).get("AutoTokenizer") == [None, None]:
        # Naming no class is how a folder asks for its tokenizer.json; with trust, transformers 5.15 reads it
        # as a name all the same and fails.
        named["auto_map"] = {"AutoTokenizer": [None, f"{Path(CODE_FILE).stem}.PlainTokenizer"]}
        path.write_text(json.dumps(named, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        (target / CODE_FILE).write_text(CODE, encoding="utf-8")


def stage_code(folder: Path) -> None:
    """The agent and the reward file, which OpenRLHF loads by path on every node."""
    trainers = Path(__file__).parent
    shutil.copyfile(trainers / "openrlhf_agent.py", folder / AGENT_FILE)
    shutil.copyfile(trainers.parent / "rewards" / "openrlhf_reward.py", folder / REWARD_FILE)


def whole_policy(made: Path, *, parent: Path, dropout: float = 0.0) -> Path:
    """The folder of whole weights that OpenRLHF's training came to: `made`, or for an adapter one beside it.

    Raises AdapterError for an adapter that does not fit the parent, PolicyFolderError for its folder.
    """
    if not is_adapter(made):
        return made
    settings, tensors = read_matrices(made, dropout=dropout)
    model, tokenizer = load_policy(parent)
    merge(model, settings, tensors=tensors)
    whole = made.with_name(f"{made.name}-merged")
    shutil.rmtree(whole, ignore_errors=True)
    save_policy(model, tokenizer, folder=whole)
    return whole


def take_candidate(made: Path, target: Path, *, parent: Path) -> None:
    """Put the weights that OpenRLHF saved into `target`, with the parent's tokenizer, template and limits.

    Raises CandidateError when the folder is missing or half written, or its tokenizer is not the parent's.
    """
    weights = sorted(made.glob("*.safetensors"))
    if not weights or not (made / CONFIG).is_file():
        raise CandidateError(f"{made}: no weights or no {CONFIG}; the job ended before it saved the policy")
    if _vocabulary(made) != _vocabulary(parent):
        raise CandidateError(
            f"{made / TOKENIZER} is not the tokenizer of {parent}: the policy cannot be read"
        )
    partial = target.with_name(f"{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for path in [made / CONFIG, *weights, *made.glob("*.safetensors.index.json")]:
        shutil.copyfile(path, partial / path.name)
    for name in (GENERATION, TOKENIZER, TOKENIZER_CONFIG, TEMPLATE):
        if (parent / name).is_file():
            shutil.copyfile(parent / name, partial / name)
    shutil.rmtree(target, ignore_errors=True)
    partial.replace(target)


def _vocabulary(folder: Path) -> object:
    path = folder / TOKENIZER
    if not path.is_file():
        raise CandidateError(f"{folder}: no {TOKENIZER} beside the weights")
    found = json.loads(path.read_text(encoding="utf-8"))
    # A loaded tokenizer may have been told to cut or to pad; that is no part of what it reads.
    return {name: value for name, value in found.items() if name not in {"truncation", "padding"}}
