"""Forgetting: rows of some conversations leave every dataset of a lake, and nothing of them stays behind.

Commits are created once and never change, with this one exception: a commit that held such rows is superseded
in its own place. Parents come before their children, so that every digest that a commit names is at every
moment one that its parent has or had. `docs/forgetting.md` says what is removed and what cannot be.
"""

from collections.abc import Callable, Mapping

from storage import tombstones, weights
from storage.datasets import Dataset, named_keys, read_dataset, read_datasets
from storage.errors import StorageError
from storage.forget_look import Found, look, unnamed_traces
from storage.lake_places import Place, places
from storage.lineage import Lineage, lineage_of
from storage.manifests import Commit, CommitKey, FileEntry
from storage.objects import LakeStore, ObjectStore
from storage.rewriting import Removal, rewrite
from storage.tombstones import BusyLake, NothingToForget, Pending, Renewed, Selector, Tombstone

_PASSES = 8
Render = Callable[[Commit], Mapping[str, bytes]]  # the pages of a commit, by name, as they are after it


def forget(store: LakeStore, found: Found, *, reason: str, render: Render) -> Tombstone:
    """Remove what was found. Killed at any moment, the same call with a new look goes on; see `resume`.

    Raises BusyLake when more of it was committed meanwhile: `resume` and a new look take that as well.
    """
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
    _remove(store, tombstones.begin(store, pending), render=render)
    _refuse_more(pending, look(store, found.meant.selector))
    return _bury(store, pending)


def resume(store: LakeStore, selector: Selector, *, render: Render) -> Tombstone | None:
    """Finish what a killed run began for the same selector; None when there is no such thing.

    Only what that run had found goes: look again afterwards.
    """
    pending = tombstones.find_pending(store, selector)
    if pending is None:
        return None
    _remove(store, pending, render=render)
    return _bury(store, pending)


def _remove(store: LakeStore, pending: Pending, *, render: Render) -> None:
    """Do what the record says, as far as it is not done; any number of processes may do it at once."""
    pages, clean = _Pages(store, pending, render), set[str]()
    for _ in range(_PASSES):
        if _data_changed(store, pending, clean):
            pages.are_stale()
        elif not _pages_changed(store, pending, pages, clean):
            break
    else:
        raise StorageError(
            f"forgetting {pending.forgetting} does not come to an end: another process keeps writing "
            "the same conversations; stop it and run the same command again"
        )
    _sweep(store, pending)


def _refuse_more(pending: Pending, later: Found) -> None:
    """BusyLake for rows, and pages of commits, that were not there when the forgetting was begun."""
    kinds, pages = sorted(later.removed), sorted({*later.pages} - {*pending.pages})
    if kinds or pages:
        raise BusyLake(
            f"{', '.join([*kinds, *pages])}: more of it was committed while it was being removed; stop the "
            "stage that wrote it and run the same command again: it goes on from here"
        )


def _bury(store: LakeStore, pending: Pending) -> Tombstone:
    """Say what is gone, and that nothing is left to do."""
    tombstone = tombstones.bury(store, _tombstone(store, pending))
    store.delete(pending.place)
    return tombstone


def _data_changed(store: LakeStore, pending: Pending, clean: set[str]) -> bool:
    """Take the rows out wherever they are; False when they were nowhere any more."""
    changed = False
    for dataset, digests in _parents_first(store):
        removal = Removal(pending.marked, pending.forgetting, digests, clean)
        if rewrite(store, dataset, removal=removal):
            changed = True
            digests |= _new_digests(store, dataset)
    return changed


def _pages_changed(store: LakeStore, pending: Pending, pages: "_Pages", clean: set[str]) -> bool:
    """Put new pages in the place of those that showed a trace; False when all of them are new."""
    shown = [each for each in _parents_first(store) if each[0].key.text in pending.pages]
    changed = [
        rewrite(
            store,
            dataset,
            removal=Removal(pending.marked, pending.forgetting, digests, clean),
            artifacts=pages.of,
        )
        for dataset, digests in shown
    ]
    return any(changed)


def _new_digests(store: ObjectStore, dataset: Dataset) -> dict[str, str]:
    now = read_dataset(store, dataset.key, shards=()).commit
    return {} if now is None else {each.digest: now.digest for each in now.supersedes}


def _parents_first(store: ObjectStore) -> list[tuple[Dataset, dict[str, str]]]:
    """Datasets before what was made from them, each with today's digest of every commit that had another.

    They all share one such mapping, so that a parent's new digest is known when its children come.
    """
    datasets = read_datasets(store)
    lineage = lineage_of(dataset.commit for dataset in datasets if dataset.commit is not None)
    digests = {old: commit.digest for old, commit in lineage.by_digest.items() if old != commit.digest}
    depths: dict[CommitKey, int] = {}
    # What is not sealed has no children.
    unsealed = 1 + max((_depth(each, lineage, depths) for each in lineage.commits), default=0)
    ordered = sorted(
        datasets,
        key=lambda each: unsealed if each.commit is None else _depth(each.commit, lineage, depths),
    )
    return [(dataset, digests) for dataset in ordered]


def _depth(commit: Commit, lineage: Lineage, depths: dict[CommitKey, int]) -> int:
    if commit.key not in depths:
        depths[commit.key] = 0  # a chain of digests has no circles; this ends a damaged one
        parents = [each.commit for each in lineage.parents(commit) if each.commit is not None]
        depths[commit.key] = 1 + max((_depth(each, lineage, depths) for each in parents), default=0)
    return depths[commit.key]


class _Pages:
    """The pages of commits as they are without the rows, made once as long as no data changes."""

    def __init__(self, store: LakeStore, pending: Pending, render: Render) -> None:
        self._store, self._render = store, render
        self._gone = set(pending.objects)
        self._made: dict[CommitKey, Mapping[str, FileEntry]] = {}

    def are_stale(self) -> None:
        """Rows went away: what was made before may still show them."""
        self._made.clear()

    def of(self, commit: Commit) -> Mapping[str, FileEntry]:
        """New pages; other artifacts stay, and one that showed a trace and is not made anew goes.

        They are made also where the page is no longer the one that was seen: a process that forgets somebody
        else may have made it while the rows were still there.
        """
        if self._made.get(commit.key) != commit.artifacts:
            kept = {name: entry for name, entry in commit.artifacts.items() if entry.key not in self._gone}
            made = {
                name: weights.put_bytes(self._store, commit.key, name=name, data=data)
                for name, data in self._render(commit).items()
            }
            self._made[commit.key] = {**kept, **made}
        return self._made[commit.key]


def _sweep(store: LakeStore, pending: Pending) -> None:
    """Delete every trace that nothing names any more, however young."""
    everything = places(store, None)
    named = named_keys(read_datasets(store, everything))
    traces = unnamed_traces(store, everything, named=named, marks=pending.marked)
    gone = {place.key for place in everything if place.key in pending.objects or _is_old_page(place, pending)}
    for key in sorted({*traces, *gone} - named):
        store.delete(key)


def _is_old_page(place: Place, pending: Pending) -> bool:
    """Whether it lies beside a page that was made anew: one that came in between may show a trace too."""
    return place.sort == "artifacts" and place.commit is not None and place.commit.text in pending.pages


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
