"""OpenRLHF as a job: its log, what proves that it stepped, and what it may not do unnoticed."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from itpo_core.trainers.base import PolicySettings
from itpo_core.trainers.openrlhf_flags import OpenRlhfFlags
from itpo_core.trainers.openrlhf_job import (
    OpenRlhfFailedError,
    OpenRlhfJob,
    check_settings,
    checked_result,
    committed_flags,
    steps_of,
)

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


def test_a_committed_batch_is_one_rollout_of_all_its_rows(tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text("{}\n" * 12)
    settings = PolicySettings(epochs=3, clip_low=0.6, clip_high=1.5, kl_weight=0.005)

    found = committed_flags(FLAGS, settings, work=tmp_path, prompts=prompts, minibatch=6)

    assert (found.prompts_per_step, found.batch, found.micro_batch, found.epochs) == (12, 6, 3, 3)
    assert (found.clip, found.kl_in_loss, found.samples_per_prompt) == ((0.6, 1.5), True, 1)


@pytest.mark.parametrize(
    ("changed", "named"),
    [({"policy_loss": "cispo"}, "policy_loss"), ({"kl_place": "reward"}, "kl_place")],
)
def test_a_setting_without_a_form_in_openrlhf_is_refused_by_name(changed: dict[str, str], named: str) -> None:
    with pytest.raises(ValueError, match=f"{named} .* has no form in OpenRLHF"):
        check_settings(replace(PolicySettings(), **changed))
