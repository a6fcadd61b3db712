"""A version talks elsewhere, its log comes home, and the iteration goes on from it as from own rollouts."""

import shutil
from pathlib import Path

import pytest

from storage import commits, registry
from storage.deep_verification import verify_deep
from tasks import import_logs, pipeline
from tasks.context import Context
from tasks.export import Request
from tasks.export import run as export
from tests.loop.tiny import tiny_config

pytestmark = [pytest.mark.slow, pytest.mark.e2e, pytest.mark.timeout(1800)]


def run_stages(context: Context) -> None:
    for stage in pipeline.stages_of(context.iteration, context.config):
        pipeline.run_named(context, stage)


def talk_elsewhere(home: Path, elsewhere: Path) -> Path:
    """The log of version 0, which was carried away with a copy of its lake."""
    shutil.copytree(home, elsewhere)
    context = Context(tiny_config(elsewhere), 1)
    pipeline.run_named(context, "collect")
    path = elsewhere.parent / "production.jsonl"
    export(context, Request(path, "openai"))
    return path


def test_an_imported_iteration_is_curated_credited_trained_judged_and_decided(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ITPO_WORK", str(tmp_path / "work"))
    monkeypatch.setenv("ITPO_REPORTS", str(tmp_path / "reports"))
    home = tmp_path / "lake"
    run_stages(Context(tiny_config(home), 0))
    log = talk_elsewhere(home, tmp_path / "elsewhere" / "lake")
    import_logs.run(Context(tiny_config(home, experiment="production", logs__paths=[str(log)]), 0))

    context = Context(tiny_config(home, collect__imported="production"), 1)
    run_stages(context)

    turns = commits.read_table(context.store, context.read("rollouts"), table="turns")
    assert set(turns.column("propensity").to_pylist()) == {"recomputed"}
    assert context.read("rollouts").parents.keys() == {"imported", "policy"}
    assert registry.versions(context.store, "tiny")[-1].parent == "tiny/v0000"
    assert [event.event_id for event in registry.events(context.store, "tiny")][-1] == "decide/0001"
    assert verify_deep(context.store, "tiny").problems == ()
