"""Starts a Ray head of its own that claims GPUs which do not exist, then runs our entry of OpenRLHF under it.

Run as a file, with the arguments of the training: the placement groups are then satisfied on two cores.
"""

import os
import sys

import ray

from itpo_core.trainers.openrlhf_ray import main

PASSED_ON = ("PYTHONPATH", "OPENRLHF_ON_CPU", "DS_ACCELERATOR", "TORCHDYNAMO_DISABLE", "OMP_NUM_THREADS")
PREFIXES = ("HF_", "ITPO_", "VLLM_")


def started_with() -> dict[str, str]:
    """The variables that every worker needs."""
    return {n: v for n, v in os.environ.items() if n in PASSED_ON or n.startswith(PREFIXES)}


if __name__ == "__main__":
    ray.init(
        num_cpus=8,
        num_gpus=4,
        include_dashboard=False,
        object_store_memory=200 * 2**20,
        _temp_dir=os.environ["ITPO_RAY_FOLDER"],
        runtime_env={"env_vars": started_with()},
    )
    main(sys.argv[1:])
