"""Every object of a lake read once and held against all that is said about it anywhere in the lake."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from storage import lake_chain
from storage.digests import file_sha256
from storage.errors import ObjectMissing
from storage.lake_contents import Contents
from storage.lake_places import CONTENT_NAMED, UNKNOWN, Place, places
from storage.lineage import lineage_of
from storage.listing import readable_commits
from storage.manifests import FileEntry, commit_object
from storage.objects import ObjectStore
from storage.verification import entry_problems

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class DeepReport:
    """What a walk over a lake found.

    `objects` counts what was read by sort. `problems` name an object each, `notes` are none: unfinished
    work, and objects that nothing names. `heads` is the digest of the last event of every registry: from the
    end an event can vanish without a gap, so whoever keeps the digest elsewhere can compare.
    """

    objects: Mapping[str, int]
    problems: tuple[str, ...]
    notes: tuple[str, ...]
    heads: Mapping[str, str]


def verify_deep(
    store: ObjectStore, experiment: str | None, *, on_progress: Progress = lambda done, total: None
) -> DeepReport:
    """Walk one experiment, or the whole lake (None).

    Checks the hash, row count and data digest of every file, the checksum of every other object, that every
    parent and every digest in the registry leads to a commit (an earlier one through `supersedes`), and that
    the chain of events is whole.
    """
    found = places(store, experiment)
    small, large = _split(found)
    contents = Contents()
    for place in small:
        data = _get(store, place.key)
        if data is not None:
            contents.add(place, data)
    problems = [*contents.damaged.values(), *_relations(store, contents, experiment)]
    named = _entries(contents)
    for done, place in enumerate(large):
        problems += _file_problems(place, named.get(place.key, ()), _get(store, place.key))
        on_progress(done + 1, len(large))
    listed = {place.key for place in large}
    problems += [problem for key in sorted(named.keys() - listed) for problem in _absent(store, named[key])]
    return DeepReport(
        objects=dict(Counter(place.sort for place in found)),
        problems=tuple(problems),
        notes=(*_unfinished(contents), *_unnamed(found, named)),
        heads=_heads(contents),
    )


def _split(found: Sequence[Place]) -> tuple[list[Place], list[Place]]:
    """What is decoded and remembered, and what is only hashed."""
    large = [place for place in found if place.sort in CONTENT_NAMED]
    return [place for place in found if place.sort not in CONTENT_NAMED], large


def _get(store: ObjectStore, key: str) -> bytes | None:
    """The bytes; None for what went away since it was listed."""
    try:
        return store.get(key)
    except ObjectMissing:
        return None


def _relations(store: ObjectStore, contents: Contents, experiment: str | None) -> list[str]:
    known = lake_chain.digests_of(contents)
    parents = list(lake_chain.parent_problems(contents, known))
    if parents and experiment is not None:
        # A parent may lie in another experiment; only then all of them are read.
        known |= set(lineage_of(readable_commits(store, None)[0]).by_digest)
        parents = list(lake_chain.parent_problems(contents, known))
    return [
        *parents,
        *lake_chain.shard_problems(contents),
        *lake_chain.lost_commits(contents),
        *lake_chain.closed_problems(contents),
        *lake_chain.registry_problems(contents, known),
    ]


def _entries(contents: Contents) -> dict[str, set[FileEntry]]:
    """What commits and manifests say of every file, by its key."""
    named: dict[str, set[FileEntry]] = {}
    for commit in contents.commits.values():
        for entry in (*commit.files, *commit.artifacts.values()):
            named.setdefault(entry.key, set()).add(entry)
    for shards in contents.shards.values():
        claimed = (each for shard in shards.values() for each in (*shard.files, *shard.artifacts.values()))
        for entry in claimed:
            named.setdefault(entry.key, set()).add(entry)
    return named


def _file_problems(place: Place, entries: Iterable[FileEntry], data: bytes | None) -> list[str]:
    if data is None:
        return [f"object {place.key!r} is missing" for _ in entries]
    found = [problem for entry in entries for problem in entry_problems(entry, data)]
    if not found and not file_sha256(data).startswith(place.name):
        return [f"object {place.key!r} is corrupt: its bytes do not have the hash in its name"]
    return found


def _absent(store: ObjectStore, entries: Iterable[FileEntry]) -> list[str]:
    """Files that were not listed: lost, written since, or of a sort that no key tells."""
    first, *_ = entries
    data = _get(store, first.key)
    if data is None:
        return [f"object {first.key!r} is missing: a commit or a manifest names it; restore it from a copy"]
    return [problem for entry in entries for problem in entry_problems(entry, data)]


def _unfinished(contents: Contents) -> list[str]:
    """Datasets that were begun and not sealed, closings that were begun."""
    unsealed = [key for key in contents.shards if key not in contents.commits]
    notes = [
        f"{commit_object(key)}: not sealed, although shards were published: unfinished, or given up"
        for key in sorted(unsealed, key=lambda key: key.text)
        if commit_object(key) not in contents.damaged
    ]
    halves = {place.replace("/shard-0000.json", "/commit.json") for place in contents.closed} - contents.keys
    begun = [
        f"_tombstones/{name}.json" for name in sorted(contents.tombstones) if name.startswith("pending-")
    ]
    forgetting = [
        f"{place}: begun and not finished; forgetting the same again finishes it" for place in begun
    ]
    return [
        *notes,
        *forgetting,
        *(f"{place}: to be closed; `itpo decide` finishes it" for place in sorted(halves)),
    ]


def _unnamed(found: Sequence[Place], named: Mapping[str, set[FileEntry]]) -> list[str]:
    return [
        f"{place.key}: not named by anything"
        + ("" if place.sort in CONTENT_NAMED else ", and of no sort that can be checked")
        for place in found
        if place.key not in named and place.sort in {*CONTENT_NAMED, UNKNOWN}
    ]


def _heads(contents: Contents) -> dict[str, str]:
    last = [max(links, key=lambda link: link.event.seq) for links in contents.events.values()]
    return {link.key: link.event.digest for link in last}
