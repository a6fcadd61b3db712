"""Stands where OpenRLHF stands: reads its flags, says its words, leaves weights as it does, a little moved.

Run as a file by what looks like an interpreter; FAKE_OPENRLHF says how it misbehaves.
"""

import json
import os
import shutil
import sys
from pathlib import Path

import pyarrow.parquet as pq
import torch
from safetensors.torch import load_file, save_file


def flag(name: str) -> str:
    return sys.argv[sys.argv.index(name) + 1]


def rounds() -> int:
    """As many as OpenRLHF would make of the prompts."""
    path = Path(flag("--data.prompt_dataset"))
    lines = (
        pq.read_metadata(path).num_rows if path.suffix == ".parquet" else len(path.read_text().splitlines())
    )
    return lines // int(flag("--rollout.batch_size")) * int(flag("--train.num_episodes"))


def leave_weights(policy: Path, made: Path) -> None:
    """bf16, the tied head written out."""
    shutil.copytree(policy, made, dirs_exist_ok=True)
    torch.manual_seed(0)
    held = load_file(policy / "model.safetensors")
    moved = {name: (each + 0.01 * torch.randn_like(each)).bfloat16() for name, each in held.items()}
    moved["lm_head.weight"] = moved["model.embed_tokens.weight"].clone()
    save_file(moved, made / "model.safetensors", metadata={"format": "pt"})


def main() -> None:
    behaviour = os.environ.get("FAKE_OPENRLHF", "")
    with open(os.environ["FAKE_OPENRLHF_CALLS"], "a", encoding="utf-8") as calls:
        print(json.dumps({"credit": os.environ["ITPO_CREDIT"], "prompts": flag("--data.prompt_dataset"),
                          "rows": int(flag("--rollout.batch_size"))}), file=calls)  # fmt: skip
    for step in range(0 if behaviour == "no step" else rounds()):
        print(
            f"Global step {step + 1}: {{'policy_loss': 0.5, 'actor_grad_norm': 1.5, 'kl': 0.0}}", flush=True
        )
    if behaviour != "no weights":
        leave_weights(Path(flag("--actor.model_name_or_path")), Path(flag("--ckpt.output_dir")))


if __name__ == "__main__":
    main()
