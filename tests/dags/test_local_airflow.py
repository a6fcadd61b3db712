"""Starting and stopping processes: sessions end whole, strangers are left alone, ports are not shared."""

import json
import os
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from dags.local_airflow import end_sessions, free_port, session_of, stop_leftovers, tail
from dags.local_settings import HOST, Place, environment, kept_secret, preset_login

# A leader that, as Airflow does, puts its child into a process group of the child's own, deaf to TERM.
LEADER = """
import os, signal, time
if os.fork() == 0:
    os.setpgid(0, 0)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.write(1, b"ready\\n")
time.sleep(60)
"""


def started() -> subprocess.Popen[bytes]:
    process = subprocess.Popen([sys.executable, "-c", LEADER], start_new_session=True, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert [process.stdout.readline() for _ in range(2)] == [b"ready\n", b"ready\n"]
    return process


def is_alive(process: psutil.Process) -> bool:
    """Whether it still runs; one that ended may wait as a zombie for whoever collects it."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_session_ends_with_its_children_in_other_groups() -> None:
    leader = started()
    members = session_of(leader.pid)

    end_sessions([leader.pid], grace_s=0.5)
    leader.wait()

    assert len(members) == 2
    assert session_of(leader.pid) == []
    assert [member for member in members if is_alive(member)] == []


def test_leftovers_of_a_killed_start_are_ended(tmp_path: Path) -> None:
    leader = started()
    created = psutil.Process(leader.pid).create_time()
    (tmp_path / "processes.json").write_text(json.dumps({str(leader.pid): created}))
    leader.kill()
    leader.wait()

    stop_leftovers(Place(tmp_path, 1))

    assert session_of(leader.pid) == []
    assert not (tmp_path / "processes.json").exists()


def test_a_stranger_who_got_the_process_id_is_left_alone(tmp_path: Path) -> None:
    stranger = started()
    (tmp_path / "processes.json").write_text(json.dumps({str(stranger.pid): time.time() - 1000.0}))

    stop_leftovers(Place(tmp_path, 1))

    assert stranger.poll() is None
    end_sessions([stranger.pid], grace_s=0.2)
    stranger.wait()


def test_a_taken_port_is_passed_over() -> None:
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]

        assert free_port(port) > port


def test_the_login_is_preset_kept_and_private(tmp_path: Path) -> None:
    place = Place(tmp_path / "home", 1)

    assert preset_login(place) == preset_login(place) == "admin"
    assert stat.S_IMODE(place.password_file.stat().st_mode) == 0o600


def test_the_secret_is_random_and_kept(tmp_path: Path) -> None:
    first, second = Place(tmp_path / "a", 1), Place(tmp_path / "b", 1)

    assert kept_secret(first) == kept_secret(first) != kept_secret(second)


def test_everything_stays_on_loopback_and_in_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY", "of another Airflow")
    env = environment(Place(tmp_path, 18080), jwt_secret="s", extra={"ITPO_LAKE": "here"})

    assert env["AIRFLOW__API__HOST"] == "127.0.0.1"
    assert env["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"] == "http://127.0.0.1:18080/execution/"
    assert env["AIRFLOW_HOME"] == str(tmp_path)
    assert env["ITPO_LAKE"] == "here"
    assert "AIRFLOW__CORE__FERNET_KEY" not in env
    assert env["PATH"] == os.environ["PATH"]


def test_the_tail_of_a_log_names_its_file(tmp_path: Path) -> None:
    log = tmp_path / "scheduler.log"
    log.write_text("\n".join(map(str, range(100))))

    assert tail(log, lines=2) == f"{log}:\n98\n99"
    assert "never written" in tail(tmp_path / "absent.log")
