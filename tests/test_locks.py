"""The locks: everything by hash, torch on its own, no place of download, and in step with pyproject.toml."""

import re
import tomllib

import pytest
from packaging.requirements import Requirement

from storage.paths import repository_root

ROOT = repository_root()
PIN = re.compile(r"^([a-z0-9._-]+)(?:\[[a-z,_-]+\])?==(\S+)", re.MULTILINE)


def pins(name: str) -> dict[str, str]:
    return dict(PIN.findall((ROOT / "requirements" / name).read_text()))


def declared(*extras: str) -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    chosen = [line for extra in extras for line in project["optional-dependencies"][extra]]
    return [Requirement(line) for line in [*project["dependencies"], *chosen]]


@pytest.mark.parametrize("lock", ["lock.txt", "uv.txt", "duckdb-1.5.txt", "openrlhf.txt", "openrlhf-cpu.txt"])
def test_each_locked_package_has_a_hash(lock: str) -> None:
    blocks = re.split(r"\n(?=[a-z0-9])", (ROOT / "requirements" / lock).read_text())[1:]

    assert len(blocks) == len(pins(lock)) >= 1
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


def test_no_file_of_the_set_up_names_a_place_of_download() -> None:
    places = [*(ROOT / "requirements").iterdir(), ROOT / "Makefile", ROOT / "Dockerfile", ROOT / ".ci/run"]

    named = {path.name for path in places if re.search(r"https?://|--index|--find-links", path.read_text())}

    assert named == set()
