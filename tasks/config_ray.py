"""Which stages run as jobs of a Ray cluster, with what, and for how long."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from tasks.config_parts import NonNegative, Positive, PositiveFloat, Section

SECRET = re.compile(r"SECRET|PASSWORD|PASSWD|TOKEN|CREDENTIAL|(^|_)KEY")


def _no_secret(name: str) -> str:
    if SECRET.search(name):
        raise ValueError(
            "Ray shows a job's variables to everybody who reaches its dashboard: give secrets to the "
            "cluster's machines, not to the job"
        )
    return name


Address = Annotated[str, StringConstraints(pattern=r"^https?://[^/\s]+/?$")]
Absolute = Annotated[str, StringConstraints(pattern=r"^/[^\n]*$")]
VariableName = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$"), AfterValidator(_no_secret)
]


class Rollouts(Section):
    """Workers that make the shards of collect at the same time, each with an engine of its own.

    The other keys are what one worker holds while it lives, by Ray's names.
    """

    workers: Positive | None = None  # at most; None: one per shard, as far as the cluster has room
    num_cpus: NonNegative = 1.0
    num_gpus: NonNegative = 0.0
    resources: dict[str, PositiveFloat] = Field(default_factory=dict)
    tries: Positive = 3  # of one shard
    start_deadline_s: PositiveFloat = 600.0  # how long the cluster may have room for no worker at all
    shard_timeout_s: PositiveFloat = 21600.0

    @model_validator(mode="after")
    def _holds_something(self) -> "Rollouts":
        if not (self.num_cpus or self.num_gpus or self.resources):
            raise ValueError(
                "a worker that holds nothing is put anywhere, all of them on one machine: "
                "set ray.rollouts.num_cpus or num_gpus above 0"
            )
        if self.num_gpus > 1:
            raise ValueError(
                f"ray.rollouts.num_gpus {self.num_gpus}: an engine uses one GPU; set it to at most 1"
            )
        return self


class Ray(Section):
    """Where stages run; nothing here changes data, and none of it is part of a digest.

    `up` and `down` are commands that make the cluster before its first job and remove it after the last.
    """

    address: Address = "http://127.0.0.1:8265"  # the head's dashboard; ITPO_RAY_ADDRESS goes before it
    stages: tuple[Literal["collect", "warm_start", "fit_reward", "fit_q", "train_policy"], ...] = ()
    interpreter: Absolute | None = None  # on the cluster; None: the one that runs the scheduler's tasks
    working_dir: Absolute | None = None  # the checkout on the cluster; None: at the same place as here
    env: tuple[VariableName, ...] = ("ITPO_LAKE", "ITPO_WORK")  # handed on where they are set
    rollouts: Rollouts | None = None  # None: a process makes its shards by itself
    num_cpus: NonNegative = 0.0
    num_gpus: NonNegative = 0.0
    resources: dict[str, PositiveFloat] = Field(default_factory=dict)
    version: str | None = None  # Ray's on the cluster; None: any
    attempts: Positive = 10
    pending_deadline_s: PositiveFloat = 600.0
    timeout_s: PositiveFloat = 86400.0
    unreachable_s: PositiveFloat = 120.0  # how long a head may be silent in the middle of a job
    poll_s: PositiveFloat = 5.0
    up: tuple[tuple[str, ...], ...] = ()
    down: tuple[tuple[str, ...], ...] = ()
    up_timeout_s: PositiveFloat = 1800.0
