"""What forgetting would remove: looked for in every object of the lake, without changing one."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from storage import tombstones
from storage.datasets import Dataset, named_keys, read_datasets
from storage.errors import ObjectMissing
from storage.forget_search import Meant, holds_marked, search, words_of_others
from storage.forget_told import told_about
from storage.lake_places import Place, places
from storage.learners import affected_by
from storage.lineage import Lineage, lineage_of
from storage.needles import BARE_USER, is_textual
from storage.objects import ObjectStore
from storage.rewriting import marked_rows
from storage.row_masks import contains
from storage.tombstones import Affected, Counts, Marks, Selector

PAGE_KINDS = ("report", "lab-")  # kinds of commits whose artifacts are pages for people
_OTHERWISE = frozenset({"table files", "leases", "tombstones", "probe verdicts"})  # no words of anybody
_REMOVED_WHOLE = frozenset({"side facts", "logs"})


@dataclass(frozen=True, slots=True)
class Found:
    """What a lake holds of a selector: rows by kind and table, pages, other objects, and who learned from it.

    `mentions` are places that hold an id and stay: registry events, words of others, files of others.
    """

    meant: Meant
    marks: Marks
    removed: Counts
    pages: tuple[str, ...]
    objects: tuple[str, ...]
    affected: tuple[Affected, ...]
    mentions: tuple[str, ...]

    @property
    def is_nothing(self) -> bool:
        """Whether no trace was found that can be removed."""
        return not (self.removed or self.pages or self.objects)


def look(store: ObjectStore, selector: Selector) -> Found:
    """Everything that forgetting would remove; reads the whole lake."""
    everything = places(store, None)
    datasets = read_datasets(store, everything)
    named = named_keys(datasets)
    meant = search(store, datasets, selector=selector)
    meant.raws |= told_about(store, datasets, ids=meant.ids)
    marks = tombstones.new_marks([*meant.ids, *meant.raws])
    shown = [place for place in everything if _shows(store, place, meant)]
    removable = [place for place in shown if _is_removable(place, named=named)]
    traces = unnamed_traces(store, everything, named=named, marks=marks)
    kept = [place.key for place in shown if place not in removable]
    return Found(
        meant=meant,
        marks=marks,
        removed=_count(store, datasets, marks),
        pages=tuple(sorted({_owner(place) for place in removable if place.key in named})),
        objects=tuple(sorted({*(place.key for place in removable), *traces})),
        affected=affected_by(store, datasets, lineage=_lineage(datasets), marks=marks),
        mentions=tuple(sorted({*kept, *_mentions_by_others(store, datasets, meant)})),
    )


def unnamed_traces(
    store: ObjectStore, everything: Sequence[Place], *, named: set[str], marks: Marks
) -> list[str]:
    """Table files that no commit or manifest names, with marked rows: left by killed writers and losers."""
    unnamed = (place.key for place in everything if place.sort == "table files" and place.key not in named)
    return [key for key in unnamed if _holds_marked(store, key, marks=marks)]


def _holds_marked(store: ObjectStore, key: str, *, marks: Marks) -> bool:
    """Whether a file that no manifest vouches for holds such rows."""
    try:
        return holds_marked(store.get(key), table=key.rpartition("/")[2].rpartition("-")[0], marks=marks)
    except ObjectMissing:
        return False


def _count(store: ObjectStore, datasets: Sequence[Dataset], marks: Marks) -> Counts:
    counts: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for dataset in datasets:
        for entry in dataset.files:
            rows = int(marked_rows(store, entry, marks=marks).sum())
            if rows:
                counts[dataset.key.kind][entry.table] += rows
    return {kind: dict(tables) for kind, tables in counts.items()}


def _shows(store: ObjectStore, place: Place, meant: Meant) -> bool:
    if place.sort in _OTHERWISE or not is_textual(place.key):
        return False
    try:
        return meant.needles.are_in(store.get(place.key), name=place.key)
    except ObjectMissing:
        return False


def _is_removable(place: Place, *, named: set[str]) -> bool:
    if place.sort == "artifacts":
        return place.key not in named or (
            place.commit is not None and place.commit.kind.startswith(PAGE_KINDS)
        )
    return place.sort in _REMOVED_WHOLE


def _owner(place: Place) -> str:
    return "" if place.commit is None else place.commit.text


def _lineage(datasets: Sequence[Dataset]) -> Lineage:
    return lineage_of(dataset.commit for dataset in datasets if dataset.commit is not None)


def _mentions_by_others(store: ObjectStore, datasets: Sequence[Dataset], meant: Meant) -> Iterator[str]:
    """Files in which other conversations speak of the user, by a name long enough to be told from words."""
    user = meant.selector.user
    if user is None or len(user) < BARE_USER:
        return
    for entry, texts in words_of_others(store, datasets, ids=meant.ids):
        rows = int(contains(texts, user).sum())
        if rows:
            yield f"{entry.key} ({rows} conversations of others)"
