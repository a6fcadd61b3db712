"""What the crash tests share: a process to fork from, and one unbroken loop to compare with."""

import fcntl
import os
import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash.forks import Conductor
from tests.crash.forks import conductor as open_conductor
from tests.crash.grounds import MakeGround, ground_on
from tests.crash.matrix import Unbroken, run_unbroken


@pytest.fixture(scope="session")
def conductor() -> Iterator[Conductor]:
    """The process from which this test process forks."""
    with open_conductor() as opened:
        yield opened


@pytest.fixture(scope="session")
def unbroken(conductor: Conductor, tmp_path_factory: pytest.TempPathFactory) -> list[Unbroken]:
    """Every step of an undisturbed loop; test processes side by side share one."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "unbroken-loop"
    folder.mkdir(exist_ok=True)
    with open(folder / "lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return _made_once(folder / "steps.pickle", conductor)


@pytest.fixture(params=["local", pytest.param("moto", marks=pytest.mark.e2e)])
def ground(request: pytest.FixtureRequest, tmp_path: Path) -> MakeGround:
    """How a worker gets a lake of its own, on either store."""
    return ground_on(request, tmp_path)


def _made_once(kept: Path, conductor: Conductor) -> list[Unbroken]:
    if not kept.exists():
        kept.write_bytes(pickle.dumps(conductor(run_unbroken, kept.parent, limit_s=250)))
    return pickle.loads(kept.read_bytes())
