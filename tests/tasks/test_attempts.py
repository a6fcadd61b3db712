"""One attempt at a time, its facts and its log in the lake, whether it succeeded or not."""

import logging
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from storage import commits, exclusion, leases, run_logs
from storage.errors import ClosedIteration
from storage.facts import read_facts
from storage.processes import this_process
from tasks.attempts import Attempt, perform
from tasks.context import Context, StageResult
from tests.loop.tiny import tiny_config

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
