"""The commands of one training on the configured cluster, for people and for programs."""

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from itpo_core.trainers.openrlhf_flags import ENTRY, FlagValue, flag_values
from tasks.config import Config
from tasks.config_openrlhf import OpenRlhf, Server
from tasks.openrlhf import cluster_of, credit_of, flags_of

RAY_PORT = 6379
# What is put in place inside OpenRLHF, by the way in; `itpo_core.trainers.openrlhf_ray` reads it.
CREDIT_VARIABLE = "ITPO_CREDIT"


@dataclass(frozen=True, slots=True)
class Command:
    """One command: what for, where it is given, its first words and its flags."""

    name: str
    where: str
    words: tuple[str, ...]
    flags: tuple[FlagValue, ...]

    @property
    def argv(self) -> tuple[str, ...]:
        """All words, as a program would give them."""
        return (*self.words, *(word for flag in self.flags for word in (flag.name, *flag.values)))

    def text(self) -> str:
        """For a shell, one flag a line."""
        lines = [shlex.join(self.words), *(shlex.join((flag.name, *flag.values)) for flag in self.flags)]
        return " \\\n  ".join(lines)


def commands(config: Config, iteration: int) -> tuple[Command, ...]:
    """What to start, in this order. Raises ConfigError without a cluster."""
    cluster = cluster_of(config)
    served = () if cluster.server is None else (_serve(cluster.server),)
    return (_head(cluster), *_workers(cluster), *served, _train(config, cluster, iteration=iteration))


def as_text(shown: Sequence[Command]) -> str:
    """Every command below a line that says where it belongs."""
    return "\n\n".join(f"# {one.name}: {one.where}\n{one.text()}" for one in shown)


def as_json(shown: Sequence[Command]) -> list[dict[str, object]]:
    """Name, place and argv of every command."""
    return [{"name": one.name, "where": one.where, "argv": list(one.argv)} for one in shown]


def _head(cluster: OpenRlhf) -> Command:
    flags = (
        FlagValue("--head", ()),
        FlagValue("--port", (str(RAY_PORT),)),
        FlagValue("--num-gpus", (str(cluster.gpus_per_node),)),
        FlagValue("--dashboard-host", ("0.0.0.0",)),
        FlagValue("--dashboard-port", (str(urlsplit(cluster.head).port or 8265),)),
        FlagValue("--disable-usage-stats", ()),
    )
    return Command("ray head", "on the first node", ("ray", "start"), flags)


def _workers(cluster: OpenRlhf) -> tuple[Command, ...]:
    if cluster.nodes == 1:
        return ()
    flags = (
        FlagValue("--address", (f"{urlsplit(cluster.head).hostname}:{RAY_PORT}",)),
        FlagValue("--num-gpus", (str(cluster.gpus_per_node),)),
        FlagValue("--disable-usage-stats", ()),
    )
    where = f"on each of the other {cluster.nodes - 1} nodes"
    return (Command("ray worker", where, ("ray", "start"), flags),)


def _serve(server: Server) -> Command:
    flags = (
        FlagValue("--port", (str(server.port),)),
        FlagValue("--tensor-parallel-size", (str(server.gpus),)),
        FlagValue("--max-model-len", (str(server.max_context_tokens),)),
        FlagValue("--gpu-memory-utilization", (str(server.memory_share),)),
    )
    where = f"on {server.gpus} GPUs outside the Ray cluster"
    return Command("users and judge", where, ("vllm", "serve", server.model), flags)


def _train(config: Config, cluster: OpenRlhf, *, iteration: int) -> Command:
    variables = {"env_vars": {CREDIT_VARIABLE: credit_of(config)}}
    submit = ("ray", "job", "submit", "--address", cluster.head, "--runtime-env-json", json.dumps(variables))
    words = (*submit, "--", cluster.python, "-m", ENTRY)
    return Command("train", "anywhere", words, flag_values(flags_of(config, iteration)))
