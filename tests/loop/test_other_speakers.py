"""Whole iterations that another engine speaks, and whole iterations that train an adapter.

All go on from one lake with the offline iteration alone.
"""

import json
import math
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM
from typer.testing import CliRunner

from itpo_core.tiny_policy import load_policy
from storage import registry
from storage.deep_verification import verify_deep
from tasks import merge, pipeline, why
from tasks.__main__ import app
from tasks.context import Context, work_root
from tasks.metrics import figures_of
from tasks.receipts import Desk
from tests.loop.served_policies import PolicyServer, serving_policies
from tests.loop.tiny import tiny_config, tiny_options

Settings = dict[str, Any]  # Any: JSON values by key
SMALL: Settings = {
    "logs__scripted_conversations": 64,
    "logs__scripted_requests": 64,
    "warm_start__steps": 20,
    "sampling__max_new_tokens": 8,
    "collect__conversations": 24,
    "collect__shards": 1,
    "evaluate__unseen_scenarios": 8,
    "evaluate__seen_scenarios": 8,
    "evaluate__bootstrap": 50,
}
LORA: Settings = {"train__lora": {"rank": 2, "alpha": 4.0, "targets": ["q_proj", "v_proj"]}}
SKEW, LIMIT = 0.7, 1.5
ADAPTER = {"adapter_config.json", "adapter_model.safetensors", "itpo_base.json"}
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A lake with the offline iteration; scratch files and report copies stay out of the checkout."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ITPO_WORK", str(tmp_path_factory.mktemp("work")))
        patch.setenv("ITPO_REPORTS", str(tmp_path_factory.mktemp("reports")))
        lake = tmp_path_factory.mktemp("start") / "lake"
        run_iteration(lake, 0, {})
        yield lake


@pytest.fixture(scope="module")
def adapted(start: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two iterations more, each of which trained an adapter."""
    lake = tmp_path_factory.mktemp("adapted") / "lake"
    shutil.copytree(start, lake)
    for iteration in (1, 2):
        run_iteration(lake, iteration, LORA)
    return lake


def context_of(lake: Path, iteration: int, settings: Settings) -> Context:
    return Context(tiny_config(lake, **{**SMALL, **settings}), iteration)


def run_iteration(lake: Path, iteration: int, settings: Settings) -> list[bool]:
    """Every stage but the report in process; which were committed already."""
    context = context_of(lake, iteration, settings)
    stages = [stage for stage in pipeline.stages_of(iteration, context.config) if stage != "report"]
    return [bool(pipeline.run_named(context, stage)["resumed"]) for stage in stages]


def served_by(server: PolicyServer) -> Settings:
    """Rollouts and evaluations through the server, which says which version it serves."""
    return {
        "collect__engine": "openai_api",
        "engine__address": server.address,
        "engine__model": "{policy}",
        "engine__gap_limit": LIMIT,
    }


def policy_figures(context: Context) -> Mapping[str, float]:
    found = figures_of(context.store, context.read("policy"))
    return {name.removeprefix("train_policy/"): value for name, value in found.items()}


def version_name(context: Context) -> str:
    """The name of the folder in which this machine keeps the weights of the iteration's version."""
    return context.read("policy").digest[:32]


def test_a_whole_iteration_through_a_server_weighs_what_its_probabilities_are_off(
    start: Path, tmp_path: Path
) -> None:
    lake = tmp_path / "lake"
    shutil.copytree(start, lake)

    with serving_policies(work_root() / "weights", skew=SKEW) as server:
        run_iteration(lake, 1, served_by(server))
        asked = server.answers
        again = run_iteration(lake, 1, served_by(server))

    context = context_of(lake, 1, {})
    figures = policy_figures(context)
    decided = [event.event_id for event in registry.events(context.store, "tiny")]
    assert server.policies.keys() == {version_name(context_of(lake, iteration, {})) for iteration in (0, 1)}
    assert (server.answers, all(again)) == (asked, True)
    assert figures["gap_ratio_max"] == pytest.approx(math.exp(SKEW), rel=1e-3)
    assert figures["gap_ratio_q01"] == pytest.approx(1.0, abs=1e-3)
    assert 0.2 < figures["gap_truncated_share"] < 0.8
    assert figures["gap_masked_share"] == 0
    assert json.loads(context.read("policy").inputs["engine"]) == {"gap": "truncated", "gap_limit": LIMIT}
    assert "decide/0001" in decided
    assert verify_deep(context.store, None).problems == ()


def test_two_iterations_keep_adapters_of_one_base_which_their_receipts_name(adapted: Path) -> None:
    contexts = [context_of(adapted, iteration, LORA) for iteration in (0, 1, 2)]
    desk = Desk(contexts[0].store, "tiny")
    base, *candidates = [context.read("policy") for context in contexts]

    receipts = [why.receipt_of(desk, f"tiny/v000{iteration}") for iteration in (0, 1, 2)]

    assert [commit.artifacts.keys() for commit in candidates] == [ADAPTER, ADAPTER]
    assert candidates[0].digest != candidates[1].digest
    assert receipts[0]["base"] is None
    assert [receipt["base"] for receipt in receipts[1:]] == [
        {
            "version": "tiny/v0000",
            "digest": base.digest,
            "weights": {"model.safetensors": base.artifacts["model.safetensors"].sha256},
        }
    ] * 2
    assert [receipt["breaks"] for receipt in receipts] == [[], [], []]
    assert verify_deep(contexts[0].store, None).problems == ()


def test_an_adapter_of_the_lake_is_merged_on_command_and_loads_as_whole_weights(
    adapted: Path, tmp_path: Path
) -> None:
    out = tmp_path / "whole"

    told = CliRunner().invoke(app, ["merge", "tiny/v0002", "--out", str(out), *tiny_options(adapted)[:6]])

    assert told.exit_code == 0, told.output
    assert "logits differ by at most" in told.output
    assert AutoModelForCausalLM.from_pretrained(out).num_parameters() > 0
    assert not ADAPTER & {path.name for path in out.iterdir()}


@pytest.mark.e2e
def test_another_loop_starts_from_the_merged_folder(adapted: Path, tmp_path: Path) -> None:
    out, adapter = tmp_path / "whole", context_of(adapted, 2, LORA)
    merge.run(adapter.artifact_folder(adapter.read("policy")), out)
    context = context_of(tmp_path / "lake", 0, {"model__folder": str(out), "warm_start__steps": 2})

    for stage in pipeline.stages_of(0, context.config):
        pipeline.run_named(context, stage)
        if stage == "warm_start":
            break

    began, went_on = load_policy(out)[0], load_policy(context.artifact_folder(context.read("policy")))[0]
    assert began.num_parameters() == went_on.num_parameters()
    moved = [
        float((before - after).detach().abs().max())
        for before, after in zip(began.parameters(), went_on.parameters(), strict=True)
    ]
    assert 0 < max(moved) < 0.1
