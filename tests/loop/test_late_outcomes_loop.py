"""Labels that come a week late: without them nothing is learnt, with them a policy that names their file."""

import json
from pathlib import Path

import pytest

from storage.deep_verification import verify_deep
from storage.digests import file_sha256
from tasks import curate, fit_reward, import_logs, late_outcomes, pipeline, warm_start
from tasks.config import Config, ConfigError
from tasks.context import Context
from tasks.export import Request
from tasks.export import run as export
from tasks.receipts import Desk
from tasks.why import receipt_of
from tests.loop.tiny import tiny_config

pytestmark = [pytest.mark.slow, pytest.mark.e2e, pytest.mark.timeout(1800)]


def write_unlabelled(folder: Path) -> tuple[Path, Path]:
    """Scripted talks as somebody logged them, without outcomes, and what a week later was told of them."""
    shop = Context(tiny_config(folder / "shop", logs__scripted_requests=0), 0)
    import_logs.run(shop)
    export(shop, Request(folder / "all.jsonl", "openai"))
    rows = [json.loads(line) for line in (folder / "all.jsonl").read_text().splitlines()]
    talks, crm = folder / "talks.jsonl", folder / "crm.csv"
    lines = [json.dumps({name: row[name] for name in row if name != "outcome"}) for row in rows]
    talks.write_text("\n".join(lines) + "\n")
    told = [f"{row['id']},{row['outcome']}" for row in rows]
    crm.write_text("\n".join(["key,outcome", *told, "nobody,1"]) + "\n")
    return talks, crm


def from_file(folder: Path, talks: Path, *outcomes: Path) -> Config:
    return tiny_config(
        folder / "lake",
        logs__paths=[str(talks)],
        outcomes__paths=[str(path) for path in outcomes],
        warm_start__practice="folded",
        warm_start__steps=40,
    )


def test_late_labels_open_the_fits_that_were_refused_without_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ITPO_WORK", str(tmp_path / "work"))
    monkeypatch.setenv("ITPO_REPORTS", str(tmp_path / "reports"))
    talks, crm = write_unlabelled(tmp_path)
    unlabelled = Context(from_file(tmp_path, talks), 0)
    import_logs.run(unlabelled)
    assert curate.run(unlabelled).figures == {"unscored": 160}
    for stage in (fit_reward, warm_start):
        with pytest.raises(ConfigError):
            stage.run(unlabelled)

    labelled = from_file(tmp_path, talks, crm)
    told = late_outcomes.run(Context(labelled, 0))
    for stage in pipeline.stages_of(0, labelled):
        pipeline.run_named(Context(labelled, 0), stage)

    receipt = receipt_of(Desk(unlabelled.store, "tiny"), "v0000")
    assert (told.figures["accepted"], told.figures["unmatched"], told.figures["unscored"]) == (160, 1, 0)
    assert [each["files"] for each in receipt["outcomes"]] == [{"crm.csv": file_sha256(crm)}]
    assert receipt["made_of"]["reward"]["commit"] == "tiny/reward/0000"
    assert receipt["made_of"]["curated"]["commit"] == "tiny/curated-0001/0000"
    assert receipt["breaks"] == []
    assert verify_deep(unlabelled.store, "tiny").problems == ()
