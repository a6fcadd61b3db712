"""Which weights learned from rows: directly, or because they descend from weights that did."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from storage import registry
from storage.datasets import Dataset
from storage.forget_search import read_columns
from storage.lineage import Lineage
from storage.manifests import Commit, FileEntry
from storage.objects import ObjectStore
from storage.revisions import family
from storage.rewriting import marked_rows
from storage.tombstones import Affected, Marks

LEARNERS = frozenset({"policy", "reward", "q"})
DIRECT, DESCENT = "direct", "descent"


def affected_by(
    store: ObjectStore, datasets: Sequence[Dataset], *, lineage: Lineage, marks: Marks
) -> tuple[Affected, ...]:
    """Every committed policy, reward model and Q that learned from marked rows, in the order of their keys.

    Weights learn from what curation kept and from credit: a conversation that was dropped taught nobody.
    """
    taught = {d.commit.digest for d in datasets if d.commit is not None and _teaches(store, d, marks=marks)}
    found = {
        commit.key: how
        for commit in lineage.commits
        if commit.key.kind in LEARNERS and (how := _how(lineage, commit, taught)) is not None
    }
    names = _version_names(store, {key.experiment for key in found})
    return tuple(
        Affected(key.text, lineage.by_key[key].digest, key.kind, how, names.get(key.text))
        for key, how in sorted(found.items(), key=lambda item: item[0].text)
    )


def last_unaffected(store: ObjectStore, experiment: str, *, affected: Sequence[Affected]) -> str | None:
    """The newest version that learned nothing of it, by registration; None when there is no such version."""
    tainted = {each.version for each in affected}
    clean = [each.name for each in registry.versions(store, experiment) if each.name not in tainted]
    return clean[-1] if clean else None


def _teaches(store: ObjectStore, dataset: Dataset, *, marks: Marks) -> bool:
    if dataset.key.kind == "credit":
        return any(marked_rows(store, entry, marks=marks).any() for entry in dataset.files)
    return family(dataset.key.kind) == "curated" and any(
        (marked_rows(store, entry, marks=marks) & _kept(store, entry)).any()
        for entry in dataset.files
        if entry.table == "curated"
    )


def _kept(store: ObjectStore, entry: FileEntry) -> np.ndarray:
    table = read_columns(store, entry, columns=["kept"])
    return np.empty(0, dtype=bool) if table is None else table["kept"].to_numpy().astype(bool)


def _how(lineage: Lineage, commit: Commit, taught: set[str]) -> str | None:
    """Direct where a path of datasets leads to rows that taught; descent where one leads there at all."""
    if any(each.digest in taught for each in _through(lineage, commit, stop_at=LEARNERS)):
        return DIRECT
    return DESCENT if any(each.digest in taught for each in lineage.ancestors(commit)) else None


def _through(lineage: Lineage, commit: Commit, *, stop_at: frozenset[str]) -> Iterator[Commit]:
    """Ancestors of a commit that are reached without passing through a commit of these kinds."""
    seen: dict[str, Commit] = {}
    edge = [commit]
    while edge:
        near = [parent.commit for each in edge for parent in lineage.parents(each)]
        edge = [each for each in near if each is not None and each.digest not in seen]
        edge = [each for each in edge if each.key.kind not in stop_at]
        seen |= {each.digest: each for each in edge}
    yield from seen.values()


def _version_names(store: ObjectStore, experiments: set[str]) -> Mapping[str, str]:
    return {
        version.commit_key: version.name
        for experiment in experiments
        for version in registry.versions(store, experiment)
    }
