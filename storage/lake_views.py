"""The views through which a person reads a lake, as one SQL script: committed files, listed one by one."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import pyarrow as pa

from storage import registry
from storage.manifests import Commit, FileEntry
from storage.objects import ObjectStore
from storage.paths import repository_root
from storage.receipt_views import receipt_views
from storage.revisions import family, present
from storage.scans import Reader, macros
from storage.schemas import SCHEMAS
from storage.sql_text import Literal, empty_select, literal, values_view, without_patterns

_LINEAGE = (("experiment", pa.string()), ("iteration", pa.int32()))
_EVENT = re.compile(r"(?P<experiment>[^/]+)/registry/\d{6}\.json")


@dataclass(frozen=True, slots=True)
class _View:
    """One base view: the rows of a table in all commits of some kinds."""

    name: str
    kinds: tuple[str, ...]
    table: str


VIEWS = (
    _View("conversations", ("rollouts",), "conversations"),
    _View("turns", ("rollouts",), "turns"),
    _View("calls", ("rollouts",), "calls"),
    _View("quarantine", ("rollouts",), "quarantine"),
    _View("logged_ids", ("rollouts",), "logged_ids"),
    _View("outcomes", ("rollouts",), "outcomes"),
    _View("curated", ("curated",), "curated"),
    _View("turn_scores", ("reward",), "turn_scores"),
    _View("turn_values", ("q",), "turn_values"),
    _View("credits", ("credit",), "credits"),
    _View("lab", ("lab",), "lab"),
    _View("measurements", ("runs",), "measurements"),
    _View("evaluations", ("evaluation",), "conversations"),
    _View("evaluation_conversations", ("evaluation",), "conversations"),
    _View("evaluation_turns", ("evaluation",), "turns"),
    _View("evaluation_calls", ("evaluation",), "calls"),
    _View("metrics", ("reward", "q", "credit", "policy", "evaluation"), "metrics"),
)
_POLICIES = MappingProxyType(
    {
        "experiment": "varchar",
        "seq": "integer",
        "action": "varchar",
        "version": "varchar",
        "iteration": "integer",
        "parent": "varchar",
        "commit_key": "varchar",
        "commit_digest": "varchar",
        "reason": "varchar",
        "evidence": "varchar",
        "event_id": "varchar",
        "is_current": "boolean",
    }
)


def browsed_commits(commits: Sequence[Commit], *, iteration: int | None = None) -> list[Commit]:
    """Of the commits of a lake those whose tables the views show: of one iteration, or of all (None).

    Of logs whose outcomes were joined later the newest revision, and what was curated from that.
    """
    kinds = {kind for view in VIEWS for kind in view.kinds}
    return [
        commit
        for commit in present(commits)
        if _family(commit) in kinds and iteration in (None, commit.key.iteration)
    ]


def viewed_files(commits: Sequence[Commit]) -> list[FileEntry]:
    """Every file that a view of these commits may read."""
    return [entry for commit in commits for entry in commit.files]


def views_sql(
    store: ObjectStore,
    commits: Sequence[Commit],
    *,
    reader: Reader,
    experiment: str | None,
    iteration: int | None = None,
    with_facts: bool = True,
) -> str:
    """SQL that creates every view over these commits, and the views of /sql/views.sql on top.

    Rows carry `experiment` and `iteration`, their own or else those of their commit, and `commit_iteration`.
    What commits were made from is told of all of them, whatever the iteration.
    """
    browsed = browsed_commits(commits, iteration=iteration)
    views = [
        f"create or replace view {view.name} as\n{_select(view, browsed, reader=reader)};\n" for view in VIEWS
    ]
    policies = _policies_view(store, experiment, iteration=iteration)
    on_top = (repository_root() / "sql" / "views.sql").read_text(encoding="utf-8")
    receipts = receipt_views(store, commits, with_facts=with_facts)
    return "\n".join([macros(), *views, policies, receipts, on_top])


def read_files(paths: Sequence[Path]) -> str:
    """A select over exactly these files, whatever characters are in their paths."""
    names = ", ".join(literal(without_patterns(str(path.absolute()))) for path in paths)
    # Folders are named iteration=0003, but the files hold their own columns: the path adds none.
    return f"select * from read_parquet([{names}], hive_partitioning = false, union_by_name = true)"


def _family(commit: Commit) -> str:
    """The kind without what follows a dash: `lab-1f0c…` has one commit per choice of settings."""
    return family(commit.key.kind)


def _select(view: _View, commits: Sequence[Commit], *, reader: Reader) -> str:
    schema = SCHEMAS[view.table]
    missing = [pa.field(name, kind) for name, kind in _LINEAGE if name not in schema.names]
    whole = pa.schema([*missing, *schema, pa.field("commit_iteration", pa.int32())])
    parts = [empty_select(whole)]
    for commit in commits:
        entries = [entry for entry in commit.files if entry.table == view.table]
        if entries and _family(commit) in view.kinds:
            added = _lineage_of(commit, [field.name for field in missing])
            parts.append(f"select {added} from ({reader.select(view.table, entries)})")
    return "\nunion all by name ".join(parts)


def _lineage_of(commit: Commit, missing: Sequence[str]) -> str:
    values = {"experiment": literal(commit.key.experiment), "iteration": str(commit.key.iteration)}
    added = [f"{values[name]} as {name}" for name in missing]
    return ", ".join([*added, "*", f"{commit.key.iteration} as commit_iteration"])


def _policies_view(store: ObjectStore, experiment: str | None, *, iteration: int | None) -> str:
    rows = [
        row
        for name in _experiments(store, experiment)
        for row in _policy_rows(store, name, iteration=iteration)
    ]
    return values_view("policies", columns=_POLICIES, rows=rows)


def _policy_rows(store: ObjectStore, experiment: str, *, iteration: int | None) -> list[tuple[Literal, ...]]:
    found = registry.events(store, experiment)
    current = registry.find_current(store, experiment)
    policies = {event.policy.name: event.policy for event in found if event.policy is not None}
    return [
        _policy_row(event, policies[event.version], is_current=policies[event.version] == current)
        for event in found
        if iteration in (None, policies[event.version].iteration)
    ]


def _experiments(store: ObjectStore, experiment: str | None) -> list[str]:
    if experiment is not None:
        return [experiment]
    return sorted(
        {found["experiment"] for found in map(_EVENT.fullmatch, store.list("")) if found is not None}
    )


def _policy_row(
    event: registry.Decision, policy: registry.PolicyVersion, *, is_current: bool
) -> tuple[Literal, ...]:
    evidence = json.dumps(dict(event.evidence), sort_keys=True)
    about_version = (policy.iteration, policy.parent, policy.commit_key, policy.commit_digest)
    about_event = (event.reason, evidence, event.event_id, is_current)
    return (policy.experiment, event.seq, event.action, event.version, *about_version, *about_event)
