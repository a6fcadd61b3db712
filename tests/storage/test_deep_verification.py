"""Whatever is changed, cut, lost or exchanged in a lake, `verify --deep` names the object that it was."""

import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage import commits, registry
from storage.deep_verification import verify_deep
from storage.lake_places import SORTS, place_of, places
from storage.local_store import LocalStore
from storage.manifests import (
    Commit,
    CommitKey,
    Supersedes,
    commit_digest,
    commit_object,
    encode_commit,
    encode_object,
    parse_object,
)
from tests.receipts_lake import make_receipts_lake

# What may vanish without a trace: nothing else in the lake says that it was there.
MAY_VANISH = {"side facts", "run claims", "leases", "logs", "probe verdicts", "tombstones"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> LocalStore:
    folder = tmp_path_factory.mktemp("receipts")
    make_receipts_lake(folder)
    return LocalStore(folder / "lake")


@pytest.fixture
def store(whole: LocalStore, tmp_path: Path) -> LocalStore:
    """A copy that a test may damage."""
    shutil.copytree(whole.root, tmp_path / "lake")
    return LocalStore(tmp_path / "lake")


def one_of_each_sort(store: LocalStore) -> dict[str, str]:
    return {place_of(key).sort: key for key in store.list("")}


def problems(store: LocalStore, experiment: str | None = None) -> tuple[str, ...]:
    return verify_deep(store, experiment).problems


class Changed:
    """The store with one object's bytes replaced, so that a property test copies nothing."""

    def __init__(self, inner: LocalStore, key: str, data: bytes) -> None:
        self._inner, self._key, self._data = inner, key, data

    def get(self, key: str) -> bytes:
        return self._data if key == self._key else self._inner.get(key)

    def create(self, key: str, data: bytes) -> bool:
        raise AssertionError("verifying writes nothing")

    def list(self, prefix: str) -> list[str]:
        return self._inner.list(prefix)


def test_a_lake_with_every_sort_of_object_is_whole(whole: LocalStore) -> None:
    report = verify_deep(whole, None)

    assert report.objects.keys() == SORTS.keys()
    assert sum(report.objects.values()) == len(whole.list(""))
    assert report.problems == ()
    assert report.heads == {"shop/registry/000005.json": registry.events(whole, "shop")[-1].digest}


def test_what_nothing_names_and_what_is_unfinished_are_notes(whole: LocalStore) -> None:
    notes = verify_deep(whole, None).notes

    assert [note.partition(": ")[0].rpartition("/")[2] for note in notes] == ["commit.json", "left.json"]
    assert notes[0].startswith("shop/lab-1/iteration=0002/commit.json: not sealed")


def flip_one(whole: LocalStore, chance: random.Random) -> None:
    """Flip one bit of one object and look for its name."""
    key = chance.choice(whole.list(""))
    data = bytearray(whole.get(key))
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)

    found = problems(Changed(whole, key, bytes(data)))

    assert any(repr(key) in problem for problem in found), key


def test_what_nothing_names_is_held_to_the_hash_in_its_name(whole: LocalStore) -> None:
    key = next(key for key in whole.list("shop/policy/") if key.endswith("left.json"))

    assert problems(Changed(whole, key, b"[]")) == (
        f"object {key!r} is corrupt: its bytes do not have the hash in its name",
    )


def test_the_commit_of_a_version_that_vanished_is_missed_by_the_registry(store: LocalStore) -> None:
    store.delete("shop/policy/iteration=0002/commit.json")

    found = "\n".join(problems(store))

    assert "object 'shop/registry/000004.json' names" in found
    assert "object 'shop/policy/iteration=0002/commit.json' is missing: its side facts say" in found


def test_a_shard_manifest_that_vanished_is_named(store: LocalStore) -> None:
    store.delete("shop/rollouts/iteration=0001/shard-0001.json")

    (problem,) = problems(store)

    assert "object 'shop/rollouts/iteration=0001/shard-0001.json' is missing" in problem


@pytest.mark.slow
@settings(max_examples=25)
@given(seed=st.integers(0, 2**32 - 1))
def test_one_flipped_bit_anywhere_is_found_and_named(whole: LocalStore, seed: int) -> None:
    flip_one(whole, random.Random(seed))


@pytest.mark.e2e
@pytest.mark.timeout(1800)  # five minutes on two cores that do nothing else
@settings(max_examples=1000)
@given(seed=st.integers(0, 2**32 - 1))
def test_one_flipped_bit_is_found_a_thousand_times(whole: LocalStore, seed: int) -> None:
    flip_one(whole, random.Random(seed))


@pytest.mark.parametrize("sort", SORTS)
def test_an_object_that_was_cut_short_is_named(whole: LocalStore, sort: str) -> None:
    key = one_of_each_sort(whole)[sort]

    for cut in (0, 1, len(whole.get(key)) // 2, len(whole.get(key)) - 1):
        found = problems(Changed(whole, key, whole.get(key)[:cut]))
        assert any(repr(key) in problem for problem in found), (key, cut)


def lost_keys(store: LocalStore) -> Iterator[str]:
    """Every object whose loss something else in the lake tells."""
    head = max(store.list("shop/registry/"))
    named = [place.key for place in places(store, None) if place.sort not in MAY_VANISH]
    return (key for key in named if key != head and "left.json" not in key and "lab-1" not in key)


def lose(store: LocalStore, key: str) -> None:
    """Delete one object, look for its name, and put it back."""
    data = store.get(key)
    store.delete(key)
    report = verify_deep(store, None)
    store.create(key, data)

    # That a page was sealed, or a place closed, nothing else knows: it looks as if it were still to be done.
    may_be_to_come = key.endswith("commit.json") and ("/report/" in key or "/q/" in key)
    assert any(key in each for each in (report.notes if may_be_to_come else report.problems)), key


@pytest.mark.slow
def test_an_object_that_vanished_is_named(store: LocalStore) -> None:
    keys = sorted(lost_keys(store))

    for key in random.Random(4).sample(keys, 20):
        lose(store, key)


@pytest.mark.e2e
def test_whichever_object_vanished_is_named(store: LocalStore) -> None:
    for key in lost_keys(store):
        lose(store, key)


def test_the_last_event_is_missed_by_those_who_saw_it(store: LocalStore) -> None:
    store.delete(max(store.list("shop/registry/")))

    assert any(
        "shop/report/iteration=0002" in problem and "registry" in problem for problem in problems(store)
    )


def test_exchanged_objects_are_named(store: LocalStore) -> None:
    by_sort: dict[str, list[str]] = {}
    for place in places(store, None):
        by_sort.setdefault(place.sort, []).append(place.key)

    for sort, keys in by_sort.items():
        pairs = [(a, b) for a in keys[:1] for b in keys if store.get(a) != store.get(b)][:1]
        for one, other in pairs:
            first, second = store.get(one), store.get(other)
            store.path(one).write_bytes(second)
            store.path(other).write_bytes(first)
            found = "\n".join(problems(store))
            assert repr(one) in found, (sort, one)
            assert repr(other) in found, (sort, other)
            store.path(one).write_bytes(first)
            store.path(other).write_bytes(second)


def test_a_well_made_event_in_the_place_of_another_is_named(store: LocalStore) -> None:
    place = "shop/registry/000003.json"
    body = parse_object(store.get(place), place=place)
    store.path(place).write_bytes(encode_object({**body, "reason": "because I say so"}))

    found = problems(store)

    assert len(found) == 2
    assert f"object {place!r} is not the event that 'shop/registry/000004.json' follows" in found[1]
    assert "'shop/report/iteration=0001/commit.json' names" in found[0]


def test_a_commit_made_from_what_the_lake_does_not_hold_is_named(store: LocalStore) -> None:
    store.delete("shop/curated/iteration=0000/commit.json")

    found = "\n".join(problems(store))

    assert "'shop/policy/iteration=0000/commit.json' names" in found
    assert "one of shop/curated/iteration=0000/commit.json" in found


def test_what_was_made_from_a_commit_before_rows_were_forgotten_still_leads_to_it(store: LocalStore) -> None:
    key = CommitKey("shop", "rollouts", 1)
    old, place = commits.read(store, key), commit_object(key)
    inputs = {**old.inputs, "changed": "yes"}
    digest = commit_digest(key, parents=old.parents, inputs=inputs, files=old.files, artifacts=old.artifacts)
    anew = Commit(key, old.parents, inputs, old.files, old.artifacts, digest, (Supersedes(old.digest, "t1"),))
    store.replace(place, encode_commit(anew), tag=store.get_tagged(place).tag)

    before = problems(store)
    store.delete("_tombstones/t1.json")

    assert before == ()
    assert "object '_tombstones/t1.json' is missing: shop/rollouts/0001" in problems(store)[0]


def test_one_experiment_is_verified_without_the_objects_of_another(store: LocalStore) -> None:
    store.create("other/policy/iteration=0000/commit.json", b"nonsense")

    assert problems(store, "shop") == ()
    assert "'other/policy/iteration=0000/commit.json' is not JSON" in problems(store)[0]


def test_every_object_is_read_once(whole: LocalStore) -> None:
    read: list[str] = []

    class Counting(Changed):
        def get(self, key: str) -> bytes:
            read.append(key)
            return super().get(key)

    verify_deep(Counting(whole, "", b""), None)

    assert sorted(read) == whole.list("")


@pytest.mark.parametrize("experiment", ["shop", None])
def test_behind_a_commit_that_cannot_be_read_the_rest_is_read_too(
    store: LocalStore, experiment: str | None
) -> None:
    damaged = [key for key in store.list("shop/") if key.endswith("commit.json")][:2]
    for key in damaged:
        store.path(key).write_bytes(b"{half")

    found = problems(store, experiment)

    assert [key for key in damaged if any(f"{key!r} is not JSON" in text for text in found)] == damaged
