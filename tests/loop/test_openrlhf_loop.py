"""OpenRLHF as the loop's trainer, with a process in its place that takes its flags and leaves its files.

What OpenRLHF itself does with them is `make test-openrlhf`.
"""

import json
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from itpo_core.tiny_policy import PolicyFolderError
from itpo_core.trainers.openrlhf_job import OpenRlhfFailedError
from storage import registry, run_logs
from storage.stores import open_store
from tasks import pipeline, train_policy
from tasks.config import ConfigError
from tasks.context import Context
from tasks.metrics import figures_of
from tasks.training import Job
from tests.loop.tiny import tiny_config

FAKE = Path(__file__).with_name("fake_openrlhf.py")
SETTINGS: dict[str, Any] = {  # Any: JSON values by key
    "collect__conversations": 32,
    "train__trainer": "openrlhf_ray",
    "openrlhf__device": "cpu",
    "openrlhf__packing": False,
    "openrlhf__attention": "eager",
    "openrlhf__gpus_per_node": 1,
    "openrlhf__prompts_per_step": 16,
    "openrlhf__batch": 16,
    "openrlhf__micro_batch": 4,
}
pytestmark = pytest.mark.slow


class Place:
    """A lake with the offline iteration, and what stands where OpenRLHF's interpreter stands."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.calls_file = folder, folder / "calls"
        self.interpreter = folder / "python"
        self.interpreter.write_text(f'#!/bin/sh\nshift\nexec {sys.executable} {FAKE} "$@"\n')
        self.interpreter.chmod(0o755)

    def context(self, iteration: int, **changes: object) -> Context:
        named = {
            "openrlhf__python": str(self.interpreter),
            "openrlhf__stage_folder": str(self.folder / "stage"),
        }
        return Context(tiny_config(self.folder / "lake", **{**SETTINGS, **named, **changes}), iteration)

    @property
    def calls(self) -> list[dict[str, Any]]:  # Any: JSON
        return [json.loads(line) for line in self.calls_file.read_text().splitlines()]


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A lake with the offline iteration and the conversations of the next."""
    folder = tmp_path_factory.mktemp("openrlhf")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ITPO_WORK", str(folder / "work"))
        patch.setenv("ITPO_REPORTS", str(folder / "reports"))
        place = Place(folder)
        run_stages(place.context(0), pipeline.OFFLINE_STAGES)
        run_stages(place.context(1), ("collect", "curate"))
        yield folder


@pytest.fixture
def place(start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A place of one's own that begins the same."""
    shutil.copytree(start / "lake", tmp_path / "lake")
    made = Place(tmp_path)
    monkeypatch.setenv("FAKE_OPENRLHF_CALLS", str(made.calls_file))
    return made


def run_stages(context: Context, stages: Sequence[str]) -> None:
    for stage in stages:
        pipeline.run_named(context, stage)


def versions(place: Place) -> list[str]:
    return [version.name for version in registry.versions(open_store(str(place.folder / "lake")), "tiny")]


WAYS: Mapping[str, tuple[dict[str, Any], str]] = {
    "committed": ({}, "committed"),
    "replies": (
        {"credit__algorithm": "iterative_ppo", "credit__profile": "openrlhf", "improve__gate": "ignored",
         "credit__advantage": "reinforce_pp"}, "replies",
    ),
    "online": ({"openrlhf__rollouts": "online", "openrlhf__samples_per_prompt": 4,
                "openrlhf__prompts_per_step": 4}, "online"),
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_what_openrlhf_made_becomes_a_version_and_its_folder_goes(place: Place, way: str) -> None:
    changes, credit = WAYS[way]
    context = place.context(1, **changes)

    run_stages(context, pipeline.ONLINE_STAGES[2:6])

    (call,) = place.calls
    figures = figures_of(context.store, context.read("policy"))
    assert (call["credit"], versions(place)) == (credit, ["tiny/v0000", "tiny/v0001"])
    assert figures["train_policy/moved_share"] > 0.9
    # Half a percent of noise on every weight is a divergence, and the parent's own words were its own.
    assert figures["train_policy/final_kl"] > 0
    assert figures["train_policy/logprob_gap_max"] < 1e-4
    assert list((place.folder / "stage").glob("*/*")) == []
    (kept,) = run_logs.names(context.store, "tiny", prefix="openrlhf-")
    assert kept.startswith("openrlhf-0001-")


@pytest.mark.parametrize(
    ("fault", "words"),
    [("no step", "after 0 of 1 steps"), ("no weights", "the training ended before it wrote its weights")],
)
def test_a_job_that_ended_well_without_its_work_is_no_candidate_and_the_next_attempt_is(
    place: Place, monkeypatch: pytest.MonkeyPatch, fault: str, words: str
) -> None:
    context = place.context(1)
    run_stages(context, pipeline.ONLINE_STAGES[2:5])
    monkeypatch.setenv("FAKE_OPENRLHF", fault)
    with pytest.raises((OpenRlhfFailedError, PolicyFolderError), match=words):
        pipeline.run_named(context, "train_policy")
    assert versions(place) == ["tiny/v0000"]

    monkeypatch.delenv("FAKE_OPENRLHF")
    pipeline.run_named(place.context(1), "train_policy")

    assert versions(place) == ["tiny/v0000", "tiny/v0001"]
    assert len(place.calls) == 2


def test_a_training_that_was_finished_and_not_committed_is_not_done_again(place: Place) -> None:
    context = place.context(1)
    run_stages(context, pipeline.ONLINE_STAGES[2:5])
    sources = {"credit": context.read("credit"), "policy": context.read("policy", 0)}
    job = Job(sources, train_policy.parent_version(context), place.folder / "made", lambda done, total: None)
    step = train_policy.step_of(context.config)

    first = step.train(context, job)
    again = step.train(context, replace(job, out_folder=place.folder / "again"))

    assert len(place.calls) == 1
    assert again == first
    weights = [(place.folder / name / "model.safetensors").read_bytes() for name in ("made", "again")]
    assert weights[0] == weights[1]


def test_an_interpreter_that_is_not_there_is_named_with_the_remedy(place: Place) -> None:
    context = place.context(1)
    run_stages(context, pipeline.ONLINE_STAGES[2:5])
    place.interpreter.unlink()

    with pytest.raises(ConfigError, match=r"openrlhf\.python .* is not on this machine: .*\[ray\] stages"):
        pipeline.run_named(context, "train_policy")


def test_prompts_that_fill_no_round_are_refused_before_anything_starts(place: Place) -> None:
    changes, _ = WAYS["online"]
    context = place.context(1, **changes | {"openrlhf__prompts_per_step": 16})
    run_stages(context, pipeline.ONLINE_STAGES[2:5])

    with pytest.raises(
        ConfigError, match=r"4 prompts do not fill one round of openrlhf\.prompts_per_step 16"
    ):
        pipeline.run_named(context, "train_policy")
    assert not place.calls_file.exists()
