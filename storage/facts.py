"""Side facts of a commit, such as timings and the code revision: beside the data, never in its digest."""

from collections.abc import Mapping

from storage.digests import file_sha256
from storage.manifests import CommitKey, encode_object, parse_object
from storage.objects import ObjectStore

Fact = float | int | str


def record_facts(store: ObjectStore, key: CommitKey, *, attempt: str, facts: Mapping[str, Fact]) -> None:
    """Keep what one attempt has to say; its first record stays when it is written again."""
    body = {"key": key.text, "attempt": attempt, "facts": dict(facts)}
    store.create(f"{key.prefix}/_facts/{file_sha256(attempt.encode())[:32]}.json", encode_object(body))


def read_facts(store: ObjectStore, key: CommitKey) -> list[dict[str, Fact]]:
    """The facts of every attempt, each with its `attempt`, ordered by it."""
    bodies = [parse_object(store.get(place), place=place) for place in store.list(f"{key.prefix}/_facts/")]
    return [
        {"attempt": body["attempt"], **body["facts"]}
        for body in sorted(bodies, key=lambda body: body["attempt"])
    ]
