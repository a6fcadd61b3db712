"""The processes of a stack: started in the order that the file gives, watched, and stopped without an orphan.

Everything that is started leads a session of its own and carries a mark in its environment, which its
children inherit; a stop ends sessions, descendants and all that carries the mark.
"""

import json
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from dags.local_airflow import end_sessions, session_of, tail
from dags.local_settings import ROOT
from dags.stack_compose import COMPOSE, Service, StackFailed, read_services
from dags.stack_parts import Part, database_folder, part_of
from dags.stack_postgres import make_database
from dags.stack_settings import MARK, PROFILE, StackPlace, check_ports, kept_variables, surroundings

# Asked by HTTP from here, so that neither program has to be installed.
BROWSERS = frozenset({"curl", "wget"})
LAST_TO_STOP = frozenset({"postgres", "seaweedfs"})  # what others write to until they have ended
PAUSE_S = 0.5
RESTARTS = 3  # of each part until all are up, as the file's restart policy would


@dataclass(frozen=True, slots=True)
class Stack:
    """A stack on its way up or running: its place, its variables, its parts and their processes by name."""

    place: StackPlace
    variables: dict[str, str]
    parts: dict[str, Part]
    processes: dict[str, subprocess.Popen[bytes]]


def prepared(folder: Path, *, ports: Mapping[str, int]) -> Stack:
    """Everything that `start` needs, with what an earlier, killed stack left behind stopped.

    Raises StackFailed for a port in use, a missing variable, or a program that is not installed.
    """
    stop_leftovers(folder)
    check_ports(ports)
    temp = Path(tempfile.mkdtemp(prefix="itpo-stack-"))
    place = StackPlace(folder, temp, ports)
    _note(place, {})
    with ExitStack() as on_failure:
        on_failure.callback(stop, folder, {})
        stack = _first_time(place)
        on_failure.pop_all()
    return stack


def _first_time(place: StackPlace) -> Stack:
    """Folders, secrets and the database where they are missing; what is to be run."""
    made = (
        place.home / "logs",
        place.home / "state",
        *map(place.folder.joinpath, ("lake", "bucket", "home")),
    )
    for folder in made:
        folder.mkdir(parents=True, exist_ok=True)
    variables = kept_variables(place.folder / "env")
    parts = planned(place, variables)
    make_database(database_folder(place), parts["postgres"].environment)
    return Stack(place, variables, parts, {})


def planned(place: StackPlace, variables: Mapping[str, str], *, text: str | None = None) -> dict[str, Part]:
    """The parts of the stack, from the compose file (or another `text`) and the variables of a shell."""
    given = {name: place.locally.text(value) for name, value in variables.items()}
    written = COMPOSE.read_text() if text is None else text
    services = read_services(written, given, profiles=[PROFILE], locally=place.locally)
    around = surroundings(place)
    return {name: part_of(service, place, surroundings=around) for name, service in services.items()}


def start(stack: Stack, *, timeout_s: float) -> None:
    """Start every part once what it waits for is there; return when all is up. Raises StackFailed.

    One after another: on few cores that takes no longer, and Ray gives up what cannot start within 30 s.
    """
    deadline = time.monotonic() + timeout_s
    reached: dict[str, str] = {}
    again = dict.fromkeys(stack.parts, RESTARTS)
    while len(reached) < len(stack.parts):
        _start_next(stack, reached)
        _restart_ended(stack, reached, again=again)
        check_alive(stack)
        reached |= {name: how for name in stack.processes if (how := _reached(stack, name, reached))}
        if time.monotonic() > deadline:
            raise StackFailed(_too_late(stack, reached, timeout_s=timeout_s))
        time.sleep(PAUSE_S)


def check_alive(stack: Stack) -> None:
    """Raise StackFailed when a part has ended that should not, or ended badly."""
    for name, process in stack.processes.items():
        status = process.poll()
        if status is not None and not (status == 0 and stack.parts[name].service.is_one_shot):
            raise StackFailed(f"{name} ended with code {status}:\n{tail(_log(stack.place, name))}")


def is_healthy(part: Part) -> bool:
    """Ask once what the file's health check asks."""
    how, *words = part.service.health
    if words[0] in BROWSERS:
        return _answers(words[-1])
    command = ["sh", "-c", *words] if how == "CMD-SHELL" else words
    done = subprocess.run(
        command, env=part.environment, cwd="/", capture_output=True, check=False, timeout=120
    )
    return done.returncode == 0


def stop(folder: Path, processes: Mapping[str, subprocess.Popen[bytes]], *, grace_s: float = 10.0) -> None:
    """End everything that carries the mark or descends from it; StackFailed when something will not go."""
    leaders = _leaders(folder)
    before = family(folder)
    first = [pid for name, pid in leaders.items() if name not in LAST_TO_STOP]
    end_sessions(first, grace_s=grace_s)
    end_sessions([pid for name, pid in leaders.items() if name in LAST_TO_STOP], grace_s=2 * grace_s)
    for process in processes.values():
        process.wait()
    left = [process for process in {*before, *family(folder)} if _lives(process)]
    for process in left:
        _kill(process)
    psutil.wait_procs(left, timeout=grace_s)
    if still := [f"{process.pid} {process.name()}" for process in left if _lives(process)]:
        raise StackFailed(f"these processes would not end: {', '.join(still)}")
    _forget(folder)


def stop_leftovers(folder: Path) -> None:
    """End what an earlier stack in this folder left, killed or detached."""
    if _noted(folder).exists():
        stop(folder, {}, grace_s=5.0)


def family(folder: Path) -> set[psutil.Process]:
    """All living processes of the stack: by session, by descent, and by the mark that they inherited."""
    found = {process for process in psutil.process_iter() if _carries_mark(process, folder)}
    for leader in _leaders(folder).values():
        found |= set(session_of(leader))
    for process in list(found):
        try:
            found |= set(process.children(recursive=True))
        except psutil.NoSuchProcess:
            continue
    return {process for process in found if _lives(process)}


def _start_next(stack: Stack, reached: Mapping[str, str]) -> None:
    """Start one part, unless another is on its way."""
    if stack.processes.keys() - reached.keys():
        return
    for name, part in stack.parts.items():
        if name not in stack.processes and _may_start(part.service, reached):
            stack.processes[name] = _spawn(part, stack.place)
            _note(stack.place, stack.processes)
            return


def _restart_ended(stack: Stack, reached: dict[str, str], *, again: dict[str, int]) -> None:
    """Start those parts again that should have gone on, as the file's restart policy would."""
    for name, process in stack.processes.items():
        ended = process.poll() is not None and not stack.parts[name].service.is_one_shot
        if ended and again[name] > 0:
            again[name] -= 1
            reached.pop(name, None)
            end_sessions([process.pid], grace_s=5.0)
            stack.processes[name] = _spawn(stack.parts[name], stack.place)
            _note(stack.place, stack.processes)


def _may_start(service: Service, reached: Mapping[str, str]) -> bool:
    wanted = {"service_started": {"started", "healthy"}, "service_healthy": {"healthy"}}
    return all(
        reached.get(other) in wanted.get(condition, {"completed"})
        for other, condition in service.waits.items()
    )


def _reached(stack: Stack, name: str, reached: Mapping[str, str]) -> str | None:
    """How far a started part has come; None while it is on its way."""
    part = stack.parts[name]
    if name in reached:
        return reached[name]
    if part.service.is_one_shot:
        return "completed" if stack.processes[name].poll() == 0 else None
    if part.service.health[0] == "CMD-SHELL":
        return "started"  # seconds of a processor each time: whoever waits for Airflow asks its REST API
    return "healthy" if is_healthy(part) else None


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=10.0, trust_env=False).is_success
    except httpx.TransportError:
        return False


def _too_late(stack: Stack, reached: Mapping[str, str], *, timeout_s: float) -> str:
    waiting = [name for name in stack.parts if name not in reached]
    logs = "\n".join(tail(_log(stack.place, name)) for name in waiting if name in stack.processes)
    return f"not up after {timeout_s:.0f} s: {', '.join(waiting)}\n{logs}"


def _spawn(part: Part, place: StackPlace) -> subprocess.Popen[bytes]:
    with _log(place, part.service.name).open("ab") as out:
        return subprocess.Popen(
            _found(part), env=part.environment, cwd="/" if part.user else ROOT, user=part.user,
            stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True,
        )  # fmt: skip


def _found(part: Part) -> list[str]:
    program = shutil.which(part.argv[0], path=part.environment["PATH"])
    if program is None:
        raise StackFailed(f"{part.service.name} needs the program {part.argv[0]}: run make setup")
    return [program, *part.argv[1:]]


def _log(place: StackPlace, name: str) -> Path:
    return place.home / "logs" / f"{name}.log"


def _noted(folder: Path) -> Path:
    return folder / "processes.json"


def _note(place: StackPlace, processes: Mapping[str, subprocess.Popen[bytes]]) -> None:
    started = {}
    for name, process in processes.items():
        try:
            started[name] = (process.pid, psutil.Process(process.pid).create_time())
        except psutil.NoSuchProcess:
            continue
    place.folder.mkdir(parents=True, exist_ok=True)
    _noted(place.folder).write_text(json.dumps({"temp": str(place.temp), "started": started}))


def _leaders(folder: Path) -> dict[str, int]:
    """Process ids by part; a number that was given to a stranger since is left out."""
    if not _noted(folder).exists():
        return {}
    started = json.loads(_noted(folder).read_text())["started"]
    return {name: pid for name, (pid, created) in started.items() if not _is_a_stranger(pid, created)}


def _is_a_stranger(pid: int, created: float) -> bool:
    try:
        return abs(psutil.Process(pid).create_time() - created) >= 1.0
    except psutil.NoSuchProcess:
        return False


def _forget(folder: Path) -> None:
    """Remove the note and the short folder; the logs that Ray wrote there stay with the others."""
    if not _noted(folder).exists():
        return
    temp = Path(json.loads(_noted(folder).read_text())["temp"])
    for logs in temp.glob("session_2*/logs"):
        shutil.copytree(logs, folder / "airflow" / "logs" / "ray" / logs.parent.name, dirs_exist_ok=True)
    shutil.rmtree(temp, ignore_errors=True)
    _noted(folder).unlink()


def _carries_mark(process: psutil.Process, folder: Path) -> bool:
    try:
        return process.environ().get(MARK) == str(folder)
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _kill(process: psutil.Process) -> None:
    try:
        process.send_signal(signal.SIGKILL)
    except psutil.NoSuchProcess:
        return
