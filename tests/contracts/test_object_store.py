"""What every object store promises: create once, read back, list by prefix, one winner of any race."""

import errno
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storage.errors import BadKey, ObjectMissing
from storage.local_store import LocalStore
from storage.objects import ObjectStore
from tests.storage.stores import failing_link


def local(root: Path) -> ObjectStore:
    return LocalStore(root)


def local_without_hard_links(root: Path) -> ObjectStore:
    return LocalStore(root, link=failing_link(errno.EOPNOTSUPP))


# A store on a network joins here.
STORES: dict[str, Callable[[Path], ObjectStore]] = {
    "local": local,
    "local_without_hard_links": local_without_hard_links,
}


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    return STORES[request.param](tmp_path / "lake")


def test_what_was_created_is_read_back(store: ObjectStore) -> None:
    assert store.create("a/b/c.json", b"\x00content\xff")

    assert store.get("a/b/c.json") == b"\x00content\xff"


def test_the_first_creation_wins_and_the_second_changes_nothing(store: ObjectStore) -> None:
    first, second = store.create("a/x", b"one"), store.create("a/x", b"two")

    assert (first, second) == (True, False)
    assert store.get("a/x") == b"one"


def test_a_missing_object_is_named(store: ObjectStore) -> None:
    with pytest.raises(ObjectMissing, match="a/nothing"):
        store.get("a/nothing")


def test_a_folder_is_no_object(store: ObjectStore) -> None:
    store.create("a/b/c", b"1")

    with pytest.raises(ObjectMissing, match="a/b"):
        store.get("a/b")


def test_an_empty_object_is_an_object(store: ObjectStore) -> None:
    store.create("a/empty", b"")

    assert store.get("a/empty") == b""
    assert not store.create("a/empty", b"late")


def test_listing_takes_any_prefix_and_is_sorted(store: ObjectStore) -> None:
    for key in ("a/shard-2", "a/shard-1", "a/deep/er/x", "ab", "b/y"):
        store.create(key, b"1")

    assert store.list("a/shard-") == ["a/shard-1", "a/shard-2"]
    assert store.list("a/") == ["a/deep/er/x", "a/shard-1", "a/shard-2"]
    assert store.list("a") == ["a/deep/er/x", "a/shard-1", "a/shard-2", "ab"]
    assert store.list("") == ["a/deep/er/x", "a/shard-1", "a/shard-2", "ab", "b/y"]


def test_listing_where_nothing_is_gives_nothing(store: ObjectStore) -> None:
    assert store.list("") == []
    assert store.list("none/") == []


@pytest.mark.parametrize(
    "key", ["", "/a", "a//b", "a/", "../a", "a/../b", "a/./b", ".hidden", "a/.tmp-1", "a\\b", "a\0b"]
)
def test_an_unsafe_key_is_refused(store: ObjectStore, key: str) -> None:
    with pytest.raises(BadKey):
        store.create(key, b"1")
    with pytest.raises(BadKey):
        store.get(key)


def test_a_race_has_one_winner_whose_bytes_all_read(store: ObjectStore) -> None:
    bodies = [f"writer {number}".encode() * 1000 for number in range(8)]

    for attempt in range(10):
        with ThreadPoolExecutor(8) as pool:
            won = list(pool.map(lambda body, key=f"race/{attempt}": store.create(key, body), bodies))

        assert won.count(True) == 1
        assert store.get(f"race/{attempt}") == bodies[won.index(True)]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(
    contents=st.dictionaries(
        st.from_regex(r"[a-c](/[a-c0-9=_-]{1,3}){0,2}/f", fullmatch=True), st.binary(max_size=9)
    )
)
def test_the_store_is_a_dictionary_that_only_grows(
    contents: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory
) -> None:
    store = local(tmp_path_factory.mktemp("lake"))
    kept = {key: data for key, data in contents.items() if not _is_folder_of_another(key, contents)}

    for key, data in kept.items():
        store.create(key, data)

    assert {key: store.get(key) for key in store.list("")} == kept


def _is_folder_of_another(key: str, contents: dict[str, bytes]) -> bool:
    return any(other.startswith(f"{key}/") or key.startswith(f"{other}/") for other in contents)
