"""Forgetting: rows of some conversations leave every dataset of a lake, and nothing of them stays behind.

Commits are created once and never change, with this one exception: a commit that held such rows is superseded
in its own place. Parents come before their children, so that every digest that a commit names is at every
moment one that its parent has or had. `docs/forgetting.md` says what is removed and what cannot be.
"""

from collections.abc import Callable, Mapping, Sequence

from storage import tombstones, weights
from storage.datasets import Dataset, named_keys, read_dataset, read_datasets
from storage.errors import StorageError
from storage.forget_look import PAGE_KINDS, Found, unnamed_traces
from storage.lake_places import places
from storage.lineage import Lineage, lineage_of
from storage.manifests import Commit, CommitKey, FileEntry
from storage.objects import LakeStore, ObjectStore
from storage.rewriting import Artifacts, Removal, rewrite
from storage.tombstones import NothingToForget, Pending, Renewed, Selector, Tombstone

_PASSES = 8
Render = Callable[[Commit], Mapping[str, bytes]]  # the pages of a commit, by name, as they are after it


def forget(store: LakeStore, found: Found, *, reason: str, render: Render) -> Tombstone:
    """Remove what was found. Killed at any moment, the same call with a new look goes on; see `resume`."""
    if found.is_nothing:
        raise NothingToForget("the lake holds no trace of it: nothing was removed")
    pending = Pending(
        forgetting=tombstones.new_name(),
        selector=found.marks.of(found.meant.selector.text),
        salt=found.marks.salt,
        marks=tuple(sorted(found.marks.hashes)),
        reason=reason,
        conversations=len(found.meant.ids),
        removed=found.removed,
        pages=found.pages,
        objects=found.objects,
        affected=found.affected,
    )
    return finish(store, tombstones.begin(store, pending), render=render)


def resume(store: LakeStore, selector: Selector, *, render: Render) -> Tombstone | None:
    """Finish what a killed run began for the same selector; None when there is no such thing."""
    pending = tombstones.find_pending(store, selector)
    return None if pending is None else finish(store, pending, render=render)


def finish(store: LakeStore, pending: Pending, *, render: Render) -> Tombstone:
    """Do what the record says, as far as it is not done; any number of processes may do it at once."""
    for _ in range(_PASSES):
        if not _one_pass(store, pending, render=render):
            break
    else:
        raise StorageError(
            f"forgetting {pending.forgetting} does not come to an end: another process keeps writing "
            "the same conversations; stop it and run the same command again"
        )
    _sweep(store, pending)
    tombstone = tombstones.bury(store, _tombstone(store, pending))
    store.delete(pending.place)
    return tombstone


def _one_pass(store: LakeStore, pending: Pending, *, render: Render) -> bool:
    """Rewrite what needs it, data before the pages that are made from it; False when nothing did."""
    datasets = read_datasets(store)
    lineage = lineage_of(dataset.commit for dataset in datasets if dataset.commit is not None)
    digests = {old: commit.digest for old, commit in lineage.by_digest.items() if old != commit.digest}
    changed = False
    for dataset in _parents_first(datasets, lineage):
        removal = Removal(pending.marked, pending.forgetting, digests)
        artifacts = _artifacts(store, pending, render=render) if dataset.key.text in pending.pages else None
        if rewrite(store, dataset, removal=removal, artifacts=artifacts):
            changed = True
            digests |= _new_digests(store, dataset)
    return changed


def _new_digests(store: ObjectStore, dataset: Dataset) -> dict[str, str]:
    now = read_dataset(store, dataset.key, shards=()).commit
    return {} if now is None else {each.digest: now.digest for each in now.supersedes}


def _parents_first(datasets: Sequence[Dataset], lineage: Lineage) -> list[Dataset]:
    """Datasets before what was made from them, and pages after everything, as they show everything."""
    depth: dict[CommitKey, int] = {}

    def depth_of(commit: Commit) -> int:
        if commit.key not in depth:
            depth[commit.key] = 0  # a chain of digests has no circles; this ends a damaged one
            parents = [each.commit for each in lineage.parents(commit) if each.commit is not None]
            depth[commit.key] = 1 + max(map(depth_of, parents), default=0)
        return depth[commit.key]

    # What is not sealed has no children. Oldest iterations first among equals.
    unsealed = 1 + max((depth_of(commit) for commit in lineage.commits), default=0)
    return sorted(
        datasets,
        key=lambda each: (
            each.key.kind.startswith(PAGE_KINDS),
            unsealed if each.commit is None else depth_of(each.commit),
            each.key.experiment,
            each.key.iteration,
        ),
    )


def _artifacts(store: LakeStore, pending: Pending, *, render: Render) -> Artifacts:
    """New pages in the place of those that showed a trace; other artifacts stay."""
    gone = set(pending.objects)

    def renewed(commit: Commit) -> Mapping[str, FileEntry]:
        if not any(entry.key in gone for entry in commit.artifacts.values()):
            return commit.artifacts
        kept = {name: entry for name, entry in commit.artifacts.items() if entry.key not in gone}
        made = {
            name: weights.put_bytes(store, commit.key, name=name, data=data)
            for name, data in render(commit).items()
        }
        return {**kept, **made}

    return renewed


def _sweep(store: LakeStore, pending: Pending) -> None:
    """Delete every trace that nothing names any more, however young."""
    everything = places(store, None)
    named = named_keys(read_datasets(store, everything))
    traces = unnamed_traces(store, everything, named=named, marks=pending.marked)
    there = {place.key for place in everything} & set(pending.objects)
    for key in sorted({*traces, *there} - named):
        store.delete(key)


def _tombstone(store: ObjectStore, pending: Pending) -> Tombstone:
    commits = [dataset.commit for dataset in read_datasets(store) if dataset.commit is not None]
    renewed = [_renewed(commit, pending.forgetting) for commit in commits]
    return Tombstone(
        name=pending.forgetting,
        when=tombstones.this_second(),
        reason=pending.reason,
        conversations=pending.conversations,
        removed=pending.removed,
        objects=len(pending.objects),
        renewed=tuple(each for each in renewed if each is not None),
        affected=pending.affected,
    )


def _renewed(commit: Commit, tombstone: str) -> Renewed | None:
    """What this forgetting did to the commit, which later ones may have renewed again."""
    line = [*((each.digest, each.tombstone) for each in commit.supersedes), (commit.digest, "")]
    own = [place for place, (_, by) in enumerate(line) if by == tombstone]
    if not own:
        return None
    return Renewed(commit.key.text, tuple(line[place][0] for place in own), line[own[-1] + 1][0])
