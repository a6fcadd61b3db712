"""OpenRLHF as a `Trainer` of committed, credited conversations: its losses, optimiser and checkpoints."""

import hashlib
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from itpo_core.logprobs import check_spoken
from itpo_core.tiny_policy import load_chat_format
from itpo_core.trainers.base import PolicySettings, TrainingBatch, TrainingResult
from itpo_core.trainers.candidate_folder import check_candidate
from itpo_core.trainers.checkpoints import Checkpoints, fingerprint
from itpo_core.trainers.checks import prepared
from itpo_core.trainers.examination import examined
from itpo_core.trainers.openrlhf_credit import PROMPTS_FILE, stage_batch
from itpo_core.trainers.openrlhf_flags import OpenRlhfFlags, argv
from itpo_core.trainers.openrlhf_job import LOG, Credit, OpenRlhfJob, Progress
from itpo_core.trainers.openrlhf_staging import (
    AGENT_FILE,
    stage_code,
    stage_policy,
    take_candidate,
    whole_policy,
)

BATCH_FOLDER, TAKEN = "batch", "taken"


@dataclass(frozen=True, slots=True)
class OpenRlhfTrainer:
    """Implements `Trainer` on credit that is given.

    `flags` says everything about cluster and memory, and where files lie; the rows, the batches and the
    step's numbers are set from the call. OpenRLHF keeps a state after each round, and a committed batch is
    one round: so a killed call, repeated, starts anew. `folder` is where OpenRLHF's files lie, seen by every
    node, and belongs to this batch alone; None: beside `out_folder`, with `.work` after the name. `examined`
    conversations are scored by parent and candidate here, which gives divergence and entropy.
    """

    job: OpenRlhfJob
    flags: OpenRlhfFlags
    examined: int = 64
    folder: Path | None = None

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
        never = load_chat_format(start_folder).suppressed_ids
        check_spoken(batch.tokens_BT, batch.is_policy_BT, suppressed_ids=never)
        work = self.folder or out_folder.with_name(f"{out_folder.name}.work")
        minibatch = min(settings.minibatch_conversations, len(batch.lengths_B))
        rows = -(-len(batch.lengths_B) // minibatch) * minibatch
        flags = committed_flags(self.flags, settings, work=work, rows=rows, minibatch=minibatch)
        run = OpenRlhfRun(self.job, flags, steps=1)
        return run(
            "committed",
            Checkpoints(work, out_folder, self._owner(batch, start_folder, flags, settings, parent_version)),
            start_folder=start_folder,
            stage=lambda: stage_batch(batch, work / BATCH_FOLDER, multiple_of=minibatch),
            examine=lambda: {
                **excluded,
                **examined(work / TAKEN, start_folder, batch=batch, conversations=self.examined),
            },
            on_step=on_step,
        )

    def _owner(
        self,
        batch: TrainingBatch,
        start_folder: Path,
        flags: OpenRlhfFlags,
        settings: PolicySettings,
        parent_version: str,
    ) -> str:
        of_batch = fingerprint(batch, start_folder, settings=settings, parent_version=parent_version)
        return hashlib.sha256("\n".join([of_batch, str(self.examined), *argv(flags)]).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class OpenRlhfRun:
    """One whole training in a folder of its own: staged, run, its candidate checked and taken back.

    `flags` name places in the folder of the checkpoints; `steps` are the rounds that it must do.
    """

    job: OpenRlhfJob
    flags: OpenRlhfFlags
    steps: int

    def __call__(
        self,
        credit: Credit,
        checkpoints: Checkpoints,
        *,
        start_folder: Path,
        stage: Callable[[], object],
        examine: Callable[[], Mapping[str, float]],
        on_step: Progress,
    ) -> TrainingResult:
        """The figures; the weights are in the output folder. What was finished is not done again.

        `stage` writes what is read beside the weights; `examine` adds figures of the taken candidate. Raises
        as `OpenRlhfJob.run` and `check_candidate` do.
        """
        checkpoints.open()
        work, made = checkpoints.folder, Path(self.flags.out_folder)
        if (work / TAKEN).is_dir():
            # Another attempt, whose output folder was its own, finished but was killed before its commit.
            _copy(work / TAKEN, work / "candidate")
        finished = checkpoints.result()
        if finished is not None:
            return finished
        stage_policy(start_folder, work / "policy")
        stage_code(work)
        stage()
        shutil.rmtree(made, ignore_errors=True)
        result = self.job.run(self.flags, credit, log=work / LOG, steps=self.steps, on_step=on_step)
        whole = whole_policy(made, parent=start_folder, dropout=self.flags.lora_dropout or 0.0)
        moved = check_candidate(whole, parent=start_folder).moved_share
        take_candidate(whole, work / TAKEN, parent=start_folder)
        result = replace(result, summary={**result.summary, "moved_share": moved, **examine()})
        checkpoints.publish(lambda partial: _copy(work / TAKEN, partial), result=result)
        return result


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
    flags: OpenRlhfFlags, settings: PolicySettings, *, work: Path, rows: int, minibatch: int
) -> OpenRlhfFlags:
    """The flags of one training on a committed batch of so many rows: one round, minibatches, epochs."""
    return replace(
        flags,
        policy=str(work / "policy"),
        critic=None,
        # Nothing asks it; without an agent or a reward OpenRLHF would start a reward model.
        agent_file=str(work / AGENT_FILE),
        reward_url=None,
        prompts=str(work / BATCH_FOLDER / PROMPTS_FILE),
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


def _micro_batch(wanted: int, minibatch: int) -> int:
    """The largest number of conversations up to `wanted` that divides a minibatch."""
    return next(size for size in range(min(wanted, minibatch), 0, -1) if minibatch % size == 0)


def _copy(taken: Path, target: Path) -> None:
    shutil.copytree(taken, target, dirs_exist_ok=True)
