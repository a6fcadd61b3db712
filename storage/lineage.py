"""From which commits a commit was made, and what was made from it: the chain of digests as an index."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from storage.listing import list_commits
from storage.manifests import Commit, CommitKey
from storage.objects import ObjectStore


@dataclass(frozen=True, slots=True)
class Parent:
    """What a commit says it was made from: the role, the digest it wrote down, and the commit that has it.

    `commit` is None when nothing has the digest. `is_earlier` says that rows were forgotten since: the commit
    stands in the place of the one with this digest.
    """

    role: str
    digest: str
    commit: Commit | None
    is_earlier: bool


@dataclass(frozen=True, slots=True)
class Lineage:
    """The commits of an experiment, or of a whole lake, by key and by every digest that they ever had."""

    commits: tuple[Commit, ...]
    by_key: Mapping[CommitKey, Commit]
    by_digest: Mapping[str, Commit]

    def parents(self, commit: Commit) -> list[Parent]:
        """What the commit was made from, in the order of the roles."""
        return [self._parent(role, digest) for role, digest in sorted(commit.parents.items())]

    def children(self, commit: Commit) -> list[Commit]:
        """What was made from the commit, or from an earlier one in its place."""
        own = {commit.digest, *(old.digest for old in commit.supersedes)}
        return [other for other in self.commits if own & set(other.parents.values())]

    def ancestors(self, commit: Commit) -> list[Commit]:
        """Everything that the commit goes back to, nearest first, each once."""
        return closure(commit, lambda each: [p.commit for p in self.parents(each) if p.commit is not None])

    def descendants(self, commit: Commit) -> list[Commit]:
        """Everything that goes back to the commit, nearest first, each once."""
        return closure(commit, self.children)

    def find(self, kind: str, *, experiment: str, iteration: int) -> Commit | None:
        """The commit of this kind, if there is one."""
        return self.by_key.get(CommitKey(experiment, kind, iteration))

    def _parent(self, role: str, digest: str) -> Parent:
        found = self.by_digest.get(digest)
        return Parent(role, digest, found, found is not None and found.digest != digest)


def read_lineage(store: ObjectStore, experiment: str | None) -> Lineage:
    """Read every commit of one experiment, or of all (None)."""
    return lineage_of(list_commits(store, experiment))


def lineage_of(commits: Iterable[Commit]) -> Lineage:
    """The index of commits at hand."""
    found = tuple(commits)
    digests = [(commit.digest, commit) for commit in found]
    earlier = [(old.digest, commit) for commit in found for old in commit.supersedes]
    return Lineage(found, {commit.key: commit for commit in found}, dict([*earlier, *digests]))


def closure(start: Commit, step: Callable[[Commit], Sequence[Commit]]) -> list[Commit]:
    """Everything that steps lead to, nearest first, each once and without the start."""
    found: dict[CommitKey, Commit] = {}
    edge = [start]
    while edge:
        near = {each.key: each for commit in edge for each in step(commit) if each.key not in found}
        edge = [each for key, each in near.items() if key != start.key]
        found |= {each.key: each for each in edge}
    return list(found.values())
