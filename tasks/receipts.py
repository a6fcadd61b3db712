"""What `why` and `diff` tell of a commit: digest, settings, SQL, parents, who made it with which code."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from storage import facts
from storage.duck import DEFAULTS, DuckSettings
from storage.errors import SqlError
from storage.lineage import Lineage, Parent, read_lineage
from storage.manifests import Commit
from storage.objects import LakeStore
from storage.receipts import NO_PARAMETERS, Connection, Row, receipt_rows
from storage.revisions import present, revised
from storage.warehouse import open_lake, sql_digests
from tasks.context import duck_settings, open_lake_store
from tasks.options import Options

Told = dict[str, Any]  # Any: what JSON can say


@dataclass(frozen=True)
class Desk:
    """One experiment, with everything at hand that receipts are made from."""

    store: LakeStore
    experiment: str
    limits: DuckSettings = DEFAULTS
    _answers: dict[tuple[object, ...], list[Row]] = field(default_factory=dict)

    @cached_property
    def lineage(self) -> Lineage:
        """The commits of the experiment, or of the whole lake where one goes back to another experiment."""
        own = read_lineage(self.store, self.experiment)
        lost = any(parent.commit is None for commit in own.commits for parent in own.parents(commit))
        return read_lineage(self.store, None) if lost else own

    @cached_property
    def connection(self) -> Connection:
        """The views of the experiment."""
        return open_lake(self.store, self.experiment, settings=self.limits)

    def rows(self, name: str, parameters: Mapping[str, str] = NO_PARAMETERS) -> list[Row]:
        """What a file of sql/receipts says of the experiment; asked once."""
        asked = (name, *sorted(parameters.items()))
        if asked not in self._answers:
            self._answers[asked] = receipt_rows(self.connection, name, parameters=parameters)
        return self._answers[asked]

    def rows_of(self, name: str, iteration: int) -> list[Row]:
        """The same, of one iteration."""
        return [row for row in self.rows(name) if row["iteration"] == iteration]

    def find(self, kind: str, iteration: int) -> Commit | None:
        """The experiment's commit of this kind; of logs with outcomes that were joined later the newest."""
        return self._present.get((kind, iteration))

    @cached_property
    def _present(self) -> Mapping[tuple[str, int], Commit]:
        own = [each for each in self.lineage.commits if each.key.experiment == self.experiment]
        return {(revised(each.key, 0).kind, each.key.iteration): each for each in present(own)}


def open_desk(options: Options, experiment: str | None = None) -> Desk:
    """The desk of the configured experiment, or of another in the same lake."""
    config = options.load()
    return Desk(open_lake_store(config), experiment or config.experiment, limits=duck_settings(config))


def told(desk: Desk, commit: Commit) -> Told:
    """Everything that is known of a commit without its rows."""
    return {
        "commit": commit.key.text,
        "digest": commit.digest,
        "settings": settings_of(commit),
        "sql": sql_of(commit),
        "made_from": [_parent(parent) for parent in desk.lineage.parents(commit)],
        "attempts": attempts(desk, commit),
        "forgotten": [{"digest": old.digest, "tombstone": old.tombstone} for old in commit.supersedes],
    }


def settings_of(commit: Commit) -> Told:
    """The inputs other than SQL; sections of the configuration as the objects that they are."""
    return {name: _value(text) for name, text in sorted(commit.inputs.items()) if not _is_sql(name)}


def sql_of(commit: Commit) -> list[Told]:
    """The SQL files that the commit was made with, and whether those of this checkout are the same."""
    names = sorted(name for name in commit.inputs if _is_sql(name))
    return [
        {"file": name, "sha256": commit.inputs[name], "same_here": _here(name) == commit.inputs[name]}
        for name in names
    ]


def attempts(desk: Desk, commit: Commit) -> list[Told]:
    """The side facts of every attempt that made the commit or failed to."""
    return [dict(fact) for fact in facts.read_facts(desk.store, commit.key)]


def code_revisions(found: Sequence[Told]) -> list[str]:
    """The distinct code revisions of attempts."""
    return sorted({str(each.get("code_revision", "unknown")) for each in found})


def is_certain(revision: str) -> bool:
    """Whether a code revision names one state of the code."""
    return revision != "unknown" and not revision.endswith("-dirty")


def chain_notes(desk: Desk, commits: Sequence[Commit]) -> tuple[list[str], list[str]]:
    """Where the chain breaks, and what is remarkable about it, in words."""
    parents = [(commit, parent) for commit in commits for parent in desk.lineage.parents(commit)]
    breaks = [
        f"{commit.key.text} was made from {parent.role} {parent.digest}, which the lake does not hold"
        for commit, parent in parents
        if parent.commit is None and parent.role != "registry"
    ]
    earlier = sorted({p.commit.key.text for _, p in parents if p.commit is not None and p.is_earlier})
    notes = [
        f"{key}: conversations were forgotten since; what was made from it before had learnt from them, too"
        for key in earlier
    ]
    return breaks, [*notes, *_forgotten(commits), *_code_notes(desk, commits)]


def _forgotten(commits: Sequence[Commit]) -> list[str]:
    return [
        f"{commit.key.text}: rows were forgotten ({', '.join(old.tombstone for old in commit.supersedes)})"
        for commit in commits
        if commit.supersedes
    ]


def _code_notes(desk: Desk, commits: Sequence[Commit]) -> list[str]:
    """By which doubtful code, or by code that nothing tells about, which commits were made."""
    made_by: dict[str, list[str]] = {}
    for commit in commits:
        made = [each for each in attempts(desk, commit) if "error" not in each]
        doubtful = [revision for revision in code_revisions(made) if not is_certain(revision)]
        for revision in doubtful if made else [""]:
            made_by.setdefault(revision, []).append(commit.key.text)
    return [f"{_doubt(revision)}: {', '.join(keys)}" for revision, keys in made_by.items()]


def _doubt(revision: str) -> str:
    if not revision:
        return "no side facts, so by which code they were made is not known"
    if revision == "unknown":
        return "made outside a checkout, by code of unknown revision"
    return f"made by code of revision {revision}, with files changed since"


def _parent(parent: Parent) -> Told:
    return {
        "role": parent.role,
        "digest": parent.digest,
        "commit": None if parent.commit is None else parent.commit.key.text,
        "forgotten_since": parent.is_earlier,
    }


def _value(text: str) -> Any:  # Any: a JSON value
    try:
        return json.loads(text)
    except ValueError:
        return text


def _is_sql(name: str) -> bool:
    return name.endswith(".sql")


def _here(name: str) -> str | None:
    try:
        return sql_digests([name])[name]
    except SqlError:
        return None
