"""What stands in for a GPU leaves the rest of torch as it is."""

import json
import os
import subprocess
import sys

import pytest

from storage.paths import repository_root

CPU = repository_root() / "deploy" / "openrlhf-cpu"
ASKED = """
import json
import torch
with torch.device("meta"):
    made = [torch.arange(3), torch.empty(3), torch.tensor([1.0]), torch.zeros(3)]
print(json.dumps({
    "on_meta": [one.is_meta for one in made],
    "moved": str(torch.zeros(2).to("cuda").device),
    "made": str(torch.ones(2, device="cuda:0").device),
    "sized": list(torch.zeros(0).shape),
}))
"""
pytestmark = pytest.mark.slow


def test_a_gpu_is_this_cpu_and_nothing_else_is_moved() -> None:
    given = {**os.environ, "PYTHONPATH": str(CPU), "OPENRLHF_ON_CPU": "1"}

    done = subprocess.run(
        [sys.executable, "-c", ASKED], env=given, capture_output=True, text=True, timeout=120, check=True
    )

    # What a checkpoint does not hold is filled after such a construction, and only if it was one.
    assert json.loads(done.stdout) == {"on_meta": [True] * 4, "moved": "cpu", "made": "cpu", "sized": [0]}
