"""Logs whose outcomes came later: new commits beside the first ones, never others in their place.

The rollouts of an iteration may be revised: `rollouts` is the first commit, `rollouts-0001` the same
conversations with the outcomes that were joined since, `rollouts-0002` the next. What is curated from a
revision has its number (`curated-0001`). Which is the newest is found by name, one after the other.
"""

from collections.abc import Iterable
from dataclasses import replace

from storage import commits
from storage.errors import SupersededLogs
from storage.manifests import Commit, CommitKey
from storage.objects import ObjectStore

ROLLOUTS = "rollouts"
REVISED = (ROLLOUTS, "curated")
_PARENT = "parent "


def family(kind: str) -> str:
    """The kind without what follows a dash: of every revision the same."""
    return kind.partition("-")[0]


def revision(key: CommitKey) -> int:
    """How many times outcomes were joined before this commit; 0 for the first and for every other kind."""
    name, dash, number = key.kind.partition("-")
    return int(number) if dash and name in REVISED else 0


def revised(key: CommitKey, number: int) -> CommitKey:
    """The commit of the same family, experiment and iteration under this revision; other kinds have none."""
    name = family(key.kind)
    if name not in REVISED:
        return key
    return replace(key, kind=name if number == 0 else f"{name}-{number:04d}")


def sibling(key: CommitKey, name: str) -> CommitKey:
    """What of this family belongs to the same revision."""
    return revised(replace(key, kind=name), revision(key))


def newest_key(store: ObjectStore, first: CommitKey) -> CommitKey:
    """The key under the newest revision of its rollouts."""
    rollouts, number = replace(first, kind=ROLLOUTS), 0
    while commits.find(store, revised(rollouts, number + 1)) is not None:
        number += 1
    return revised(first, number)


def finish(store: ObjectStore, newest: CommitKey) -> bool:
    """Seal the next revision if somebody wrote all of it and was killed; whether there was one.

    The manifest of its only shard says everything that the commit says.
    """
    following = revised(newest, revision(newest) + 1)
    claimed = commits.read_shard(store, following, shard=0)
    if claimed is None:
        return False
    parents = {name.removeprefix(_PARENT): digest for name, digest in claimed.inputs.items() if _of(name)}
    inputs = {name: text for name, text in claimed.inputs.items() if not _of(name)}
    commits.seal(store, following, shards=1, parents=parents, inputs=inputs)
    return True


def hold(store: ObjectStore, read: CommitKey, *, by: CommitKey) -> None:
    """Shut the revision after the one that `by` learnt from; to be called just before `by` is committed.

    `read` are rollouts, or what was curated from them. Of a joining and a learning at once one wins: both
    need the place of the next commit, which is created once. Raises SupersededLogs where it is taken.
    """
    following = revised(replace(read, kind=ROLLOUTS), revision(read) + 1)
    commits.close(store, following, by=by.text)
    if commits.find(store, following) is not None:
        raise SupersededLogs(
            f"outcomes were joined to the logs of {read.experiment} ({following.text}) while {by.text} was "
            f"made from {read.text}: nothing is committed; run `itpo curate`, and then the same stage again"
        )


def present(found: Iterable[Commit]) -> list[Commit]:
    """The commits without those whose rollouts have a later revision: what holds today."""
    listed = list(found)
    newest: dict[CommitKey, int] = {}
    for commit in listed:
        if family(commit.key.kind) == ROLLOUTS:
            first = revised(commit.key, 0)
            newest[first] = max(newest.get(first, 0), revision(commit.key))
    return [commit for commit in listed if not _is_revised(commit.key, newest)]


def _is_revised(key: CommitKey, newest: dict[CommitKey, int]) -> bool:
    rollouts = replace(key, kind=ROLLOUTS)
    return family(key.kind) in REVISED and revision(key) != newest.get(rollouts, revision(key))


def _of(name: str) -> bool:
    return name.startswith(_PARENT)
