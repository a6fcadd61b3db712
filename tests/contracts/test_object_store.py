"""What every object store promises: create once, swap by tag, read back, list, one winner of any race.

The buckets are on real servers of two makes.
"""

import errno
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storage.errors import BadKey, ObjectMissing
from storage.local_store import LocalStore
from storage.objects import LakeStore
from storage.stores import open_store
from tests.storage.stores import failing_link


def local(request: pytest.FixtureRequest, root: Path) -> LakeStore:
    return LocalStore(root)


def local_without_hard_links(request: pytest.FixtureRequest, root: Path) -> LakeStore:
    return LocalStore(root, link=failing_link(errno.EOPNOTSUPP))


def s3_moto(request: pytest.FixtureRequest, root: Path) -> LakeStore:
    return open_store(request.getfixturevalue("moto_lake"))


def s3_ministack(request: pytest.FixtureRequest, root: Path) -> LakeStore:
    return open_store(request.getfixturevalue("ministack_lake"))


STORES: dict[str, Callable[[pytest.FixtureRequest, Path], LakeStore]] = {
    "local": local,
    "local_without_hard_links": local_without_hard_links,
    "s3_moto": s3_moto,
    "s3_ministack": s3_ministack,
}


# `make check` asks one server, `make test` both.
SECOND_SERVER = pytest.param("s3_ministack", marks=pytest.mark.slow)


@pytest.fixture(params=[*(name for name in STORES if name != "s3_ministack"), SECOND_SERVER])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> LakeStore:
    return STORES[request.param](request, tmp_path / "lake")


def test_what_was_created_is_read_back(store: LakeStore) -> None:
    assert store.create("a/b/c.json", b"\x00content\xff")

    assert store.get("a/b/c.json") == b"\x00content\xff"


def test_the_first_creation_wins_and_the_second_changes_nothing(store: LakeStore) -> None:
    first, second = store.create("a/x", b"one"), store.create("a/x", b"two")

    assert (first, second) == (True, False)
    assert store.get("a/x") == b"one"


def test_a_missing_object_is_named(store: LakeStore) -> None:
    with pytest.raises(ObjectMissing, match="a/nothing"):
        store.get("a/nothing")


def test_a_folder_is_no_object(store: LakeStore) -> None:
    store.create("a/b/c", b"1")

    with pytest.raises(ObjectMissing, match="a/b"):
        store.get("a/b")


def test_an_empty_object_is_an_object(store: LakeStore) -> None:
    store.create("a/empty", b"")

    assert store.get("a/empty") == b""
    assert not store.create("a/empty", b"late")


def test_listing_takes_any_prefix_and_is_sorted(store: LakeStore) -> None:
    for key in ("a/shard-2", "a/shard-1", "a/deep/er/x", "ab", "b/y"):
        store.create(key, b"1")

    assert store.list("a/shard-") == ["a/shard-1", "a/shard-2"]
    assert store.list("a/") == ["a/deep/er/x", "a/shard-1", "a/shard-2"]
    assert store.list("a") == ["a/deep/er/x", "a/shard-1", "a/shard-2", "ab"]
    assert store.list("") == ["a/deep/er/x", "a/shard-1", "a/shard-2", "ab", "b/y"]


def test_listing_where_nothing_is_gives_nothing(store: LakeStore) -> None:
    assert store.list("") == []
    assert store.list("none/") == []


@pytest.mark.parametrize(
    "key", ["", "/a", "a//b", "a/", "../a", "a/../b", "a/./b", ".hidden", "a/.tmp-1", "a\\b", "a\0b"]
)
def test_an_unsafe_key_is_refused(store: LakeStore, key: str) -> None:
    with pytest.raises(BadKey):
        store.create(key, b"1")
    with pytest.raises(BadKey):
        store.get(key)


def test_a_race_has_one_winner_whose_bytes_all_read(store: LakeStore) -> None:
    bodies = [f"writer {number}".encode() * 1000 for number in range(8)]

    for attempt in range(10):
        with ThreadPoolExecutor(8) as pool:
            won = list(pool.map(lambda body, key=f"race/{attempt}": store.create(key, body), bodies))

        assert won.count(True) == 1
        assert store.get(f"race/{attempt}") == bodies[won.index(True)]


def test_what_was_read_is_swapped_by_its_tag(store: LakeStore) -> None:
    store.create("a/lease.json", b"one")
    tagged = store.get_tagged("a/lease.json")

    assert tagged.data == b"one"
    assert store.replace("a/lease.json", b"two", tag=tagged.tag)
    assert store.get("a/lease.json") == b"two"


def test_a_stale_tag_swaps_nothing(store: LakeStore) -> None:
    store.create("a/lease.json", b"one")
    stale = store.get_tagged("a/lease.json").tag
    store.replace("a/lease.json", b"two", tag=stale)

    assert not store.replace("a/lease.json", b"three", tag=stale)
    assert store.get("a/lease.json") == b"two"


def test_what_is_not_there_is_neither_tagged_nor_swapped(store: LakeStore) -> None:
    store.create("a/other", b"one")
    tag = store.get_tagged("a/other").tag

    assert not store.replace("a/lease.json", b"two", tag=tag)
    assert not store.replace("b/lease.json", b"two", tag=tag)
    with pytest.raises(ObjectMissing, match=r"a/lease\.json"):
        store.get_tagged("a/lease.json")


def test_a_race_of_swaps_has_one_winner(store: LakeStore) -> None:
    store.create("lease.json", b"free")

    for attempt in range(5):
        tag = store.get_tagged("lease.json").tag
        bodies = [f"writer {number} of {attempt}".encode() for number in range(8)]
        with ThreadPoolExecutor(8) as pool:
            won = list(pool.map(lambda body, tag=tag: store.replace("lease.json", body, tag=tag), bodies))

        assert won.count(True) == 1
        assert store.get("lease.json") == bodies[won.index(True)]


def test_entries_tell_size_and_time_in_the_order_of_keys(store: LakeStore) -> None:
    before_s = time.time()
    for key, data in {"a/2": b"22", "a/1": b"1", "b": b"333"}.items():
        store.create(key, data)

    found = store.entries("a/")

    assert [(info.key, info.size_bytes) for info in found] == [("a/1", 1), ("a/2", 2)]
    assert all(before_s - 2 < info.modified_s < time.time() + 2 for info in found)
    assert [info.key for info in store.entries("")] == ["a/1", "a/2", "b"]


def test_what_was_deleted_is_gone_and_can_be_created_again(store: LakeStore) -> None:
    store.create("a/x", b"one")

    store.delete("a/x")

    assert store.list("") == []
    with pytest.raises(ObjectMissing):
        store.get("a/x")
    assert store.create("a/x", b"two")


def test_deleting_what_is_not_there_is_no_error(store: LakeStore) -> None:
    store.delete("a/nothing")

    assert store.list("") == []


def test_a_sweep_takes_no_finished_object(store: LakeStore) -> None:
    store.create("a/x", b"one")

    assert list(store.sweep_unfinished(older_than_s=0)) == []
    assert store.get("a/x") == b"one"


@pytest.mark.parametrize("key", ["a b/é%20+.json", "iteration=0003/x#y?z&w", "a/100%", "a/'\"<>~"])
def test_odd_characters_are_part_of_a_key(store: LakeStore, key: str) -> None:
    assert store.create(key, b"1")

    assert store.list("") == [key]
    assert store.get(key) == b"1"
    assert store.replace(key, b"2", tag=store.get_tagged(key).tag)


@pytest.mark.e2e
def test_more_keys_than_a_page_of_a_listing_are_listed(store: LakeStore) -> None:
    keys = [f"many/{number:04d}" for number in range(1005)]
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(lambda key: store.create(key, b""), keys))

    assert store.list("many/") == keys


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(
    contents=st.dictionaries(
        st.from_regex(r"[a-c](/[a-c0-9=_-]{1,3}){0,2}/f", fullmatch=True), st.binary(max_size=9)
    )
)
def test_the_store_is_a_dictionary_that_only_grows(
    contents: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory
) -> None:
    store = LocalStore(tmp_path_factory.mktemp("lake"))
    kept = {key: data for key, data in contents.items() if not _is_folder_of_another(key, contents)}

    for key, data in kept.items():
        store.create(key, data)

    assert {key: store.get(key) for key in store.list("")} == kept


def _is_folder_of_another(key: str, contents: dict[str, bytes]) -> bool:
    return any(other.startswith(f"{key}/") or key.startswith(f"{other}/") for other in contents)
