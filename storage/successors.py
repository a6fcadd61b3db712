"""Which digest stands today where another stood before rows were forgotten."""

from collections.abc import Mapping

from storage.errors import ClosedIteration
from storage.manifests import decode_commit
from storage.objects import ObjectStore


def present_parents(
    store: ObjectStore, experiment: str, *, wanted: Mapping[str, str], found: Mapping[str, str]
) -> Mapping[str, str]:
    """The parents that a commit names, each by the digest that its parent has today.

    Only where they are not the wanted ones the lake is looked through: forgetting is rare.
    """
    if dict(found) == dict(wanted):
        return found
    today = todays_digests(store, experiment)
    return {role: today.get(digest, digest) for role, digest in found.items()}


def todays_digests(store: ObjectStore, experiment: str) -> Mapping[str, str]:
    """Of every superseded digest of an experiment's commits, the one that stands in its place."""
    digests: dict[str, str] = {}
    for place in store.list(f"{experiment}/"):
        if place.endswith("/commit.json"):
            try:
                commit = decode_commit(store.get(place), place=place)
            except ClosedIteration:
                continue
            digests |= {each.digest: commit.digest for each in commit.supersedes}
    return digests
