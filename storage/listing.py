"""Every sealed commit of a lake, for people and for verification; no stage lists anything to decide."""

import re
from collections.abc import Iterator

from storage.commits import find
from storage.errors import MissingExperiment, StorageError
from storage.manifests import Commit, CommitKey, commit_object
from storage.objects import ObjectStore

_COMMIT = re.compile(r"(?P<experiment>[^/]+)/(?P<kind>[^/]+)/iteration=(?P<iteration>\d{4})/commit\.json")
# Refused attempts leave these, and no experiment.
_OF_ATTEMPTS = re.compile(r"_|[^/]+/(_leases|_logs)/|[^/]+/[^/]+/[^/]+/_facts/")


def absence(store: ObjectStore, experiment: str | None) -> str | None:
    """What to say where nothing lies under this name, or in the whole lake (None); None when something does.

    It names the experiments that are there: an empty answer would be taken for a finding.
    """
    if _held(store, "" if experiment is None else f"{experiment}/"):
        return None
    names = sorted({key.partition("/")[0] for key in _held(store, "")})
    there = f"there are: {', '.join(names)}; name one with --experiment" if names else "it is empty"
    missing = "the lake holds nothing" if experiment is None else f"the lake holds no experiment {experiment}"
    return f"{missing} ({there}); another lake is named with --lake or ITPO_LAKE"


def _held(store: ObjectStore, prefix: str) -> list[str]:
    """What lies there besides the traces of attempts: a mistyped name must not look like an experiment."""
    return [key for key in store.list(prefix) if not _OF_ATTEMPTS.match(key)]


def require_experiment(store: ObjectStore, experiment: str | None) -> None:
    """Raise MissingExperiment where `absence` has something to say."""
    said = absence(store, experiment)
    if said is not None:
        raise MissingExperiment(said)


def list_commits(store: ObjectStore, experiment: str | None) -> Iterator[Commit]:
    """The sealed commits of one experiment, or of all (None), in the order of their keys."""
    found = (find(store, key) for key in _keys(store, experiment))
    yield from (commit for commit in found if commit is not None)


def readable_commits(store: ObjectStore, experiment: str | None) -> tuple[list[Commit], list[str]]:
    """The same, and what is wrong with each that cannot be read: whoever verifies goes on behind it."""
    found: list[Commit] = []
    problems: list[str] = []
    for key in _keys(store, experiment):
        try:
            commit = find(store, key)
        except StorageError as problem:
            problems.append(str(problem))
        else:
            found += [] if commit is None else [commit]
    return found, problems


def _keys(store: ObjectStore, experiment: str | None) -> Iterator[CommitKey]:
    for found in map(_COMMIT.fullmatch, store.list("" if experiment is None else f"{experiment}/")):
        if found is not None:
            key = CommitKey(found["experiment"], found["kind"], int(found["iteration"]))
            if commit_object(key) == found[0]:
                yield key
