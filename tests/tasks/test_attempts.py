"""One attempt at a time, its facts and its log in the lake, whether it succeeded or not."""

import errno
import logging
import threading
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import pytest

from storage import commits, exclusion, leases, run_logs
from storage.errors import ClosedIteration, StorageFull
from storage.facts import read_facts
from storage.local_store import LocalStore, write_durably
from storage.processes import this_process
from tasks.attempts import Attempt, perform
from tasks.context import Context, StageResult
from tests.loop.tiny import tiny_config
from tests.storage.lake_rows import metrics

RESULT = StageResult("curate", "tiny/curated/0001", "digest", False, {"kept": 3})


def attempt_in(lake: Path, **changes: object) -> Attempt:
    return Attempt(Context(tiny_config(lake, **changes), 1), "curate", None)


def hold_elsewhere(attempt: Attempt) -> None:
    """Another machine is at work on the same stage."""
    leases.acquire(
        attempt.context.store,
        leases.lease_place("tiny", attempt.name),
        holder=leases.Holder("other", replace(this_process(), host="elsewhere")),
        patience=leases.Patience(),
        on_wait=lambda _: None,
    )


def test_a_stage_that_is_not_done_is_leased_while_it_is_made(tmp_path: Path) -> None:
    attempt = attempt_in(tmp_path)
    place = leases.lease_place("tiny", "curate-0001")

    def work() -> StageResult:
        lease = leases.read_lease(attempt.context.store, place)
        assert lease is not None
        assert lease.holder is not None
        assert lease.holder.attempt == attempt.context.attempt
        return RESULT

    assert perform(attempt, work) == RESULT

    lease = leases.read_lease(attempt.context.store, place)
    assert lease is not None
    assert lease.holder is None


def test_the_work_of_a_machine_that_went_silent_is_waited_for_and_then_done(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    attempt = attempt_in(tmp_path, lake__lease_ttl_s=0.6)
    hold_elsewhere(attempt)

    result = perform(attempt, lambda: RESULT)

    assert result == RESULT
    assert "curate-0001 of tiny is being made by process" in caplog.text
    assert "(attempt other): waiting" in caplog.text


def test_two_attempts_in_two_threads_are_made_one_after_the_other(tmp_path: Path) -> None:
    inside, most = [], []

    def work() -> StageResult:
        inside.append(1)
        most.append(len(inside))
        threading.Event().wait(0.05)
        inside.pop()
        return RESULT

    threads = [threading.Thread(target=perform, args=(attempt_in(tmp_path), work)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert most == [1, 1, 1]


def test_a_failure_is_counted_in_the_facts_and_its_traceback_is_kept(tmp_path: Path) -> None:
    attempt = attempt_in(tmp_path)

    def work() -> StageResult:
        logging.getLogger("tasks.curate").warning("three conversations look odd")
        raise ValueError("no such column")

    with pytest.raises(ValueError, match="no such column"):
        perform(attempt, work)

    [facts] = read_facts(attempt.context.store, attempt.context.key("curated"))
    [lines] = run_logs.read(attempt.context.store, "tiny").values()
    assert facts["error"] == "ValueError: no such column"
    assert "three conversations look odd" in lines[0]
    assert "Traceback" in "".join(lines)


def test_what_was_resumed_leaves_no_facts_and_no_log(tmp_path: Path) -> None:
    attempt = attempt_in(tmp_path)

    perform(attempt, lambda: replace(RESULT, resumed=True))

    assert read_facts(attempt.context.store, attempt.context.key("curated")) == []
    assert run_logs.read(attempt.context.store, "tiny") == {}


def test_nobody_works_for_a_place_that_a_decision_closed(tmp_path: Path) -> None:
    attempt = attempt_in(tmp_path)
    commits.close(attempt.context.store, attempt.context.key("curated"), by="decide/0001")
    worked: list[int] = []

    def work() -> StageResult:
        worked.append(1)
        return RESULT

    with pytest.raises(ClosedIteration, match="decide/0001"):
        perform(attempt, work)

    assert worked == []


def test_a_stage_stays_out_while_something_is_removed_from_the_lake(tmp_path: Path) -> None:
    attempt = attempt_in(tmp_path)
    store, worked = attempt.context.store, threading.Event()

    def work() -> StageResult:
        worked.set()
        return RESULT

    with exclusion.alone(store, attempt="forget", ttl_s=60.0, on_wait=lambda _: None) as removal:
        stage = threading.Thread(target=perform, args=(attempt, work))
        stage.start()
        assert not worked.wait(0.5)
        while removal.at_work(""):  # it gave its own lease back before it waits
            pass
    stage.join(timeout=20)

    assert worked.is_set()


def publish(context: Context, attempt: str) -> None:
    """Some attempt claims the rows of the stage."""
    commits.publish_shard(
        context.store,
        context.key("curated"),
        shard=0,
        tables={"metrics": metrics(loss=0.5)},
        inputs={},
        attempt=attempt,
    )


def test_what_another_attempt_claimed_first_is_taken_over_without_figures_of_ones_own(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    attempt = attempt_in(tmp_path)

    def work() -> StageResult:
        publish(attempt.context, "faster")
        return RESULT

    result = perform(attempt, work)

    assert result == replace(RESULT, resumed=True, figures={})
    assert "attempt faster was first, its result is taken over" in caplog.text
    assert read_facts(attempt.context.store, attempt.context.key("curated")) == []


def test_what_an_attempt_claimed_itself_is_its_own_result(tmp_path: Path) -> None:
    attempt = attempt_in(tmp_path)

    def work() -> StageResult:
        publish(attempt.context, attempt.context.attempt)
        return RESULT

    assert perform(attempt, work) == RESULT
    assert len(read_facts(attempt.context.store, attempt.context.key("curated"))) == 1


class FactlessContext(Context):
    """Its lake has no room for side facts."""

    @cached_property
    def store(self) -> LocalStore:
        """As any other but for that."""

        def write(path: Path, data: bytes) -> None:
            if path.parent.name == "_facts":
                raise OSError(errno.ENOSPC, "no space left")
            write_durably(path, data)

        return LocalStore(Path(self.config.lake.root), write=write)


def test_side_facts_that_cannot_be_kept_are_a_failure_and_not_lost_in_silence(tmp_path: Path) -> None:
    attempt = Attempt(FactlessContext(tiny_config(tmp_path), 1), "curate", None)

    with pytest.raises(StorageFull, match="_facts"):
        perform(attempt, lambda: RESULT)


def test_an_error_whose_facts_cannot_be_kept_is_still_the_one_that_is_raised(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    attempt = Attempt(FactlessContext(tiny_config(tmp_path), 1), "curate", None)

    def work() -> StageResult:
        raise ValueError("no such column")

    with pytest.raises(ValueError, match="no such column"):
        perform(attempt, work)

    assert "the error above is not kept in the lake: no space left" in caplog.text
