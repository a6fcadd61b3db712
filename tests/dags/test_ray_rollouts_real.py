"""Shards on a real Ray cluster of two nodes: the same data as in one process, also when a node dies."""

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from dags import ray_jobs
from dags.local_airflow import free_port
from dags.ray_jobs import JobRequest, JobStatus
from storage import commits, leases
from storage.facts import read_facts
from tasks import cluster, pipeline
from tasks.config import Config, load
from tasks.context import Context
from tests.dags.real_ray_head import RealHead, RealNode
from tests.loop.tiny import CONFIG_FILE, TINY

SHARDS = 6
SMALL: dict[str, Any] = {  # Any: JSON values by dotted key
    **TINY,
    "collect.conversations": 192,
    "collect.shards": SHARDS,
    "warm_start.steps": 20,
    "evaluate.unseen_scenarios": 8,
    "evaluate.seen_scenarios": 8,
    "lake.lease_ttl_s": 10.0,
    "ray.stages": ["collect"],
}
ENDED_S = 400.0
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1500)]


@dataclass(frozen=True, slots=True)
class Nodes:
    """A head without CPUs and two nodes with one each."""

    head: RealHead
    nodes: tuple[RealNode, RealNode]


@pytest.fixture(scope="module")
def surroundings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ITPO_WORK", str(tmp_path_factory.mktemp("work")))
        patch.setenv("ITPO_REPORTS", str(tmp_path_factory.mktemp("reports")))
        yield


@pytest.fixture(scope="module")
def start(surroundings: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake with a policy."""
    lake = tmp_path_factory.mktemp("start") / "lake"
    config = config_of(lake)
    for stage in pipeline.stages_of(0, config):
        pipeline.run_named(Context(config, 0), stage)
    return lake


@pytest.fixture
def two_nodes() -> Iterator[Nodes]:
    head = RealHead(port=free_port(21000 + os.getpid() % 9000), cpus=0)  # not where other tests start theirs
    nodes = (RealNode(head), RealNode(head))
    try:
        head.start()
        for node in nodes:
            node.start()
        yield Nodes(head, nodes)
    finally:
        for each in (*nodes, head):
            each.remove()


def overrides_of(lake: Path) -> dict[str, Any]:
    return {**SMALL, "lake.root": str(lake)}


def config_of(lake: Path, **changes: Any) -> Config:
    return load(CONFIG_FILE, overrides={**overrides_of(lake), **changes})


def context_of(lake: Path) -> Context:
    return Context(config_of(lake), 1)


def copied(start: Path, folder: Path, name: str) -> Path:
    shutil.copytree(start, folder / name)
    return folder / name


def submitted(head: RealHead, lake: Path, name: str) -> str:
    """The stage as the operator would submit it, with workers on the nodes."""
    there = {**overrides_of(lake), "ray.rollouts": {"num_cpus": 1.0, "start_deadline_s": 300.0}}
    job = cluster.job_of("collect", str(CONFIG_FILE), overrides=there, iteration=1)
    assert job is not None
    env = {**job.env, "ITPO_WORK": os.environ["ITPO_WORK"]}
    head.head.ask(ray_jobs.submit(JobRequest(name, job.entrypoint, env, job.owner, job.resources)))
    return name


def log_of(head: RealHead, name: str) -> str:
    """The job's log once it has ended well."""
    until(lambda: head.head.ask(ray_jobs.status(name)).status not in (JobStatus.PENDING, JobStatus.RUNNING))
    log = head.head.ask(ray_jobs.logs(name))
    assert head.head.ask(ray_jobs.status(name)).status is JobStatus.SUCCEEDED, log
    return log


def until(happened: Callable[[], object]) -> None:
    deadline = time.monotonic() + ENDED_S
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def manifests(lake: Path) -> Mapping[int, commits.ShardManifest]:
    """The shards that are there."""
    context = context_of(lake)
    found = {
        shard: commits.read_shard(context.store, context.key("rollouts"), shard=shard)
        for shard in range(SHARDS)
    }
    return {shard: manifest for shard, manifest in found.items() if manifest is not None}


def attempts_at(lake: Path) -> list[int]:
    """The shard of every attempt that made one, in order."""
    context = context_of(lake)
    return sorted(
        int(fact["shard"])
        for fact in read_facts(context.store, context.key("rollouts"))
        if fact["shard"] != -1
    )


def freeze_one_in_a_shard(lake: Path, node: RealNode) -> int:
    """Stop a worker of the node in the middle of a shard, with others already made; which shard it is."""
    store = context_of(lake).store
    frozen: list[int] = []

    def tried() -> bool:
        if not manifests(lake):
            return False
        for shard in range(SHARDS):
            lease = leases.read_lease(store, leases.lease_place("tiny", f"collect-0001-{shard:03d}"))
            pid = None if lease is None or lease.holder is None else lease.holder.process.pid
            if pid is None or pid not in node.pids():
                continue
            os.kill(pid, signal.SIGSTOP)
            if shard not in manifests(lake):
                frozen.append(shard)
                return True
            os.kill(pid, signal.SIGCONT)
        return False

    until(tried)
    return frozen[0]


def two_drivers_at_once_make_the_data_of_one_process(two: Nodes, lake: Path, *, digest: str) -> None:
    names = [submitted(two.head, lake, name) for name in ("one", "other")]

    logs = [log_of(two.head, name) for name in names]

    assert context_of(lake).read("rollouts").digest == digest
    assert attempts_at(lake) == list(range(SHARDS))
    print(*logs, sep="\n=====\n")
    assert "worker lost" not in "".join(logs)


def a_lost_node_costs_its_unfinished_shards_only(two: Nodes, lake: Path, *, digest: str) -> None:
    name = submitted(two.head, lake, "loses-a-node")
    shard = freeze_one_in_a_shard(lake, two.nodes[1])
    before = manifests(lake)

    two.nodes[1].kill()
    log = log_of(two.head, name)

    print(log)
    after = manifests(lake)
    assert {each: after[each] for each in before} == before
    assert context_of(lake).read("rollouts").digest == digest
    assert attempts_at(lake) == list(range(SHARDS))
    assert log.count("worker lost") == 1
    assert f"shard {shard:03d}: worker lost" in log
    assert "try 1 of 3: again" in log


def test_a_cluster_makes_the_data_of_one_process_also_when_a_node_dies(
    start: Path, two_nodes: Nodes, tmp_path: Path
) -> None:
    # One test: a cluster costs too much to be started twice.
    here = copied(start, tmp_path, "here")
    digest = pipeline.run_named(context_of(here), "collect")["digest"]

    two_drivers_at_once_make_the_data_of_one_process(
        two_nodes, copied(start, tmp_path, "both"), digest=digest
    )
    a_lost_node_costs_its_unfinished_shards_only(two_nodes, copied(start, tmp_path, "loss"), digest=digest)
