"""The engine on the real vLLM, its CPU build: `make test-openrlhf`.

What this does not show: GPUs, graphs, several of them, half precision, and speed.
"""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch

from itpo_core.adapter_files import save_adapter
from itpo_core.lora import LoraSettings, add_adapter
from itpo_core.tiny_policy import create_policy, load_policy, save_policy, suppressed_ids
from itpo_core.tokens import suppress
from itpo_core.trainers.checkpoints import trained_parameters
from storage.paths import repository_root
from tests.contracts import test_engine as contract
from tests.itpo_core.policies import WORDS

ROOT = repository_root()
PYTHON = ROOT / ".venv-openrlhf" / "bin" / "python"
QUARTER_OF_AN_HOUR_S = 900
LORA = LoraSettings(rank=4, alpha=8.0, targets=("q_proj", "v_proj", "down_proj"))
Turns = list[dict[str, Any]]  # Any: fields of a spoken turn
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(2 * QUARTER_OF_AN_HOUR_S)]


def policy(folder: Path, *, adapted: bool) -> Path:
    """A random policy with heads of 32, the least that vLLM knows on CPUs; or an adapter on it."""
    model, tokenizer = create_policy(WORDS, "s", seed=0)
    save_policy(model, tokenizer, folder=folder / "base")
    if not adapted:
        return folder / "base"
    add_adapter(model, LORA, seed=1)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for each in trained_parameters(model).values():
            each.copy_(0.1 * torch.randn(each.shape, generator=generator))
    save_adapter(model, LORA, folder=folder / "adapter", base=folder / "base")
    return folder / "adapter"


def printed(script: str, *arguments: str, marked: str) -> Any:  # Any: JSON
    """What a script of this folder prints with this mark, run by the interpreter that has vLLM."""
    if not PYTHON.exists():
        pytest.skip("no .venv-openrlhf: `make test-openrlhf` makes it")
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_NO_USAGE_STATS": "1",
    }
    command = [str(PYTHON), str(ROOT / "tests" / "openrlhf" / script), *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment, timeout=QUARTER_OF_AN_HOUR_S, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    (line,) = [line for line in done.stdout.splitlines() if line.startswith(f"{marked} ")]
    return json.loads(line.removeprefix(f"{marked} "))


def spoken(folder: Path) -> dict[str, Turns]:
    """What vLLM says on the policy in the folder."""
    return printed("vllm_turns.py", str(folder), marked="TURNS")


def largest_gap(folder: Path, turns: Turns, *, temperature: float) -> float:
    """Between the engine's log-probabilities and the trainer's, over all tokens, in nats."""
    model, _ = load_policy(folder)
    gaps, streams = list[float](), dict[int, list[int]]()
    for turn in turns:
        stream = streams.setdefault(turn["row"], [])
        stream += turn["prompt_ids"]
        start = len(stream) - 1
        stream += turn["response_ids"]
        with torch.inference_mode():
            logits_TV = suppress(model(torch.tensor([stream])).logits[0], suppressed_ids(model))
            logprobs_TV = (logits_TV / temperature).log_softmax(-1)
        own = [float(logprobs_TV[start + t, each]) for t, each in enumerate(turn["response_ids"])]
        gaps += [abs(ours - theirs) for ours, theirs in zip(own, turn["logprobs"], strict=True)]
    return max(gaps)


@pytest.mark.parametrize("adapted", [False, True], ids=["whole", "adapter"])
def test_the_real_vllm_speaks_the_policys_own_distribution_turn_by_turn(
    tmp_path: Path, adapted: bool
) -> None:
    folder = policy(tmp_path, adapted=adapted)

    held = spoken(folder)

    assert held["plain"] == held["again"]
    assert [turn["row"] for turn in held["plain"]] == [0, 0, 0, 1, 2, 2, 2]
    assert largest_gap(folder, held["plain"], temperature=1.0) < 1e-3
    assert largest_gap(folder, held["warm"], temperature=0.7) < 1e-3


def test_the_real_vllm_keeps_the_contract_of_every_engine(tmp_path: Path) -> None:
    folder = policy(tmp_path, adapted=True)
    owed = {name for name in vars(contract) if name.startswith("test_")}

    runs = [printed("vllm_contract.py", str(folder), context, marked="CONTRACT") for context in ("96", "24")]

    broken = [text for found in runs for text in found.values() if text not in ("held", "other context")]
    assert broken == []
    assert owed == {name for found in runs for name, text in found.items() if text == "held"}
    assert len(owed) >= 8
