"""A joining of outcomes and the first learning from the same logs, at once: one of them wins, never both."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage import commits, revisions
from storage.commits import CommitKey
from storage.errors import ClosedIteration, SupersededLogs
from storage.listing import list_commits
from storage.objects import ObjectStore
from storage.verification import verify
from tests.storage.interleaving import TakingTurns, interleaved
from tests.storage.lake_rows import conversations, metrics
from tests.storage.memory_store import InterruptedStore, MemoryStore
from tests.storage.stores import Killed

LOGS = CommitKey("talks", "rollouts", 0)
JOINED = revisions.revised(LOGS, 1)
POLICY = CommitKey("talks", "policy", 0)
CALLS = 12  # of either writer, at most


def learn(store: ObjectStore) -> None:
    """What a stage does that made a policy of the logs as it read them."""
    revisions.hold(store, LOGS, by=POLICY)
    tables = {"metrics": metrics(loss=0.5)}
    commits.commit(store, POLICY, tables=tables, parents={"rollouts": "a"}, inputs={}, attempt="learner")


def join(store: ObjectStore) -> None:
    """What `itpo outcomes` does: look whether something was learnt, then commit the next revision."""
    if commits.find(store, POLICY) is None:
        tables = {"conversations": conversations("c", experiment="talks", iteration=0)}
        commits.commit(store, JOINED, tables=tables, parents={"rollouts": "a"}, inputs={}, attempt="joiner")


def take_part(store: TakingTurns, writer: int) -> int:
    (learn, join)[writer](store)
    return store.calls


def is_committed(store: MemoryStore) -> tuple[bool, bool]:
    return commits.find(store, POLICY) is not None, commits.find(store, JOINED) is not None


def check_one(order: Sequence[int]) -> None:
    store = MemoryStore()

    learnt, joined = interleaved(store, take_part, order=order)

    policy, revision = is_committed(store)
    assert (policy, revision) in ((True, False), (False, True))
    assert policy == (not isinstance(learnt, SupersededLogs))
    assert revision == (not isinstance(joined, ClosedIteration) and not policy)
    assert isinstance(learnt, int | SupersededLogs), learnt
    assert isinstance(joined, int | ClosedIteration), joined
    assert all(verify(store, each) == [] for each in list_commits(store, "talks"))


@pytest.mark.parametrize("before", range(CALLS + 1))
def test_wherever_a_joining_comes_between_one_of_both_is_committed(before: int) -> None:
    for after in range(CALLS + 1):
        check_one([0] * before + [1] * after + [0] * CALLS)
        check_one([1] * before + [0] * after + [1] * CALLS)


@given(order=st.lists(st.sampled_from([0, 1]), max_size=2 * CALLS))
@settings(max_examples=50, deadline=None)
def test_so_it_is_in_any_order_of_their_calls(order: list[int]) -> None:
    check_one(order)


@pytest.mark.parametrize("moment", [(number, done) for number in range(4) for done in (False, True)])
def test_a_learning_that_was_killed_is_gone_on_with_and_nothing_was_joined_meanwhile(
    moment: tuple[int, bool],
) -> None:
    store = MemoryStore()

    def die(number: int, done: bool) -> None:
        if (number, done) == moment:
            raise Killed

    with pytest.raises(Killed):
        learn(InterruptedStore(store, die))
    try:
        join(store)
    except ClosedIteration:
        learn(store)

    assert sum(is_committed(store)) == 1
