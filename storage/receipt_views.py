"""Commits, what they were made from, their files and what is beside them, as views of literal rows."""

from collections.abc import Iterable, Sequence
from types import MappingProxyType

from storage import registry
from storage.facts import read_facts
from storage.lineage import Lineage, lineage_of
from storage.manifests import Commit, canonical_json
from storage.objects import ObjectStore
from storage.policy_sources import PolicySource, policy_sources
from storage.revisions import family
from storage.sql_text import Literal, values_view

Row = Sequence[Literal]
_OF_COMMIT = MappingProxyType({"commit_key": "varchar", "experiment": "varchar", "kind": "varchar",
                               "iteration": "integer"})  # fmt: skip
COLUMNS = MappingProxyType(
    {
        "commits": {**_OF_COMMIT, "digest": "varchar", "inputs": "varchar", "rows": "bigint",
                    "bytes": "bigint", "earlier_digest": "varchar", "tombstone": "varchar"},
        "lineage": {"child_key": "varchar", "child_digest": "varchar", "role": "varchar",
                    "parent_key": "varchar", "parent_digest": "varchar", "is_earlier": "boolean"},
        "commit_files": {"commit_key": "varchar", "name": "varchar", "is_table": "boolean",
                         "object_key": "varchar", "sha256": "varchar", "bytes": "bigint",
                         "rows": "bigint", "data_digest": "varchar"},
        "facts": {**_OF_COMMIT, "stage": "varchar", "shard": "integer", "attempt": "varchar",
                  "seconds": "double", "code_revision": "varchar", "error": "varchar"},
        "policy_sources": {"experiment": "varchar", "policy_version": "varchar", "relation": "varchar",
                           "source_key": "varchar", "source_experiment": "varchar",
                           "source_kind": "varchar", "source_iteration": "integer",
                           "personas_left_out": "varchar", "fold_left_out": "varchar",
                           "temperature": "double"},
    }
)  # fmt: skip


def receipt_views(store: ObjectStore, commits: Iterable[Commit], *, with_facts: bool) -> str:
    """SQL that creates the views commits, lineage, commit_files, facts and policy_sources.

    Side facts are small objects, read one by one: `facts` is empty unless they are asked for.
    """
    lineage = lineage_of(commits)
    experiments = sorted({commit.key.experiment for commit in lineage.commits})
    versions = [version for name in experiments for version in registry.versions(store, name)]
    rows: dict[str, Sequence[Row]] = {
        "commits": [_commit_row(commit) for commit in lineage.commits],
        "lineage": [row for commit in lineage.commits for row in _parent_rows(lineage, commit)],
        "commit_files": [row for commit in lineage.commits for row in _file_rows(commit)],
        "facts": list(_fact_rows(store, lineage.commits)) if with_facts else [],
        "policy_sources": [_source_row(each) for each in policy_sources(lineage, versions)],
    }
    return "\n".join(values_view(name, columns=COLUMNS[name], rows=rows[name]) for name in COLUMNS)


def _of_commit(commit: Commit) -> tuple[Literal, ...]:
    return (commit.key.text, commit.key.experiment, commit.key.kind, commit.key.iteration)


def _commit_row(commit: Commit) -> Row:
    files = (*commit.files, *commit.artifacts.values())
    size = sum(entry.size_bytes for entry in files)
    last = commit.supersedes[-1] if commit.supersedes else None
    forgotten = (None, None) if last is None else (last.digest, last.tombstone)
    inputs = canonical_json(dict(commit.inputs)).decode()
    return (*_of_commit(commit), commit.digest, inputs, sum(f.rows for f in files), size, *forgotten)


def _parent_rows(lineage: Lineage, commit: Commit) -> list[Row]:
    return [
        (
            commit.key.text,
            commit.digest,
            parent.role,
            None if parent.commit is None else parent.commit.key.text,
            parent.digest,
            parent.is_earlier,
        )
        for parent in lineage.parents(commit)
    ]


def _file_rows(commit: Commit) -> list[Row]:
    tables = [(entry.table, True, entry) for entry in commit.files]
    artifacts = [(name, False, entry) for name, entry in commit.artifacts.items()]
    return [
        (commit.key.text, name, is_table, e.key, e.sha256, e.size_bytes, e.rows, e.data_digest)
        for name, is_table, e in (*tables, *artifacts)
    ]


def _fact_rows(store: ObjectStore, commits: Iterable[Commit]) -> Iterable[Row]:
    names = ("stage", "shard", "attempt", "seconds", "code_revision", "error")
    for commit in commits:
        for fact in read_facts(store, commit.key):
            yield (*_of_commit(commit), *(fact.get(name) for name in names))


def _source_row(each: PolicySource) -> Row:
    key = each.source.key
    return (
        each.version.partition("/")[0],
        each.version,
        each.relation,
        key.text,
        key.experiment,
        family(key.kind),
        key.iteration,
        "".join(f"|{persona}" for persona in each.personas_left_out) + "|",
        each.fold_left_out,
        each.temperature,
    )
