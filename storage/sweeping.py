"""Garbage of a lake: what nothing names, nobody will name, and is older than any writer that might still try.

A killed or beaten writer leaves data that no manifest names. It is never deleted by its look alone: another
attempt at the same rows finds the object there, does not write it again, and names it. So an object goes only
when its shard is claimed or its iteration is sealed, when nobody will name anything there any more; where a
shard is still open, only while no stage of the experiment is at work.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from storage import leases, registry
from storage.datasets import Dataset, named_keys, read_dataset, read_datasets
from storage.lake_places import CONTENT_NAMED, UNKNOWN, Place, place_of
from storage.manifests import CommitKey
from storage.objects import LakeStore, ObjectInfo
from storage.probe import PASSED
from storage.processes import is_gone

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
    named, busy = named_keys(datasets), busy_experiments(store, infos, now_s=now_s, grace_s=grace_s)
    by_key = {dataset.key: dataset for dataset in datasets}
    useless = [(place, _useless(store, place, named)) for place in found]
    marked = [Garbage(sizes[place.key], why) for place, why in useless if why is not None]
    old = [each for each in marked if now_s - each.info.modified_s > grace_s]
    free = [each for each in old if each.why != UNNAMED or _is_free(place_of(each.info.key), by_key, busy)]
    return Sweep(
        garbage=tuple(free),
        young=len(marked) - len(old),
        waiting=len(old) - len(free),
        unknown=tuple(sizes[place.key] for place in found if place.sort == UNKNOWN),
    )


def remove_garbage(store: LakeStore, sweep: Sweep) -> list[str]:
    """Delete what was found, unless it was named since; the keys that are gone."""
    gone: list[str] = []
    for each in sweep.garbage:
        place = place_of(each.info.key)
        if place.commit is not None and each.info.key in named_keys([_now(store, place.commit)]):
            continue
        store.delete(each.info.key)
        gone.append(each.info.key)
    return gone


def busy_experiments(
    store: LakeStore, infos: Iterable[ObjectInfo], *, now_s: float, grace_s: float
) -> frozenset[str]:
    """Experiments with a lease that somebody holds and renewed within the grace."""
    recent = [place_of(info.key) for info in infos if now_s - info.modified_s <= grace_s]
    held = (place.key for place in recent if place.sort == "leases" and _is_held(store, place.key))
    return frozenset(key.partition("/")[0] for key in held)


def _is_held(store: LakeStore, place: str) -> bool:
    lease = leases.read_lease(store, place)
    return lease is not None and lease.holder is not None and not is_gone(lease.holder.process)


def _useless(store: LakeStore, place: Place, named: set[str]) -> str | None:
    """Why nobody needs the object, or None."""
    if place.sort in CONTENT_NAMED:
        return None if place.key in named else UNNAMED
    if place.sort == "probe verdicts":
        return None if place.key == PASSED else PROBE
    if place.sort == "leases" and _is_of_decided_iteration(store, place) and not _is_held(store, place.key):
        return LEASE
    return None


def _is_of_decided_iteration(store: LakeStore, place: Place) -> bool:
    found = _LEASED.fullmatch(place.name)
    if found is None:
        return False
    decided = (event.event_id for event in registry.events(store, place.key.partition("/")[0]))
    return f"decide/{found['iteration']}" in decided


def _is_free(place: Place, datasets: Mapping[CommitKey, Dataset], busy: frozenset[str]) -> bool:
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
