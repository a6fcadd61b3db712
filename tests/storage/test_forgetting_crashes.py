"""Forgetting is killed at every change, raced by others, read meanwhile: the lake is whole at any moment."""

import functools
import json
import random
from collections.abc import Callable, Iterator

import pytest

from storage import commits
from storage.commits import CommitKey
from storage.deep_verification import verify_deep
from storage.errors import ConflictingCommit
from storage.forget_look import look
from storage.forgetting import forget, resume
from storage.listing import list_commits
from storage.objects import LakeStore
from storage.tombstones import BusyLake, Selector, find_pending, tombstones
from storage.verification import verify
from tests.storage import forget_lake as planted
from tests.storage.forget_lake import ANN, BOB, TRACES, USER
from tests.storage.lake_rows import rows_of
from tests.storage.memory_store import InterruptedStore, MemoryStore
from tests.storage.stores import Killed

BY_USER, BY_NAME = Selector(user=USER), Selector(conversations=(BOB,))
SAMPLED = 5


@pytest.fixture(scope="module")
def template() -> MemoryStore:
    store = MemoryStore()
    planted.write_lake(store)
    return store


@pytest.fixture(scope="module")
def unbroken(template: MemoryStore) -> dict[str, object]:
    store = template.copy()
    run(store)
    return state(store)


@pytest.fixture(scope="module")
def changes(template: MemoryStore) -> int:
    store = InterruptedStore(template.copy(), lambda number, done: None)
    run(store)
    return store.changes


def run(store: LakeStore, selector: Selector = BY_USER) -> None:
    """Finish what was begun, then look, and forget what is there."""
    render = functools.partial(planted.render, store)
    resume(store, selector, render=render)
    found = look(store, selector)
    if not found.is_nothing:
        forget(store, found, reason="asked to", render=render)


def state(store: LakeStore) -> dict[str, object]:
    """Every object but tombstones, whose names are drawn; of commits all but the name of the tombstone."""
    kept = {key: store.get(key) for key in store.list("") if not key.startswith("_tombstones/")}
    return {key: _nameless(data) if key.endswith("commit.json") else data for key, data in kept.items()}


def _nameless(data: bytes) -> object:
    body = json.loads(data)
    earlier = [each["digest"] for each in body.get("supersedes", [])]
    return {name: value for name, value in body.items() if name != "checksum"} | {"supersedes": earlier}


def at(moment: tuple[int, bool], action: Callable[[], object]) -> Callable[[int, bool], None]:
    """Let it happen once, at this change."""

    def happens(number: int, done: bool) -> None:
        if (number, done) == moment:
            action()

    return happens


def die() -> None:
    raise Killed


def moments(changes: int, *, sampled: bool) -> Iterator[tuple[int, bool]]:
    """Before and after every change, or some of them drawn by chance."""
    every = [(number, done) for number in range(changes) for done in (False, True)]
    yield from random.sample(every, SAMPLED) if sampled else every


def check_killed(template: MemoryStore, unbroken: dict[str, object], moment: tuple[int, bool]) -> None:
    store = template.copy()
    with pytest.raises(Killed):
        run(InterruptedStore(store, at(moment, die)))
    run(store)
    assert state(store) == unbroken, moment
    assert len(tombstones(store)) == 1
    assert find_pending(store, BY_USER) is None
    assert planted.traces_in(store) == []


def check_raced(template: MemoryStore, moment: tuple[int, bool], other: Selector) -> None:
    store = template.copy()
    run(InterruptedStore(store, at(moment, lambda: run(store, other))))
    assert verify_deep(store, None).problems == (), moment
    assert planted.traces_in(store) == [], moment
    assert other == BY_USER or planted.traces_in(store, (BOB, planted.TALKS[BOB][0])) == []
    assert verify_deep(store, None).problems == ()


def seal_meanwhile(store: MemoryStore) -> None:
    """The stage whose shard was waiting comes back and seals it, from whatever its parent is by now."""
    key = CommitKey("again", "curated", 0)
    parents = {"rollouts": commits.read(store, CommitKey("again", "rollouts", 0)).digest}
    try:
        commits.seal(store, key, shards=1, parents=parents, inputs={"seed": "1"})
    except ConflictingCommit:
        return


@pytest.mark.slow
def test_killed_anywhere_a_second_run_ends_where_an_unbroken_one_does(
    template: MemoryStore, unbroken: dict[str, object], changes: int
) -> None:
    assert changes > 30
    for moment in moments(changes, sampled=True):
        check_killed(template, unbroken, moment)


@pytest.mark.e2e
def test_killed_at_every_change(template: MemoryStore, unbroken: dict[str, object], changes: int) -> None:
    for moment in moments(changes, sampled=False):
        check_killed(template, unbroken, moment)


@pytest.mark.slow
@pytest.mark.parametrize("other", [BY_USER, BY_NAME])
def test_a_second_forgetting_in_the_midst_does_no_harm(
    template: MemoryStore, changes: int, other: Selector
) -> None:
    for moment in moments(changes, sampled=True):
        check_raced(template, moment, other)


@pytest.mark.e2e
@pytest.mark.parametrize("other", [BY_USER, BY_NAME])
def test_a_second_forgetting_at_every_change(template: MemoryStore, changes: int, other: Selector) -> None:
    for moment in moments(changes, sampled=False):
        check_raced(template, moment, other)


@pytest.mark.slow
def test_a_shard_that_is_sealed_meanwhile_is_sealed_without_the_rows(
    template: MemoryStore, changes: int
) -> None:
    for moment in moments(changes, sampled=True):
        store = template.copy()

        run(InterruptedStore(store, at(moment, functools.partial(seal_meanwhile, store))))

        assert planted.traces_in(store) == [], moment
        assert verify_deep(store, None).problems == ()


@pytest.mark.slow
def test_at_every_moment_every_commit_is_whole_and_old_or_new(
    template: MemoryStore, unbroken: dict[str, object]
) -> None:
    store = template.copy()
    old, digests = state(store), {commit.digest for commit in list_commits(store, None)}
    new = {body["digest"] for body in unbroken.values() if isinstance(body, dict)}

    def read(number: int, done: bool) -> None:
        for commit in list_commits(store, None):
            assert verify(store, commit) == []
            assert commit.digest in digests | new

    run(InterruptedStore(store, read))

    assert state(store) == unbroken != old


def test_a_page_that_was_made_in_between_is_made_again(template: MemoryStore) -> None:
    store = template.copy()
    before_any_swap = (3, False)

    run(InterruptedStore(store, at(before_any_swap, functools.partial(run, store, BY_NAME))))

    assert [trace for trace in planted.traces_in(store) if "/report/" in trace] == []


def test_new_files_that_were_taken_for_garbage_are_made_again_before_they_are_named(
    template: MemoryStore, unbroken: dict[str, object]
) -> None:
    sizes: list[int] = []
    trial = template.copy()
    run(InterruptedStore(trial, lambda number, done: sizes.append(len(trial.objects))))
    first_swap = next(place for place in range(len(sizes) // 2) if sizes[2 * place] == sizes[2 * place + 1])
    store = template.copy()

    run(
        InterruptedStore(
            store, at((first_swap - 1, True), functools.partial(lose_new_files, store, template))
        )
    )

    assert first_swap > 1
    assert state(store) == unbroken


def lose_new_files(store: MemoryStore, old: MemoryStore) -> None:
    """Somebody takes for garbage what a forgetting has stored and not named."""
    for key in set(store.list("")) - set(old.list("")):
        if key.endswith(".parquet"):
            store.delete(key)


def test_what_is_committed_meanwhile_is_not_overlooked(template: MemoryStore) -> None:
    store, name = template.copy(), "a5" * 16
    later = {"conversations": rows_of("conversations", [planted.conversation(name, talk=ANN, user_id=USER)])}
    key = CommitKey("late", "rollouts", 0)
    write = functools.partial(
        commits.commit, store, key, tables=later, parents={}, inputs={"seed": "1"}, attempt="late"
    )

    with pytest.raises(BusyLake, match="rollouts: more of it was committed"):
        run(InterruptedStore(store, at((1, True), write)))
    unfinished = find_pending(store, BY_USER)
    run(store)

    assert unfinished is not None
    assert find_pending(store, BY_USER) is None
    assert planted.traces_in(store, (*TRACES, name)) == []


def test_old_files_that_a_killed_run_could_not_delete_are_swept_up(template: MemoryStore) -> None:
    sizes: list[int] = []
    trial = template.copy()
    run(InterruptedStore(trial, lambda number, done: sizes.append(len(trial.objects))))
    first_delete = next(place // 2 for place in range(1, len(sizes)) if sizes[place] < sizes[place - 1])
    store = template.copy()
    with pytest.raises(Killed):
        run(InterruptedStore(store, at((first_delete, False), die)))

    run(store)

    assert planted.traces_in(store) == []


def test_a_killed_forgetting_is_known_by_the_same_ids_and_shows_none(template: MemoryStore) -> None:
    store = template.copy()
    with pytest.raises(Killed):
        run(InterruptedStore(store, at((3, True), die)))

    record = store.get(store.list("_tombstones/pending-")[0]).decode()

    assert find_pending(store, BY_USER) is not None
    assert find_pending(store, BY_NAME) is None
    assert not any(trace in record for trace in TRACES)
