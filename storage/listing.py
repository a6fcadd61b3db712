"""Every sealed commit of a lake, for people and for verification; no stage lists anything to decide."""

import re
from collections.abc import Iterator

from storage.commits import find
from storage.manifests import Commit, CommitKey, commit_object
from storage.objects import ObjectStore

_COMMIT = re.compile(r"(?P<experiment>[^/]+)/(?P<kind>[^/]+)/iteration=(?P<iteration>\d{4})/commit\.json")


def list_commits(store: ObjectStore, experiment: str | None) -> Iterator[Commit]:
    """The sealed commits of one experiment, or of all (None), in the order of their keys."""
    for found in map(_COMMIT.fullmatch, store.list("" if experiment is None else f"{experiment}/")):
        if found is not None:
            key = CommitKey(found["experiment"], found["kind"], int(found["iteration"]))
            commit = find(store, key) if commit_object(key) == found[0] else None
            if commit is not None:
                yield commit
