"""A worker of a cluster in this process: what it writes is what every other process writes."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage import commits, registry
from storage.registry import PolicyVersion
from tasks import pipeline
from tasks.build import Speaker
from tasks.collect import fresh_speaker
from tasks.context import Context
from tasks.shard_maker import ShardMaker
from tasks.shard_work import Cause, Ended
from tests.loop.tiny import tiny_config

SMALL = {
    "collect__conversations": 32,
    "collect__shards": 2,
    "warm_start__steps": 2,
    "logs__scripted_conversations": 32,
    "logs__scripted_requests": 32,
}


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A lake with a policy that has learnt nothing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ITPO_WORK", str(tmp_path_factory.mktemp("work")))
        patch.setenv("ITPO_REPORTS", str(tmp_path_factory.mktemp("reports")))
        lake = tmp_path_factory.mktemp("start") / "lake"
        context = Context(tiny_config(lake, **SMALL), 0)
        for stage in ("import", "curate", "warm_start"):
            pipeline.run_named(context, stage)
        promote(context)
        yield lake


def promote(context: Context) -> None:
    """Version 0 is current without an evaluation."""
    name = registry.version_name("tiny", 0)
    event = {"event_id": "decide/0000", "action": "promote", "version": name, "reason": "test"}
    registry.record_decision(context.store, "tiny", **event, evidence={})


def copied(start: Path, folder: Path) -> Context:
    shutil.copytree(start, folder)
    return Context(tiny_config(folder, **SMALL), 1)


@pytest.mark.slow
def test_a_worker_loads_the_policy_once_and_makes_the_shards_of_one_process(
    start: Path, tmp_path: Path
) -> None:
    here, there = copied(start, tmp_path / "here"), copied(start, tmp_path / "there")
    loaded = list[str]()

    def counted(context: Context, policy: PolicyVersion) -> Speaker:
        loaded.append(policy.name)
        return fresh_speaker(context, policy)

    wanted = pipeline.run_named(here, "collect")
    maker = ShardMaker(there.config, 1, counted)

    said = [maker.make(shard) for shard in (1, 0, 1)]

    found = pipeline.run_in(there, "collect")
    assert [ended.cause for ended in said] == [None] * 3
    assert loaded == ["tiny/v0000"]
    assert found["digest"] == wanted["digest"]


@pytest.mark.slow
def test_an_error_is_an_answer_and_one_that_would_come_again_is_told_apart(
    start: Path, tmp_path: Path
) -> None:
    context = copied(start, tmp_path / "lake")
    ShardMaker(context.config, 1).make(0)

    other = ShardMaker(tiny_config(tmp_path / "lake", **SMALL, sampling__temperature=0.5), 1).make(0)
    shutil.rmtree(tmp_path / "lake" / "tiny" / "policy")
    broken = ShardMaker(context.config, 1).make(1)

    assert other.cause is Cause.REFUSED
    assert "ConflictingCommit" in other.message
    assert isinstance(broken, Ended)
    assert broken.cause in (Cause.FAILED, Cause.REFUSED)
    assert commits.read_shard(context.store, context.key("rollouts"), shard=1) is None
    assert registry.find_current(context.store, "tiny") is not None
