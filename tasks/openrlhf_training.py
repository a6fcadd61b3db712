"""A candidate made by OpenRLHF: what it reads is brought to the cluster's folder, what it made is taken back.

Three ways in, see docs/openrlhf.md; which one a configuration means is `config_openrlhf.way_in`.
"""

import hashlib
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from itpo_core.trainers.base import PolicySettings, Trainer, TrainingBatch, TrainingResult
from itpo_core.trainers.openrlhf_flags import OpenRlhfFlags
from itpo_core.trainers.openrlhf_job import LOG, Credit, OpenRlhfJob
from storage import run_logs
from storage.paths import repository_root
from storage.prompt_files import write_prompts
from tasks.config import Config, ConfigError
from tasks.config_openrlhf import OpenRlhf
from tasks.context import Context
from tasks.openrlhf import Staged, cluster_of, flags_of, located, staged
from tasks.training import Job, SpokenTurns

CPU_FOLDER = repository_root() / "deploy" / "openrlhf-cpu"
# A training without a GPU: what makes torch, DeepSpeed, vLLM and Ray do with a processor.
CPU_VARIABLES: Mapping[str, str] = MappingProxyType(
    {
        "OPENRLHF_ON_CPU": "1",
        "DS_ACCELERATOR": "cpu",
        "TORCHDYNAMO_DISABLE": "1",
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
    }
)


def place_of(context: Context, job: Job) -> Staged:
    """The folder of this training alone: named by all that the candidate is made from."""
    digests = "\n".join(f"{role} {commit.digest}" for role, commit in sorted(job.sources.items()))
    made_from = hashlib.sha256(digests.encode()).hexdigest()[:12]
    return staged(context.config, context.iteration, made_from=made_from)


def committed_trainer(context: Context, job: Job) -> Trainer:
    """OpenRLHF as the trainer of credited conversations of the lake."""
    from itpo_core.trainers.openrlhf_trainer import OpenRlhfTrainer

    place, cluster = place_of(context, job), cluster_of(context.config)
    return OpenRlhfTrainer(
        process_of(context.config),
        flags_of(context.config, context.iteration, place=place),
        examined=cluster.examined,
        folder=Path(place.folder),
    )


@dataclass(frozen=True, slots=True)
class Asked:
    """Prompts with the columns `input` and `label`, what is put in place inside, what its processes know."""

    rows: Sequence[Mapping[str, str]]
    credit: Credit
    variables: Mapping[str, str]


def run_on_prompts(context: Context, job: Job, *, asked: Asked, spoken: SpokenTurns) -> TrainingResult:
    """Have OpenRLHF draw and train on whole rounds of these prompts; the rest of them is left out, counted.

    A killed run goes on from the last state that OpenRLHF kept. The candidate is examined on `spoken`.
    Raises ConfigError when the prompts do not fill one round.
    """
    from itpo_core.trainers.checkpoints import Checkpoints
    from itpo_core.trainers.examination import examined
    from itpo_core.trainers.openrlhf_trainer import TAKEN, OpenRlhfRun

    config, place = context.config, place_of(context, job)
    flags, work = flags_of(config, context.iteration, place=place), Path(place.folder)
    whole = whole_rounds(asked.rows, flags)
    budget = {"ITPO_FAILURE_BUDGET": str(config.collect.failure_budget)}
    run = OpenRlhfRun(
        process_of(config, {**asked.variables, **budget}),
        flags,
        steps=len(whole) // flags.prompts_per_step * flags.episodes,
    )
    parent, batch = context.policy_folder(job.parent), examination_batch(context, spoken)
    result = run(
        asked.credit,
        # The folder's name says all that it is made from.
        Checkpoints(work, job.out_folder, fingerprint=work.name),
        start_folder=parent,
        stage=lambda: write_prompts(Path(place.prompts), whole),
        examine=lambda: examined(
            work / TAKEN, parent, batch=batch, conversations=cluster_of(config).examined
        ),
        on_step=job.on_progress,
    )
    left_out = {"prompts": float(len(whole)), "prompts_left_out": float(len(asked.rows) - len(whole))}
    return replace(result, summary={**result.summary, **left_out})


def whole_rounds(rows: Sequence[Mapping[str, str]], flags: OpenRlhfFlags) -> Sequence[Mapping[str, str]]:
    """As many rows as fill rounds: after one that fills no batch OpenRLHF ends well, without a step."""
    kept = len(rows) // flags.prompts_per_step * flags.prompts_per_step
    if kept == 0:
        raise ConfigError(
            f"{len(rows)} prompts do not fill one round of openrlhf.prompts_per_step "
            f"{flags.prompts_per_step}: lower it, or collect more"
        )
    return rows[:kept]


def examination_batch(context: Context, spoken: SpokenTurns) -> TrainingBatch:
    """The parent's conversations without credit."""
    of = spoken.streams
    return TrainingBatch(
        tokens_BT=of.tokens_BT,
        is_policy_BT=of.is_policy_BT,
        behaviour_logprobs_BT=of.behaviour_logprobs_BT,
        advantages_BT=of.behaviour_logprobs_BT * 0,
        lengths_B=of.lengths_B,
        policy_versions=spoken.policy_versions,
        temperature=context.config.sampling.temperature or 1.0,
    )


def committed_step(context: Context, step: PolicySettings) -> PolicySettings:
    """The step as it would be made here, in OpenRLHF's form: batches and dual clip are the cluster's."""
    cluster = cluster_of(context.config)
    return replace(
        step,
        minibatch_conversations=cluster.batch,
        micro_batch=cluster.micro_batch,
        dual_clip=cluster.dual_clip,
    )


def process_of(config: Config, variables: Mapping[str, str] = MappingProxyType({})) -> OpenRlhfJob:
    """How OpenRLHF is started on this machine. Raises ConfigError when its interpreter is not there."""
    cluster = cluster_of(config)
    # Not resolved: the link is what makes it the environment's.
    interpreter = Path(located(cluster, cluster.python))
    if not interpreter.is_file():
        raise ConfigError(
            f"openrlhf.python {str(interpreter)!r} is not on this machine: name the interpreter that has "
            "OpenRLHF, run this stage as a job of the cluster ([ray] stages), or, on a CPU, "
            "make .venv-openrlhf/.installed"
        )
    return DEVICES[cluster.device](cluster, interpreter, variables)


def tidy(context: Context, job: Job) -> None:
    """Keep OpenRLHF's log in the lake and remove the folder: optimiser states are large."""
    folder = Path(place_of(context, job).folder)
    log = folder / LOG
    if log.is_file():
        name = f"openrlhf-{context.iteration:04d}-{context.attempt[:12]}"
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
        run_logs.keep(context.store, context.experiment, name=name, lines=lines)
    shutil.rmtree(folder, ignore_errors=True)


def _on_gpu(cluster: OpenRlhf, interpreter: Path, variables: Mapping[str, str]) -> OpenRlhfJob:
    given = {**_common(interpreter, [repository_root()]), **variables}
    return OpenRlhfJob(interpreter, cluster.timeout_s, variables=given)


def _on_cpu(cluster: OpenRlhf, interpreter: Path, variables: Mapping[str, str]) -> OpenRlhfJob:
    given = {**_common(interpreter, [CPU_FOLDER, repository_root()]), **CPU_VARIABLES, **variables}
    entry = (str(CPU_FOLDER / "launch.py"),)
    return OpenRlhfJob(interpreter, cluster.timeout_s, entry=entry, variables=given)


def _common(interpreter: Path, code: Sequence[Path]) -> dict[str, str]:
    return {
        "PATH": os.pathsep.join([str(interpreter.parent), os.environ.get("PATH", os.defpath)]),
        "PYTHONPATH": os.pathsep.join(map(str, code)),
        # Inside a job of the cluster Ray would refuse what both the job and its driver set.
        "RAY_OVERRIDE_JOB_RUNTIME_ENV": "1",
    }


DEVICES = MappingProxyType({"gpu": _on_gpu, "cpu": _on_cpu})
