"""OpenRLHF on this CPU as a trainer of committed batches."""

import os
from pathlib import Path

from itpo_core.trainers.openrlhf_flags import OpenRlhfFlags
from itpo_core.trainers.openrlhf_job import OpenRlhfJob
from itpo_core.trainers.openrlhf_trainer import OpenRlhfTrainer
from storage.paths import repository_root
from tasks.openrlhf_training import CPU_FOLDER, CPU_VARIABLES

PYTHON = repository_root() / ".venv-openrlhf" / "bin" / "python"
HALF_AN_HOUR_S = 1800
# One trainer and one reference, no engine: nothing is generated.
SMALL = OpenRlhfFlags(
    policy="",
    prompts="",
    out_folder="",
    state_folder="",
    max_tokens=256,
    actor_gpus=1,
    reference_gpus=1,
    engines=0,
    max_new_tokens=12,
    rollout_micro_batch=4,
    micro_batch=4,
    zero_stage=0,
    attention="eager",
    packing=False,
    gradient_checkpointing=False,
)


def job_on_cpu(**variables: str) -> OpenRlhfJob:
    """OpenRLHF under a Ray head of its own."""
    given = {
        **CPU_VARIABLES,
        "PATH": f"{PYTHON.parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": f"{CPU_FOLDER}{os.pathsep}{repository_root()}",
        **variables,
    }
    return OpenRlhfJob(PYTHON, HALF_AN_HOUR_S, entry=(str(Path(CPU_FOLDER) / "launch.py"),), variables=given)


def openrlhf_on_cpu() -> OpenRlhfTrainer:
    """For the contract of trainers."""
    return OpenRlhfTrainer(job_on_cpu(), SMALL)
