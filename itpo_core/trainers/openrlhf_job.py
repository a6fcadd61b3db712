"""OpenRLHF as a process: start it, follow its log, prove from it that it stepped.

It needs OpenRLHF's own environment, named by its interpreter; here nothing of it is imported.
"""

import ast
import contextlib
import math
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from itpo_core.trainers.base import TrainingResult
from itpo_core.trainers.openrlhf_flags import OpenRlhfFlags, argv
from itpo_core.trainers.with_parent import as_parent

ENTRY = ("-m", "itpo_core.trainers.openrlhf_ray")
STEP = re.compile(r"Global step (\d+): (\{.*\})")
TAIL_CHARACTERS = 3000
LOG = "openrlhf.log"
LOOK_S = 0.5
Credit = Literal["stock", "replies", "turns", "online", "committed"]
# Steps done and steps in all.
Progress = Callable[[int, int], None]


class OpenRlhfFailedError(RuntimeError):
    """The job failed, or ended well without having trained; the message holds the end of its log."""


@dataclass(frozen=True, slots=True)
class OpenRlhfJob:
    """How OpenRLHF is started: its interpreter, the entry, variables beside ours, how long it may take.

    The process ends with the one that runs it, and Ray's processes with their driver.
    """

    interpreter: Path
    timeout_s: float
    entry: tuple[str, ...] = ENTRY
    variables: Mapping[str, str] = field(default_factory=dict)

    def run(
        self,
        flags: OpenRlhfFlags,
        credit: Credit,
        *,
        log: Path,
        steps: int,
        on_step: Progress = lambda done, total: None,
    ) -> TrainingResult:
        """Run to the end. Raises OpenRlhfFailedError unless it ended well after at least `steps` steps.

        A step is one round: its samples and all passes over them. Where OpenRLHF resumes, the log of the
        attempt before stays in front of this one's, and its steps count. A job that takes too long is killed
        with all that it started.
        """
        if not flags.resume:
            log.unlink(missing_ok=True)
        self._start(flags, credit, log=log, on_look=lambda: on_step(len(steps_of(_text(log))), steps))
        text = _text(log)
        return checked_result(steps_of(text), expected=steps, log=text)

    def _start(self, flags: OpenRlhfFlags, credit: Credit, *, log: Path, on_look: Callable[[], None]) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        command = [str(self.interpreter), *self.entry, *argv(flags)]
        environment = {**os.environ, **self.variables, **as_parent(), "ITPO_CREDIT": credit}
        with log.open("ab") as out:
            job = subprocess.Popen(
                command, stdout=out, stderr=subprocess.STDOUT, env=environment, start_new_session=True
            )
            try:
                self._wait(job, log, on_look)
            except BaseException:  # whatever ends the wait, an interrupt too: nothing may train on unseen
                os.killpg(job.pid, signal.SIGKILL)
                job.wait()
                raise
        if job.returncode != 0:
            raise OpenRlhfFailedError(f"OpenRLHF ended with code {job.returncode}; {_tail(log)}")

    def _wait(self, job: subprocess.Popen[bytes], log: Path, on_look: Callable[[], None]) -> None:
        until, size = time.monotonic() + self.timeout_s, 0
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                job.wait(LOOK_S)
            if log.stat().st_size != size:
                size = log.stat().st_size
                on_look()
            if job.returncode is not None:
                return
            if time.monotonic() > until:
                raise OpenRlhfFailedError(f"OpenRLHF took over {self.timeout_s} s; {_tail(log)}")


def steps_of(log: str) -> tuple[dict[str, float], ...]:
    """The figures of every step in a log; a step that was repeated after a resume counts once."""
    found: dict[int, dict[str, float]] = {}
    for number, figures in STEP.findall(log):
        # Python prints what is no number without quotes, which is no literal.
        literal = re.sub(r"(?<=: )(-?)(nan|inf)\b", r"'\1\2'", figures)
        named = ast.literal_eval(literal)
        found[int(number)] = {str(name): float(value) for name, value in named.items() if value is not None}
    return tuple(found[number] for number in sorted(found))


def checked_result(steps: Sequence[Mapping[str, float]], *, expected: int, log: str) -> TrainingResult:
    """The result of so many steps. Raises OpenRlhfFailedError for fewer, and for a loss that is no number."""
    if len(steps) < expected:
        raise OpenRlhfFailedError(
            f"OpenRLHF ended well after {len(steps)} of {expected} steps: nothing is promoted from that;"
            f" {log[-TAIL_CHARACTERS:]}"
        )
    for number, step in enumerate(steps, start=1):
        for name in ("policy_loss", "actor_grad_norm"):
            if not math.isfinite(step.get(name, math.nan)):
                raise OpenRlhfFailedError(f"step {number} has no {name} that is a number: {step}")
    names = sorted(set.intersection(*(set(step) for step in steps)))
    means = {name: sum(step[name] for step in steps) / len(steps) for name in names}
    final = {f"final_{name}": steps[-1][name] for name in names}
    return TrainingResult(tuple(steps), {"steps": float(len(steps)), **means, **final})


def _text(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")


def _tail(log: Path) -> str:
    return f"the end of {log}: {_text(log)[-TAIL_CHARACTERS:]}"
