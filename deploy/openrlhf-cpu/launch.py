"""Runs our entry of OpenRLHF under a Ray head that claims GPUs which do not exist: one of its own, or that of
RAY_ADDRESS.

Run as a file, with the arguments of the training: the placement groups are then satisfied on two cores.
"""

import os
import sys

import ray

from itpo_core.trainers.openrlhf_ray import main
from itpo_core.trainers.with_parent import end_with_parent

PASSED_ON = ("PYTHONPATH", "OPENRLHF_ON_CPU", "DS_ACCELERATOR", "TORCHDYNAMO_DISABLE", "OMP_NUM_THREADS")
PREFIXES = ("HF_", "ITPO_", "VLLM_")


def started_with() -> dict[str, str]:
    """The variables that every worker needs."""
    return {n: v for n, v in os.environ.items() if n in PASSED_ON or n.startswith(PREFIXES)}


def join_ray() -> None:
    """The cluster at hand, else a head with a short life."""
    runtime_env = {"env_vars": started_with()}
    if "RAY_ADDRESS" in os.environ:
        ray.init(runtime_env=runtime_env)
        return
    ray.init(
        num_cpus=8,
        num_gpus=4,
        include_dashboard=False,
        object_store_memory=200 * 2**20,
        _temp_dir=os.environ.get("ITPO_RAY_FOLDER"),
        runtime_env=runtime_env,
    )


if __name__ == "__main__":
    end_with_parent()
    join_ray()
    main(sys.argv[1:])
