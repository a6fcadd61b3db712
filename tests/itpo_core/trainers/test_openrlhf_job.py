"""OpenRLHF as a job: its log, what proves that it stepped, and what it may not do unnoticed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest

from itpo_core.trainers.openrlhf_flags import OpenRlhfFlags
from itpo_core.trainers.openrlhf_job import OpenRlhfFailedError, OpenRlhfJob, checked_result, steps_of

T = TypeVar("T")
FLAGS = OpenRlhfFlags(policy="p", prompts="x", out_folder="o", state_folder="s", micro_batch=4)
LINE = (
    "(PPOTrainer pid=1) INFO x:551] Global step {}: {{'policy_loss': {}, 'actor_grad_norm': 1.5, 'kl': nan}}"
)


def job(code: str, *, timeout_s: float = 30) -> OpenRlhfJob:
    """A job that runs this Python in the place of OpenRLHF."""
    return OpenRlhfJob(Path(sys.executable), timeout_s, entry=("-c", code))


def test_steps_are_read_from_the_log_once_each_and_in_order() -> None:
    log = "\n".join([LINE.format(2, 0.5), "noise", LINE.format(1, 0.25), LINE.format(2, 0.75)])

    found = steps_of(log)

    assert [step["policy_loss"] for step in found] == [0.25, 0.75]
    assert all(step["kl"] != step["kl"] for step in found)


def test_a_job_that_stepped_gives_its_figures(tmp_path: Path) -> None:
    code = f"print({LINE.format(1, 0.25)!r}); print({LINE.format(2, 0.75)!r})"

    found = job(code).run(FLAGS, "stock", log=tmp_path / "log", steps=2)

    assert found.summary["steps"] == 2
    assert found.summary["policy_loss"] == 0.5
    assert found.summary["final_policy_loss"] == 0.75


def test_a_job_that_ends_well_without_a_step_has_failed(tmp_path: Path) -> None:
    with pytest.raises(OpenRlhfFailedError, match="after 0 of 1 steps"):
        job("pass").run(FLAGS, "stock", log=tmp_path / "log", steps=1)


def test_a_job_that_fails_says_what_it_said_last(tmp_path: Path) -> None:
    with pytest.raises(OpenRlhfFailedError, match=r"code 3.*out of memory"):
        job("import sys; print('out of memory'); sys.exit(3)").run(
            FLAGS, "stock", log=tmp_path / "log", steps=1
        )


def test_a_job_that_hangs_is_killed_with_what_it_started(tmp_path: Path) -> None:
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(60)'])"

    with pytest.raises(OpenRlhfFailedError, match=r"over 0\.5 s"):
        job(code, timeout_s=0.5).run(FLAGS, "stock", log=tmp_path / "log", steps=1)


def test_a_loss_that_is_no_number_is_a_failure() -> None:
    steps = steps_of(LINE.format(1, "nan"))

    with pytest.raises(OpenRlhfFailedError, match="step 1 has no policy_loss"):
        checked_result(steps, expected=1, log="")


def test_the_job_is_told_which_credit_and_all_flags(tmp_path: Path) -> None:
    code = f"import os, sys; print(os.environ['ITPO_CREDIT'], *sys.argv[1:]); print({LINE.format(1, 0)!r})"

    job(code).run(FLAGS, "committed", log=tmp_path / "log", steps=1)

    assert (tmp_path / "log").read_text().startswith("committed --actor.model_name_or_path p ")


def test_steps_are_told_while_they_are_made(tmp_path: Path) -> None:
    first, second = LINE.format(1, 0.25), LINE.format(2, 1)
    code = f"import time; print({first!r}, flush=True); time.sleep(1.5); print({second!r})"
    told = list[tuple[int, int]]()

    job(code).run(FLAGS, "stock", log=tmp_path / "log", steps=2, on_step=lambda *done: told.append(done))

    assert told == [(1, 2), (2, 2)]


def test_what_an_attempt_before_did_counts_only_where_its_state_is_gone_on_with(tmp_path: Path) -> None:
    (tmp_path / "log").write_text(LINE.format(1, 0.25) + "\n")
    one_more = job(f"print({LINE.format(2, 0.75)!r})")

    resumed = one_more.run(FLAGS, "stock", log=tmp_path / "log", steps=2)

    assert resumed.summary["steps"] == 2
    with pytest.raises(OpenRlhfFailedError, match="after 1 of 2 steps"):
        one_more.run(replace(FLAGS, resume=False), "committed", log=tmp_path / "log", steps=2)


def test_openrlhf_ends_when_the_process_that_wanted_it_is_killed(tmp_path: Path) -> None:
    code = (
        "import os, time; from itpo_core.trainers.with_parent import end_with_parent; end_with_parent();"
        "print(os.getpid(), flush=True); time.sleep(60)"
    )
    stage = (
        "import sys; from pathlib import Path;"
        "from tests.itpo_core.trainers.test_openrlhf_job import FLAGS, job;"
        f"job({code!r}, timeout_s=60).run(FLAGS, 'stock', log=Path(sys.argv[1]), steps=1)"
    )
    log = tmp_path / "log"
    parent = subprocess.Popen([sys.executable, "-c", stage, str(log)], env={**os.environ, "PYTHONPATH": "."})
    child = int(waited_for(lambda: log.is_file() and log.read_text().strip()))

    parent.send_signal(signal.SIGKILL)
    parent.wait()

    assert waited_for(lambda: not is_alive(child))


def waited_for(found: Callable[[], T]) -> T:
    """What is found within 30 s."""
    until = time.monotonic() + 30
    while not (value := found()) and time.monotonic() < until:
        time.sleep(0.05)
    return value


def is_alive(process: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{process}/status").read_text()
    except FileNotFoundError:
        return False
