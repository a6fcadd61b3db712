"""The shards of collect as tasks: each by itself here, or all of them as one job of a cluster."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from dags.ray_job import NothingToStart, RayCollectOperator
from storage import registry
from storage.registry import PolicyVersion
from storage.stores import open_store
from tasks import pipeline
from tasks.cluster import StageJob

HERE = 'experiment = "shop"\n[collect]\nshards = 3\n'


@dataclass(frozen=True, slots=True)
class Here:
    """A configuration that names no stage for the cluster."""

    iteration: int = 1
    stage: str = "collect"

    def job(self) -> StageJob | None:
        return None


class Told(RayCollectOperator):
    """The operator there, saying what it would run."""

    def place(self, context: object) -> Here:
        return Here()


def planned(folder: Path, text: str) -> dict[str, Any]:
    """What a run plans behind a decided iteration 0."""
    path, lake = folder / "shop.toml", folder / "lake"
    path.write_text(text + f'[lake]\nroot = "{lake}"\n')
    store, name = open_store(str(lake)), registry.version_name("shop", 0)
    version = PolicyVersion(
        name, "shop", 0, parent=None, commit_digest="0" * 64, commit_key="shop/policy/0000"
    )
    registry.register_candidate(store, version)
    registry.record_decision(
        store, "shop", event_id="decide/0000", action="promote", version=name, reason="test", evidence={}
    )
    return pipeline.plan(str(path), {}, run_id="second")


def test_without_a_cluster_every_shard_is_a_task(tmp_path: Path) -> None:
    assert planned(tmp_path, HERE)["shards"] == [0, 1, 2]


def test_on_a_cluster_all_shards_are_one_task(tmp_path: Path) -> None:
    assert planned(tmp_path, HERE + '[ray]\nstages = ["collect"]\n')["shards"] == [None]


def test_a_task_for_all_shards_runs_nothing_here_once_the_configuration_has_changed() -> None:
    task = Told(task_id="collect", shard=None)

    with pytest.raises(NothingToStart, match="clear the task plan"):
        task.execute({})
