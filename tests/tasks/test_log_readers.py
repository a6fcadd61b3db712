"""Processes that read ahead of an import: the same rows as without them, and nothing of them is left."""

import gzip
import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from itpo_core.envs.catalogue import ENVIRONMENTS, sales
from itpo_core.logs.formats import LOG_FORMATS
from itpo_core.logs.users import DEFAULT_USER_COLUMN
from storage import commits
from storage.digests import data_digest
from storage.log_files import LogFileError
from storage.paths import repository_root
from storage.tables import conform
from tasks import import_logs
from tasks.import_logs import import_inputs
from tasks.log_batches import LogBatch, LogFile, batches_of
from tasks.log_intake import import_files
from tasks.log_privacy import POLICIES
from tasks.log_readers import ReaderDied, read_all, worthwhile
from tasks.log_reading import Chunk, Reading
from tasks.logged_rows import Place, simulator_of
from tasks.scripted_logs import write_scripted_logs
from tests.builders import make_context
from tests.log_fixtures import EXPECTED, rows_of
from tests.log_processes import is_gone, readers_of
from tests.log_shapes import Json, assistant, openai_row, user

MB = 1 << 20
PLACE = Place("logs")
READING = Reading(PLACE, POLICIES["keep"], None, DEFAULT_USER_COLUMN, {"log.jsonl": "outcome"})
TALKS = [openai_row(user(f"order {n}"), assistant("done"), id=f"c{n}", outcome=n % 2) for n in range(300)]
# The number in the metadata is one only to who has read what was asked for.
PERSONAL = {
    "metadata": {"note": "4155552671"},
    **openai_row(assistant("Your phone number?"), user("4155552671"), assistant("thanks"), id="p", outcome=1),
}
LATE = [
    openai_row(user("late"), assistant("yes"), id="late"),
    openai_row(user("late"), assistant("yes"), id="late", outcome=1),
]
CLASH = openai_row(user("call 4155552671 or bob@example.org"), assistant("no"), id="c0")
CUT = b'{"messages": [{"role": "user", "content": "bob@example.org'
# Reads a log by two processes from a script without a file, and waits while they do.
WAITING = """
import sys, time
from pathlib import Path
from tests.tasks.test_log_readers import READING, batch_of
from tasks.log_readers import read_all

def wait(chunk):
    print("read", flush=True)
    time.sleep(60)

read_all(batch_of(Path(sys.argv[1])), READING, workers=2, hand_on=wait, stretch_bytes=1000)
"""


def lines(rows: Sequence[Json]) -> bytes:
    """JSONL."""
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def mixed_logs(folder: Path) -> list[Path]:
    """Files of every format and files that repeat, contradict and complete each other, damaged and packed."""
    files = {
        "a.jsonl": lines([*TALKS, LATE[0], PERSONAL]),
        "b.jsonl": lines([CLASH, TALKS[3], PERSONAL, LATE[1]]) + CUT,
        "c.jsonl.gz": gzip.compress(lines([TALKS[4], CLASH, *LATE]), mtime=0)[:-9],
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return [*(folder / name for name in files), *(path for each in EXPECTED.values() for path in each.paths)]


def outcome_of(paths: Sequence[Path], **settings: object) -> tuple[object, dict[str, str]]:
    """The counts of an import, and the digests of its tables."""
    logs = import_files(paths, log_format="auto", place=PLACE, **settings)  # ty: ignore[invalid-argument-type]
    return logs.counts, {name: data_digest(conform(name, table)) for name, table in logs.tables.items()}


def batch_of(path: Path) -> list[LogBatch]:
    return batches_of([LogFile(path, "log.jsonl", "openai", "outcome")])


def written(folder: Path, count: int) -> Path:
    """A log of so many short conversations: more than may wait for the import."""
    path = folder / "log.jsonl"
    path.write_bytes(lines(TALKS) * (count // len(TALKS)))
    return path


@pytest.mark.parametrize(("policy", "workers"), [("keep", 1), ("mask", 3), ("quarantine", 1)])
def test_the_rows_are_the_same_whoever_reads(tmp_path: Path, policy: str, workers: int) -> None:
    paths, privacy = mixed_logs(tmp_path), POLICIES[policy]

    alone = outcome_of(paths, privacy=privacy)

    assert outcome_of(paths, privacy=privacy, workers=workers) == alone


def test_the_truth_of_simulated_turns_is_told_by_a_process_too(tmp_path: Path) -> None:
    domain = sales("small")
    path = write_scripted_logs(tmp_path, domain, conversations=5, requests=1, seed=7)
    strange = json.loads(path.read_text().splitlines()[0])
    strange["id"], strange["metadata"]["scenario"] = "strange", {"product": "tank"}
    repeated = {**strange, "outcome": 1 - strange["outcome"]}
    path.write_text(path.read_text() + lines([strange, repeated]).decode())

    alone = outcome_of([path], domain=domain)

    assert outcome_of([path], domain=domain, workers=1) == alone


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_every_oracle_can_be_carried_to_a_process_also_after_use(name: str) -> None:
    domain = ENVIRONMENTS[name]("small")
    assert domain.logging_policy is not None
    assert domain.oracle is not None
    (spoken,) = domain.logging_policy.conversations(count=1, seed=0)
    truths = domain.oracle.truths(spoken.scenario, spoken.messages)

    carried = pickle.loads(pickle.dumps(simulator_of(domain)))

    assert carried.oracle.truths(spoken.scenario, spoken.messages) == truths


def test_a_large_file_is_read_by_several_and_in_order(tmp_path: Path) -> None:
    path = written(tmp_path, 900)
    alone: list[Chunk] = []
    ahead: list[Chunk] = []

    read_all(batch_of(path), READING, workers=0, hand_on=alone.append)
    read_all(batch_of(path), READING, workers=2, hand_on=ahead.append, stretch_bytes=2000)

    assert len(ahead) > 2 * len(alone)
    said = [replace(each, raw=b"") for chunk in ahead for each in chunk.found]
    assert said == [replace(each, raw=b"") for chunk in alone for each in chunk.found]


@pytest.mark.parametrize("name", [name for name, kind in LOG_FORMATS.items() if kind.rows_alone])
def test_rows_of_formats_that_are_cut_have_nothing_to_do_with_each_other(name: str) -> None:
    kind, rows = LOG_FORMATS[name], list(enumerate(rows_of(name) * 2, start=1))

    together = list(kind.parse(iter(rows), outcome_column="outcome", user_column="user"))

    apart = [kind.parse(iter([row]), outcome_column="outcome", user_column="user") for row in rows]
    assert [each for parsed in apart for each in parsed] == together
    assert kind.records is None
    assert not kind.joins_files


@pytest.mark.parametrize("workers", [0, 1])
def test_what_is_wrong_with_a_file_is_said_alike(tmp_path: Path, workers: int) -> None:
    there, absent = written(tmp_path, 300), tmp_path / "absent.jsonl"

    with pytest.raises(LogFileError, match=r"absent\.jsonl: no such log file; give the path"):
        import_files([there, absent], log_format="openai", place=PLACE, workers=workers)

    assert readers_of(os.getpid()) == []


def test_a_process_that_is_killed_is_told_with_its_file_and_nothing_is_committed(tmp_path: Path) -> None:
    path = written(tmp_path, 300)
    context = make_context(tmp_path, logs__paths=[str(path)], logs__workers=1)
    killer = threading.Thread(target=kill_first_reader)

    killer.start()
    with pytest.raises(ReaderDied, match=r"log\.jsonl: the process .* was ended by SIGKILL .*workers = 0"):
        import_logs.run(context)
    killer.join()

    assert commits.find(context.store, context.first_key("rollouts")) is None


def kill_first_reader() -> None:
    while not (found := readers_of(os.getpid())):
        time.sleep(0.01)
    os.kill(found[0], signal.SIGKILL)


def test_an_import_that_fails_leaves_no_process_behind(tmp_path: Path) -> None:
    found: list[int] = []

    def fail(chunk: Chunk) -> None:
        found.extend(readers_of(os.getpid()))
        raise ValueError("no room")

    with pytest.raises(ValueError, match="no room"):
        read_all(batch_of(written(tmp_path, 9000)), READING, workers=2, hand_on=fail, stretch_bytes=1000)

    assert len(found) == 2
    assert all(is_gone(process, limit_s=0.0) for process in found)


def test_an_import_that_is_killed_leaves_no_process_behind(tmp_path: Path) -> None:
    path = written(tmp_path, 9000)
    command = [sys.executable, "-", str(path)]
    with subprocess.Popen(
        command, cwd=repository_root(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as script:
        assert script.stdin is not None
        assert script.stdout is not None
        script.stdin.write(WAITING)
        script.stdin.close()
        said = script.stdout.readline()
        found = readers_of(script.pid)
        script.kill()

    assert (said, len(found)) == ("read\n", 2)
    assert ended(found) == [True, True]


def ended(processes: Sequence[int]) -> list[bool]:
    """Whether each ended by itself; those that did not are ended."""
    are_gone = [is_gone(each, limit_s=10.0) for each in processes]
    for process, gone in zip(processes, are_gone, strict=True):
        if not gone:
            os.kill(process, signal.SIGKILL)
    return are_gone


def test_small_logs_are_read_in_this_process_and_large_ones_by_one_for_each_core(tmp_path: Path) -> None:
    found: list[int] = []

    read_all(
        batch_of(written(tmp_path, 300)),
        READING,
        workers=None,
        hand_on=lambda chunk: found.extend(readers_of(os.getpid())),
    )

    assert found == []
    assert [worthwhile(size, cores=2) for size in (31 * MB, 32 * MB)] == [0, 2]
    assert [worthwhile(32 * MB, cores=cores) for cores in (1, 3, 64)] == [0, 3, 4]


def test_who_reads_is_no_input_of_the_import(tmp_path: Path) -> None:
    path = written(tmp_path, 300)
    alone, ahead = (
        make_context(tmp_path, logs__paths=[str(path)], logs__workers=workers).config for workers in (0, 2)
    )

    assert "workers" not in ahead.logs.committed()
    assert import_inputs(ahead, [path]) == import_inputs(alone, [path])
    assert ahead.section("logs") == alone.section("logs")
