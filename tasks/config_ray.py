"""Which stages run as jobs of a Ray cluster, with what, and for how long."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints

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


class Ray(Section):
    """Where stages run; nothing here changes data, and none of it is part of a digest.

    `up` and `down` are commands that make the cluster before its first job and remove it after the last.
    """

    address: Address = "http://127.0.0.1:8265"  # the head's dashboard; ITPO_RAY_ADDRESS goes before it
    stages: tuple[Literal["warm_start", "fit_reward", "fit_q", "train_policy"], ...] = ()
    interpreter: Absolute | None = None  # on the cluster; None: the one that runs the scheduler's tasks
    working_dir: Absolute | None = None  # the checkout on the cluster; None: at the same place as here
    env: tuple[VariableName, ...] = ("ITPO_LAKE", "ITPO_WORK")  # handed on where they are set
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
