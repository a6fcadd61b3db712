"""Garbage of a lake: what nothing names, nobody will name, and is older than any writer that might still try.

A killed or beaten writer leaves data that no manifest names. It is never deleted by its look alone: another
attempt at the same rows finds the object there, does not write it again, and names it. So an object goes only
when its shard is claimed or its iteration is sealed, when nobody will name anything there any more; where a
shard is still open, only while no stage of the experiment is at work. A forgetting names new files in claimed
shards and sealed iterations too: nothing goes while one is at work, or was begun and not finished.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from itertools import groupby

from storage import registry, tombstones
from storage.datasets import Dataset, named_keys, read_dataset, read_datasets
from storage.exclusion import SILENT_S, Alone, held_places, is_held
from storage.lake_places import CONTENT_NAMED, UNKNOWN, Place, place_of
from storage.manifests import CommitKey
from storage.objects import LakeStore, ObjectInfo
from storage.probe import PASSED
from storage.tombstones import BusyLake

_SHARD = re.compile(r"/shard=(?P<shard>\d{4})/")
_LEASED = re.compile(r"[a-z_]+-(?P<iteration>\d{4})(?:-\d{3})?")
UNNAMED, PROBE, LEASE = "named by nothing", "old probe", "lease of a decided iteration"


@dataclass(frozen=True, slots=True)
class Garbage:
    """One object that may go, and why."""

    info: ObjectInfo
    why: str


@dataclass(frozen=True, slots=True)
class Sweep:
    """What a look at a lake found: garbage, how much of it is too young, and what nobody knows."""

    garbage: tuple[Garbage, ...]
    young: int
    waiting: int
    unknown: tuple[ObjectInfo, ...]


def find_garbage(store: LakeStore, *, now_s: float, grace_s: float) -> Sweep:
    """Look through the whole lake; nothing is changed.

    `young` counts garbage that is younger than the grace, `waiting` what lies in open shards of experiments
    where a stage is at work. Keys of no known form are listed and never garbage.
    """
    infos = store.entries("")
    found = [place_of(info.key) for info in infos]
    sizes = {info.key: info for info in infos}
    datasets = read_datasets(store, found)
    named, decided = named_keys(datasets), _decided(store, found)
    held = held_places(store, infos, now_s=now_s, silent_s=max(SILENT_S, grace_s))
    busy = frozenset(map(_experiment, held))
    by_key = {dataset.key: dataset for dataset in datasets}
    useless = [(place, _useless(store, place, named=named, decided=decided)) for place in found]
    marked = [Garbage(sizes[place.key], why) for place, why in useless if why is not None]
    old = [each for each in marked if now_s - each.info.modified_s > grace_s]
    free = [each for each in old if each.why != UNNAMED or _is_free(place_of(each.info.key), by_key, busy)]
    return Sweep(
        garbage=tuple(free),
        young=len(marked) - len(old),
        waiting=len(old) - len(free),
        unknown=tuple(sizes[place.key] for place in found if place.sort == UNKNOWN),
    )


def refuse_unfinished(store: LakeStore) -> None:
    """BusyLake while a forgetting is to be finished: it may come to name any file."""
    begun = tombstones.unfinished(store)
    if begun:
        raise BusyLake(
            f"{', '.join(begun)}: a forgetting was begun and not finished, and may come to name any "
            "file; run the same `itpo forget` again to finish it first; nothing was removed"
        )


def remove_garbage(alone: Alone, sweep: Sweep) -> list[str]:
    """Delete what was found, unless it was named since, or a stage may name it now; the keys that are gone.

    Raises BusyLake while a forgetting is not finished, and LeaseLost when stages are not kept out any more.
    """
    refuse_unfinished(alone.store)
    found = [place_of(each.info.key) for each in sweep.garbage]
    groups = groupby(found, key=lambda place: place.commit)
    return [key for commit, places in groups for key in _removed(alone, commit, places)]


def _removed(alone: Alone, commit: CommitKey | None, places: Iterable[Place]) -> Iterator[str]:
    """Delete the garbage of one dataset, or of none, and say what went."""
    if commit is None:
        free = (place for place in places if place.sort != "leases" or not is_held(alone.store, place.key))
    else:
        free = _still_free(alone, commit, places)
    for place in free:
        alone.store.delete(place.key)
        yield place.key


def _still_free(alone: Alone, commit: CommitKey, places: Iterable[Place]) -> Iterator[Place]:
    """Those that may go at the moment in which they are asked for.

    Leases come first: a stage that gave its own back has named its files before, and the dataset shows them.
    """
    prefix = f"{commit.experiment}/_leases/"
    busy = {_experiment(place) for place in alone.at_work(prefix)}
    dataset = _now(alone.store, commit)
    named = named_keys([dataset])
    for place in places:
        busy |= {_experiment(place) for place in alone.at_work(prefix)}
        if place.key not in named and _is_free(place, {commit: dataset}, busy):
            yield place


def _useless(
    store: LakeStore, place: Place, *, named: set[str], decided: Mapping[str, Set[str]]
) -> str | None:
    """Why nobody needs the object, or None."""
    if place.sort in CONTENT_NAMED:
        return None if place.key in named else UNNAMED
    if place.sort == "probe verdicts":
        return None if place.key == PASSED else PROBE
    if place.sort == "leases" and _is_decided(place, decided) and not is_held(store, place.key):
        return LEASE
    return None


def _decided(store: LakeStore, found: Iterable[Place]) -> dict[str, Set[str]]:
    """The events of every experiment that has leases."""
    leased = {_experiment(place.key) for place in found if place.sort == "leases"}
    return {name: {event.event_id for event in registry.events(store, name)} for name in leased}


def _is_decided(place: Place, decided: Mapping[str, Set[str]]) -> bool:
    """Whether it is the lease of a stage of a decided iteration."""
    leased = _LEASED.fullmatch(place.name)
    return leased is not None and f"decide/{leased['iteration']}" in decided[_experiment(place.key)]


def _experiment(key: str) -> str:
    return key.partition("/")[0]


def _is_free(place: Place, datasets: Mapping[CommitKey, Dataset], busy: Set[str]) -> bool:
    """Whether nobody can come to name the object any more.

    A sealed dataset takes no more shards, a claimed shard no other files. Where neither is so, a later
    attempt may find the object, not write it again, and name it.
    """
    if place.commit is None:
        return False
    dataset = datasets.get(place.commit)
    if dataset is not None and dataset.commit is not None:
        return True
    claimed: set[int] = set() if dataset is None else {manifest.shard for manifest in dataset.manifests}
    shard = _SHARD.search(place.key)
    is_claimed = shard is not None and int(shard["shard"]) in claimed
    return is_claimed or place.commit.experiment not in busy


def _now(store: LakeStore, key: CommitKey) -> Dataset:
    """The dataset as it is at this moment, with whatever shards it has."""
    places = (place_of(found) for found in store.list(f"{key.prefix}/shard-"))
    return read_dataset(store, key, shards=[int(place.name) for place in places])
