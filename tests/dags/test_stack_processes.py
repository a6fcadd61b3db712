"""Starting and stopping parts: order, one-shots, restarts, and nothing left, whoever its parent is."""

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from dags import stack_processes
from dags.stack_compose import Service, StackFailed
from dags.stack_parts import Part
from dags.stack_processes import Stack
from dags.stack_settings import MARK, StackPlace

# A leader whose child leads a session of its own, deaf to TERM, and is then left by its parent.
LEADER = """
import os, signal, time
if os.fork() == 0:
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if os.fork() != 0:
        os._exit(0)
time.sleep(60)
"""


def part(
    name: str, program: str, folder: Path, *, waits: dict[str, str] | None = None, once: bool = False
) -> Part:
    """A part that runs a few lines of Python; healthy once its file is there."""
    health = ("CMD", "test", "-e", str(folder / name))
    service = Service(name, "image:1.0", (sys.executable, "-c", program), {}, health, waits or {}, once)
    return Part(service, service.argv, {"PATH": "/usr/bin:/bin", MARK: str(folder)})


def says(folder: Path, name: str) -> str:
    """A line of Python that adds a name to a file, and then makes its health check pass."""
    order, well = str(folder / "order"), str(folder / name)
    return f"open({order!r}, 'a').write({name + ' '!r}); open({well!r}, 'w').close()"


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "airflow" / "logs").mkdir(parents=True)
    yield tmp_path
    for process in stack_processes.family(tmp_path):
        process.kill()


def stack_of(folder: Path, *parts: Part) -> Stack:
    (folder / "temp").mkdir(exist_ok=True)
    return Stack(StackPlace(folder, folder / "temp", {}), {}, {each.service.name: each for each in parts}, {})


def test_each_part_starts_once_what_it_waits_for_has_come_that_far(folder: Path) -> None:
    scheduler = {"init": "service_completed_successfully", "database": "service_healthy"}
    stack = stack_of(
        folder,
        part(
            "scheduler", f"{says(folder, 'scheduler')}; import time; time.sleep(60)", folder, waits=scheduler
        ),
        part("init", says(folder, "init"), folder, waits={"database": "service_healthy"}, once=True),
        part("database", f"import time; time.sleep(0.3); {says(folder, 'database')}; time.sleep(60)", folder),
    )

    stack_processes.start(stack, timeout_s=30.0)
    stack_processes.stop(folder, stack.processes)

    assert (folder / "order").read_text() == "database init scheduler "
    assert [process.poll() is None for process in stack.processes.values()] == [False, False, False]


def test_a_one_shot_that_fails_ends_the_start_with_its_words(folder: Path) -> None:
    stack = stack_of(folder, part("init", "import sys; sys.exit('no such database')", folder, once=True))

    with pytest.raises(StackFailed, match=r"init ended with code 1:[\s\S]*no such database"):
        stack_processes.start(stack, timeout_s=30.0)
    stack_processes.stop(folder, stack.processes)


def test_a_part_that_ends_on_its_way_up_is_started_again_and_not_for_ever(folder: Path) -> None:
    stack = stack_of(
        folder, part("head", f"open({str(folder / 'order')!r}, 'a').write('x'); exit(3)", folder)
    )

    with pytest.raises(StackFailed, match="head ended with code 3"):
        stack_processes.start(stack, timeout_s=30.0)
    stack_processes.stop(folder, stack.processes)

    assert (folder / "order").read_text() == "x" * (1 + stack_processes.RESTARTS)


def test_a_part_that_never_gets_well_ends_the_start(folder: Path) -> None:
    stack = stack_of(folder, part("head", "import time; time.sleep(60)", folder))

    with pytest.raises(StackFailed, match="not up after 1 s: head"):
        stack_processes.start(stack, timeout_s=1.0)
    stack_processes.stop(folder, stack.processes)


def test_a_program_that_is_not_there_is_named(folder: Path) -> None:
    missing = part("head", "", folder)
    stack = stack_of(folder, Part(missing.service, ("no-such-program",), missing.environment))

    with pytest.raises(StackFailed, match="head needs the program no-such-program"):
        stack_processes.start(stack, timeout_s=1.0)


def test_a_stop_leaves_nothing_though_a_child_left_its_session_and_its_parent(folder: Path) -> None:
    stack = stack_of(folder, part("head", f"{says(folder, 'head')}\n{LEADER}", folder))
    stack_processes.start(stack, timeout_s=30.0)
    before = settled(folder)

    stack_processes.stop(folder, stack.processes, grace_s=1.0)

    assert len(before) == 2
    assert len({process.pid for process in before} - {stack.processes["head"].pid}) == 1
    assert [process for process in before if lives(process)] == []
    assert not (folder / "temp").exists()


def lives(process: psutil.Process) -> bool:
    """Whether it still runs; one that ended may wait as a zombie for whoever collects it."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def settled(folder: Path) -> set[psutil.Process]:
    """The processes of the stack, once the one in between has gone."""
    deadline = time.monotonic() + 20.0
    while time.monotonic() < deadline:
        found = stack_processes.family(folder)
        if len(found) == 2 and not {process.ppid() for process in found} & {each.pid for each in found}:
            return found
        time.sleep(0.1)
    raise AssertionError(f"no child was left alone: {stack_processes.family(folder)}")


def test_the_next_start_ends_what_a_killed_one_left(folder: Path) -> None:
    stack = stack_of(folder, part("head", f"{says(folder, 'head')}; import time; time.sleep(60)", folder))
    stack_processes.start(stack, timeout_s=30.0)

    stack_processes.stop_leftovers(folder)
    stack.processes["head"].wait(timeout=10.0)

    assert stack_processes.family(folder) == set()
    assert not (folder / "processes.json").exists()


def test_a_stranger_with_a_noted_number_is_left_alone(folder: Path) -> None:
    stack = stack_of(folder, part("head", f"{says(folder, 'head')}; import time; time.sleep(60)", folder))
    (folder / "processes.json").write_text(
        json.dumps({"temp": str(folder / "temp"), "started": {"head": [1, 0.0]}})
    )

    stack_processes.stop(folder, stack.processes, grace_s=1.0)

    assert psutil.pid_exists(1)
