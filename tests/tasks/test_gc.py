"""`itpo gc` lists before it removes, and refuses to race the stages that run."""

import os
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from storage.local_store import LocalStore
from storage.tombstones import BusyLake
from tasks import gc
from tasks.__main__ import app
from tasks.config import ConfigError
from tests.storage.test_commit_crashes import pipeline

LEFT = "sales/rollouts/iteration=0001/shard=0000/turns-" + "a" * 32 + ".parquet"


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalStore:
    """A finished iteration, two days old, with a file that nothing names and an old local copy."""
    monkeypatch.setenv("ITPO_WORK", str(tmp_path / "work"))
    store = LocalStore(tmp_path / "lake")
    pipeline(store, "first")
    store.create(LEFT, b"data")
    copy = tmp_path / "work" / "cache" / "lake" / LEFT
    copy.parent.mkdir(parents=True)
    copy.write_bytes(b"data")
    long_ago = time.time() - 2 * 24 * gc.HOUR_S
    for path in (copy, *(tmp_path / "lake").rglob("*")):
        os.utime(path, (long_ago, long_ago))
    return store


def run(store: LocalStore, *options: str) -> str:
    """What the command prints."""
    answer = CliRunner().invoke(app, ["gc", "--lake", str(store.root), *options])
    if answer.exception is not None and not isinstance(answer.exception, SystemExit):
        raise answer.exception
    return answer.output


def files(folder: Path) -> set[str]:
    """Every file below it."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_without_delete_it_only_lists(lake: LocalStore) -> None:
    before = files(lake.root)

    printed = run(lake)

    assert "1 objects of 4 bytes" in printed
    assert "nothing was removed" in printed
    assert files(lake.root) == before


def test_with_delete_the_garbage_and_the_copy_go(lake: LocalStore) -> None:
    before = set(lake.list(""))

    printed = run(lake, "--delete")

    assert before - set(lake.list("")) == {LEFT}
    assert "removed: 1 objects, 0 half-written ones, 1 local copies" in printed


def test_before_an_unfinished_forgetting_nothing_is_even_looked_for(lake: LocalStore) -> None:
    lake.create("_tombstones/pending-1.json", b"{}")

    with pytest.raises(BusyLake, match="finish it first"):
        run(lake, "--delete")

    assert lake.list(LEFT) == [LEFT]


def test_half_written_files_of_dead_writers_go(lake: LocalStore) -> None:
    half = lake.root / "sales" / ".tmp-dead"
    half.write_bytes(b"ha")
    os.utime(half, (0, 0))

    run(lake, "--delete")

    assert not half.exists()


def test_a_grace_shorter_than_a_lease_is_refused_unless_forced(lake: LocalStore) -> None:
    with pytest.raises(ConfigError, match="shorter than a lease"):
        run(lake, "--delete", "--grace-hours", "0.01")
    assert lake.list(LEFT) == [LEFT]

    run(lake, "--delete", "--grace-hours", "0.01", "--force")

    assert lake.list(LEFT) == []


def test_a_short_grace_is_warned_of(capsys: pytest.CaptureFixture[str]) -> None:
    gc.check_grace(0.5 * gc.HOUR_S, lease_ttl_s=60.0, force=False)

    assert "may lose files" in capsys.readouterr().out
