"""What lies where in a lake: every key is of one sort, told by its form alone."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from storage.errors import BadKey
from storage.manifests import CommitKey
from storage.objects import ObjectStore

_ITERATION = r"(?P<experiment>[^/_][^/]*)/(?P<kind>[^/_][^/]*)/iteration=(?P<iteration>\d{4})"
_HASH = r"(?P<hash>[0-9a-f]{32})"
# By the name that a person reads. Tables and artifacts come last: they are large, and others name them.
SORTS = {
    "commits": rf"{_ITERATION}/commit\.json",
    "shard manifests": rf"{_ITERATION}/shard-(?P<number>\d{{4}})\.json",
    "side facts": rf"{_ITERATION}/_facts/{_HASH}\.json",
    "registry events": r"(?P<experiment>[^/_][^/]*)/registry/(?P<number>\d{6})\.json",
    "run claims": r"(?P<experiment>[^/_][^/]*)/runs/(?P<hash>[0-9a-f]{64})\.json",
    "leases": r"(?P<experiment>[^/_][^/]*)/_leases/(?P<name>.+)\.json",
    "logs": r"(?P<experiment>[^/_][^/]*)/_logs/(?P<name>.+)\.json",
    "tombstones": r"_tombstones/(?P<name>[^/]+)\.json",
    "probe verdicts": r"_probe/(?P<name>.+)\.json",
    "table files": rf"{_ITERATION}/shard=\d{{4}}/.+-{_HASH}\.parquet",
    "artifacts": rf"{_ITERATION}/artifacts/{_HASH}/.+",
}
UNKNOWN = "objects of no known sort"
CONTENT_NAMED = frozenset({"table files", "artifacts"})
SHARED = ("_tombstones/", "_probe/")  # beside the experiments, of all of them
_FORMS = {sort: re.compile(form) for sort, form in SORTS.items()}


@dataclass(frozen=True, slots=True)
class Place:
    """One object by its key: of what sort, of which commit if any, and what its name promises.

    `name` is the hash, number or name within the key, empty where the form has none.
    """

    key: str
    sort: str
    commit: CommitKey | None
    name: str


def place_of(key: str) -> Place:
    """The sort of object that a key belongs to; UNKNOWN for what this program does not write."""
    for sort, form in _FORMS.items():
        found = form.fullmatch(key)
        if found is not None:
            return _place(key, sort, found.groupdict())
    return Place(key, UNKNOWN, None, "")


def places(store: ObjectStore, experiment: str | None) -> Sequence[Place]:
    """Every object of an experiment and those that all share, or of the whole lake (None), by key."""
    prefixes = ("",) if experiment is None else (f"{experiment}/", *SHARED)
    return [place_of(key) for prefix in prefixes for key in store.list(prefix)]


def _place(key: str, sort: str, parts: dict[str, str]) -> Place:
    name = next((parts[part] for part in ("hash", "number", "name") if part in parts), "")
    try:
        commit = _commit_key(parts) if "iteration" in parts else None
    except BadKey:
        return Place(key, UNKNOWN, None, "")
    return Place(key, sort, commit, name)


def _commit_key(parts: dict[str, str]) -> CommitKey:
    return CommitKey(parts["experiment"], parts["kind"], int(parts["iteration"]))
