"""Report: one self-contained page for the iteration and one for the experiment, committed, and copied out."""

import hashlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from storage import commits, weights
from storage.commits import Commit
from storage.paths import repository_root
from tasks import from_logs, metrics
from tasks.context import Context, StageResult, finished
from tasks.fidelity import Comparison, in_the_report
from tasks.report_data import KINDS, current_version, experiment_facts, find_decision, viewer_panel
from tasks.report_pages import experiment_html, iteration_html, page_name

INDEX = "index.html"


def run(context: Context) -> StageResult:
    """Render both pages, commit them once the iteration is decided, and copy them out with the metrics.

    Before the decision, as after an import alone, there is more to come: the pages are rendered anew each
    time and belong to no commit. Raises MissingCommit when the iteration has no rollouts.
    """
    decision = find_decision(context, context.iteration)
    if decision is None:
        pages = {name: text.encode() for name, text in render_pages(context).items()}
        digest = hashlib.sha256(b"".join(pages.values())).hexdigest()
        not_yet = f"{context.key('report').text} (not committed: no decision yet)"
        return StageResult("report", not_yet, digest, False, copy_for_people(context, pages))
    existing = context.find("report")
    parents = {**_digests(context), "registry": decision.digest}
    if existing is not None:
        commits.check_inputs(existing, parents=parents, inputs={}, store=context.store)
    commit = existing or commit_pages(context, render_pages(context), parents=parents)
    pages = {name: commits.checked_bytes(context.store, entry) for name, entry in commit.artifacts.items()}
    return finished("report", commit, resumed=existing is not None, figures=copy_for_people(context, pages))


def render_pages(context: Context) -> dict[str, str]:
    """Both pages by file name."""
    facts, config = experiment_facts(context), context.config
    return {
        page_name(context.iteration): iteration_html(
            facts[-1], config, viewer=viewer_panel(context), users=users_of(context)
        ),
        INDEX: experiment_html(facts, config, current=current_version(context)),
    }


def users_of(context: Context) -> Comparison | None:
    """Simulated users beside the logged ones, on the page of the logs; None elsewhere, or without users."""
    shown = context.iteration == 0 and from_logs.has_users(context.config)
    return in_the_report(context) if shown else None


def commit_pages(context: Context, pages: Mapping[str, str], *, parents: Mapping[str, str]) -> Commit:
    """The pages as artifacts of the iteration's report."""
    key = context.key("report")
    artifacts = {
        name: weights.put_bytes(context.store, key, name=name, data=text.encode())
        for name, text in pages.items()
    }
    return commits.commit(
        context.store,
        key,
        tables={},
        parents=parents,
        inputs={},
        artifacts=artifacts,
        attempt=context.attempt,
    )


def copy_for_people(context: Context, pages: Mapping[str, bytes]) -> dict[str, str]:
    """Pages and metrics under `reports/<experiment>/`, and where the pages are; the lake keeps the truth."""
    folder = reports_folder(context)
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in pages.items():
        (folder / name).write_bytes(data)
    rows = [
        row
        for kind in ("policy", "reward", "q")
        if (found := context.find(kind)) is not None
        for row in commits.read_table(context.store, found, table="metrics").to_pylist()
    ]
    name = f"iteration-{context.iteration:04d}"
    metrics.write_jsonl(rows, folder / "metrics" / f"{name}.jsonl")
    shutil.rmtree(
        folder / "tensorboard" / name, ignore_errors=True
    )  # a second file would show every point twice
    metrics.write_events(rows, folder / "tensorboard" / name)
    return {"page": str(folder / page_name(context.iteration)), "experiment_page": str(folder / INDEX)}


def reports_folder(context: Context) -> Path:
    """Where people find this experiment's pages."""
    return reports_root() / context.experiment


def reports_root() -> Path:
    """Where people find the pages of every experiment: in ITPO_REPORTS, else in the checkout."""
    return Path(os.environ.get("ITPO_REPORTS", repository_root() / "reports"))


def _digests(context: Context) -> dict[str, str]:
    found = {kind: context.find(kind) for kind in KINDS}
    return {kind: commit.digest for kind, commit in found.items() if commit is not None}
