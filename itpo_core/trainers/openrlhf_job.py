"""OpenRLHF as a trainer: start it, prove from its log that it stepped, take its weights back.

`OpenRlhfTrainer` trains on committed, credited conversations (the second way in). It needs OpenRLHF's own
environment, named by its interpreter; here nothing of it is imported.
"""

import ast
import math
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from itpo_core.trainers.base import PolicySettings, TrainingBatch, TrainingResult
from itpo_core.trainers.candidate_folder import check_candidate
from itpo_core.trainers.checks import prepared
from itpo_core.trainers.openrlhf_credit import stage_batch
from itpo_core.trainers.openrlhf_flags import OpenRlhfFlags, argv
from itpo_core.trainers.openrlhf_staging import stage_policy, take_candidate

ENTRY = ("-m", "itpo_core.trainers.openrlhf_ray")
STEP = re.compile(r"Global step (\d+): (\{.*\})")
TAIL_CHARACTERS = 3000
Credit = Literal["stock", "turns", "committed"]


class OpenRlhfFailedError(RuntimeError):
    """The job failed, or ended well without having trained; the message holds the end of its log."""


@dataclass(frozen=True, slots=True)
class OpenRlhfJob:
    """How OpenRLHF is started: its interpreter, the entry, variables beside ours, how long it may take."""

    interpreter: Path
    timeout_s: float
    entry: tuple[str, ...] = ENTRY
    variables: Mapping[str, str] = field(default_factory=dict)

    def run(self, flags: OpenRlhfFlags, credit: Credit, *, log: Path, steps: int) -> TrainingResult:
        """Run to the end. Raises OpenRlhfFailedError unless it ended well after at least `steps` steps.

        A job that takes too long is killed with all that it started.
        """
        self._start(flags, credit, log=log)
        text = log.read_text(encoding="utf-8", errors="replace")
        return checked_result(steps_of(text), expected=steps, log=text)

    def _start(self, flags: OpenRlhfFlags, credit: Credit, *, log: Path) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        command = [str(self.interpreter), *self.entry, *argv(flags)]
        environment = {**os.environ, **self.variables, "ITPO_CREDIT": credit}
        with log.open("wb") as out:
            job = subprocess.Popen(
                command, stdout=out, stderr=subprocess.STDOUT, env=environment, start_new_session=True
            )
            try:
                code = job.wait(self.timeout_s)
            except subprocess.TimeoutExpired:
                os.killpg(job.pid, signal.SIGKILL)
                job.wait()
                raise OpenRlhfFailedError(f"OpenRLHF took over {self.timeout_s} s; {_tail(log)}") from None
        if code != 0:
            raise OpenRlhfFailedError(f"OpenRLHF ended with code {code}; {_tail(log)}")


@dataclass(frozen=True, slots=True)
class OpenRlhfTrainer:
    """Implements `Trainer` with OpenRLHF's losses, optimiser and checkpoints on credit that is given.

    `flags` says everything about cluster and memory; paths, batches and the step's numbers are set from the
    call. OpenRLHF keeps a state after each rollout step, and a committed batch is one such step: so a killed
    call, repeated, starts anew. Its files lie beside `out_folder`, with `.work` after the name.
    """

    job: OpenRlhfJob
    flags: OpenRlhfFlags

    def train(
        self,
        batch: TrainingBatch,
        *,
        parent_version: str,
        start_folder: Path,
        out_folder: Path,
        settings: PolicySettings,
        on_step: Callable[[int, int], None],
    ) -> TrainingResult:
        """See `Trainer.train`. Raises ValueError for settings that OpenRLHF has no form of, PolicyFolderError
        for weights that are no candidate, OpenRlhfFailedError."""
        check_settings(settings)
        batch, excluded = prepared(batch, parent_version, settings=settings)
        work = out_folder.with_name(f"{out_folder.name}.work")
        stage_policy(start_folder, work / "policy")
        minibatch = min(settings.minibatch_conversations, len(batch.lengths_B))
        prompts = stage_batch(batch, work / "batch", multiple_of=minibatch)
        flags = committed_flags(self.flags, settings, work=work, prompts=prompts, minibatch=minibatch)
        shutil.rmtree(Path(flags.out_folder), ignore_errors=True)
        result = self.job.run(flags, "committed", log=work / "openrlhf.log", steps=1)
        found = check_candidate(Path(flags.out_folder), parent=start_folder)
        take_candidate(Path(flags.out_folder), out_folder, parent=start_folder)
        on_step(1, 1)
        return replace(result, summary={**result.summary, **excluded, "moved_share": found.moved_share})


def check_settings(settings: PolicySettings) -> None:
    """ValueError naming what the local trainer can do and OpenRLHF cannot."""
    asked = {
        "policy_loss": (settings.policy_loss, ("ppo", "gspo")),
        "aggregation": (settings.aggregation, ("token_mean",)),
        "kl_place": (settings.kl_place, ("loss",)),
        "kl_reference": (settings.kl_reference, ("start",)),
    }
    for name, (value, known) in asked.items():
        if value not in known:
            raise ValueError(f"{name} {value!r} has no form in OpenRLHF: use {' or '.join(known)}")


def committed_flags(
    flags: OpenRlhfFlags, settings: PolicySettings, *, work: Path, prompts: Path, minibatch: int
) -> OpenRlhfFlags:
    """The flags of one training on a committed batch: one rollout step, its minibatches, its epochs."""
    rows = len(prompts.read_text(encoding="utf-8").splitlines())
    return replace(
        flags,
        policy=str(work / "policy"),
        critic=None,
        # Nothing asks it; without an agent or a reward OpenRLHF would start a reward model.
        agent_file=str(Path(__file__).with_name("openrlhf_agent.py")),
        reward_url=None,
        prompts=str(prompts),
        chat_template=False,
        samples_per_prompt=1,
        prompts_per_step=rows,
        batch=minibatch,
        micro_batch=_micro_batch(settings.micro_batch or flags.micro_batch, minibatch),
        epochs=settings.epochs,
        episodes=1,
        estimator="reinforce",
        kl_weight=settings.kl_weight,
        kl_in_loss=True,
        kl_estimator="k3",
        policy_loss="gspo" if settings.policy_loss == "gspo" else "ppo",
        clip=(settings.clip_low, settings.clip_high),
        dual_clip=settings.dual_clip,
        entropy_weight=settings.entropy_weight or None,
        learning_rate=settings.learning_rate,
        max_gradient_norm=settings.max_gradient_norm,
        seed=settings.seed % 2**31,
        out_folder=str(work / "made"),
        state_folder=str(work / "state"),
        resume=False,
        save_every=-1,
    )


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


def _micro_batch(wanted: int, minibatch: int) -> int:
    """The largest number of conversations up to `wanted` that divides a minibatch."""
    return next(size for size in range(min(wanted, minibatch), 0, -1) if minibatch % size == 0)


def _tail(log: Path) -> str:
    text = log.read_text(encoding="utf-8", errors="replace")
    return f"the end of {log}: {text[-TAIL_CHARACTERS:]}"
