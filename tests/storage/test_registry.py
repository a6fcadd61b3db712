"""The registry adds up: what is current, what comes next, and that no event is changed or lost."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage import registry
from storage.errors import ConflictingEvent, CorruptObject, MissingPolicy
from storage.local_store import LocalStore
from storage.registry import Decision, PolicyVersion, version_name


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path)


def version(iteration: int, digest: str = "d") -> PolicyVersion:
    name, parent = version_name("sales", iteration), version_name("sales", iteration - 1)
    key = f"sales/policy/{iteration:04d}"
    return PolicyVersion(name, "sales", iteration, parent if iteration else None, digest, key)


def decide(store: LocalStore, iteration: int, action: str, about: int) -> Decision:
    """What an iteration does at its end: its candidate, then a decision that names a version."""
    registry.register_candidate(store, version(iteration))
    return registry.record_decision(
        store,
        "sales",
        event_id=f"decide/{iteration:04d}",
        action=action,
        version=version_name("sales", about),
        reason="test",
        evidence={"gain": 0.1},
    )


def current_name(store: LocalStore) -> str:
    return registry.current(store, "sales").name


def test_an_empty_registry_has_no_policy_and_says_how_to_get_one(store: LocalStore) -> None:
    assert registry.find_current(store, "sales") is None
    assert registry.next_iteration(store, "sales") == 0
    with pytest.raises(MissingPolicy, match=r"sales has no current policy: run its iteration 0"):
        registry.current(store, "sales")


def test_a_candidate_is_known_but_not_current(store: LocalStore) -> None:
    registry.register_candidate(store, version(0))

    assert registry.versions(store, "sales") == [version(0)]
    assert registry.find_current(store, "sales") is None
    assert registry.next_iteration(store, "sales") == 0


def test_promotion_makes_current_and_hold_keeps(store: LocalStore) -> None:
    decide(store, 0, "promote", 0)
    decide(store, 1, "promote", 1)
    decide(store, 2, "hold", 1)

    assert registry.current(store, "sales") == version(1)
    assert registry.next_iteration(store, "sales") == 3
    assert len(registry.versions(store, "sales")) == 3


def test_a_decision_to_roll_back_ends_its_iteration_too(store: LocalStore) -> None:
    for iteration in range(3):
        decide(store, iteration, "promote", iteration)
    decide(store, 3, "rollback", 1)

    assert current_name(store) == "sales/v0001"
    assert registry.next_iteration(store, "sales") == 4


def test_a_rollback_by_hand_goes_back_one_version_and_decides_nothing(store: LocalStore) -> None:
    decide(store, 0, "promote", 0)
    decide(store, 1, "promote", 1)
    registry.register_candidate(store, version(2))

    registry.rollback(store, "sales", to=None, reason="complaints", event_id="rollback/1")

    assert current_name(store) == "sales/v0000"
    assert registry.next_iteration(store, "sales") == 2


def test_rolling_back_twice_goes_back_twice(store: LocalStore) -> None:
    for iteration in range(3):
        decide(store, iteration, "promote", iteration)

    for number in range(2):
        registry.rollback(store, "sales", to=None, reason="", event_id=f"rollback/{number}")

    assert current_name(store) == "sales/v0000"
    with pytest.raises(MissingPolicy, match="no version before sales/v0000"):
        registry.rollback(store, "sales", to=None, reason="", event_id="rollback/2")


def test_a_repeated_rollback_is_done_once(store: LocalStore) -> None:
    for iteration in range(3):
        decide(store, iteration, "promote", iteration)

    first = registry.rollback(store, "sales", to=None, reason="", event_id="same")
    again = registry.rollback(store, "sales", to=None, reason="", event_id="same")

    assert again == first
    assert current_name(store) == "sales/v0001"


def test_rolling_back_to_a_named_version(store: LocalStore) -> None:
    for iteration in range(3):
        decide(store, iteration, "promote", iteration)

    registry.rollback(store, "sales", to="sales/v0000", reason="", event_id="r")

    assert current_name(store) == "sales/v0000"
    with pytest.raises(
        MissingPolicy, match=r"no version 'sales/v0009'; registered are: sales/v0000, sales/v0001"
    ):
        registry.rollback(store, "sales", to="sales/v0009", reason="", event_id="r2")


def test_the_same_event_again_changes_nothing(store: LocalStore) -> None:
    first = decide(store, 0, "promote", 0)

    assert decide(store, 0, "promote", 0) == first
    assert len(registry.events(store, "sales")) == 2


def test_the_same_event_with_another_verdict_is_refused(store: LocalStore) -> None:
    decide(store, 0, "promote", 0)

    with pytest.raises(
        ConflictingEvent, match=r"'decide/0000' of sales is promote sales/v0000, now it would be hold"
    ):
        decide(store, 0, "hold", 0)


def test_another_policy_under_a_known_name_is_refused(store: LocalStore) -> None:
    registry.register_candidate(store, version(0))

    with pytest.raises(ConflictingEvent, match=r"sales/v0000 is registered as .*'d'.*now .*'other'"):
        registry.register_candidate(store, version(0, digest="other"))


def test_a_decision_about_an_unknown_version_is_refused(store: LocalStore) -> None:
    with pytest.raises(MissingPolicy, match="registered are: none"):
        registry.record_decision(
            store, "sales", event_id="e", action="promote", version="sales/v0000", reason="", evidence={}
        )


def test_an_unknown_action_and_evidence_that_is_not_finite_are_refused(store: LocalStore) -> None:
    registry.register_candidate(store, version(0))
    about = {"event_id": "e", "version": "sales/v0000", "reason": ""}

    with pytest.raises(ValueError, match="'celebrate' is unknown: use one of promote, hold, rollback"):
        registry.record_decision(store, "sales", **about, action="celebrate", evidence={})
    with pytest.raises(ValueError, match="evidence must be finite"):
        registry.record_decision(store, "sales", **about, action="hold", evidence={"gain": float("nan")})


def test_evidence_and_reason_come_back_as_given(store: LocalStore) -> None:
    registry.register_candidate(store, version(0))
    evidence = {"gain": 0.25, "gate": "open", "seen": True, "kl": None}

    registry.record_decision(
        store,
        "sales",
        event_id="e",
        action="hold",
        version="sales/v0000",
        reason="Über 5 %",
        evidence=evidence,
    )

    event = registry.events(store, "sales")[-1]
    assert (event.evidence, event.reason, event.seq) == (evidence, "Über 5 %", 1)


def test_racing_writers_all_get_a_place_of_their_own(store: LocalStore) -> None:
    with ThreadPoolExecutor(6) as pool:
        events = list(pool.map(lambda n: registry.register_candidate(store, version(n)), range(6)))

    assert sorted(event.seq for event in events) == list(range(6))
    assert {each.name for each in registry.versions(store, "sales")} == {version(n).name for n in range(6)}


@pytest.mark.parametrize("damaged", [0, 1, 2])
def test_a_changed_event_is_noticed(store: LocalStore, damaged: int) -> None:
    decide(store, 0, "promote", 0)
    decide(store, 1, "promote", 1)
    path = store.path(f"sales/registry/{damaged:06d}.json")
    path.write_bytes(path.read_bytes().replace(b"sales/v000", b"sales/v007"))

    with pytest.raises(CorruptObject, match=f"registry/{damaged:06d}.json"):
        registry.events(store, "sales")


def test_an_event_exchanged_for_a_well_formed_one_breaks_the_chain(store: LocalStore, tmp_path: Path) -> None:
    decide(store, 0, "promote", 0)
    other = LocalStore(tmp_path / "other")
    registry.register_candidate(other, version(0, digest="forged"))
    store.path("sales/registry/000000.json").write_bytes(other.get("sales/registry/000000.json"))

    with pytest.raises(CorruptObject, match=r"000001.json' follows an event with digest"):
        registry.current(store, "sales")


def test_a_lost_event_in_the_middle_is_noticed(store: LocalStore) -> None:
    decide(store, 0, "promote", 0)
    decide(store, 1, "promote", 1)
    store.path("sales/registry/000001.json").unlink()

    with pytest.raises(CorruptObject, match=r"000001.json' is lost although later events exist"):
        registry.current(store, "sales")


def test_a_run_keeps_its_iteration_for_ever(store: LocalStore) -> None:
    first = registry.claim_run(store, "sales", run_id="run/one ä")
    decide(store, 0, "promote", 0)

    assert first == 0
    assert registry.claim_run(store, "sales", run_id="run/one ä") == 0
    assert registry.claim_run(store, "sales", run_id="run/two") == 1


def test_experiments_do_not_see_each_other(store: LocalStore) -> None:
    decide(store, 0, "promote", 0)

    assert registry.events(store, "sale") == []
    assert registry.next_iteration(store, "sales2") == 0


@settings(max_examples=20)
@given(steps=st.lists(st.sampled_from(["promote", "hold", "back"]), max_size=8))
def test_current_is_what_a_person_would_say(
    steps: Sequence[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    store, line = LocalStore(tmp_path_factory.mktemp("lake"), write=Path.write_bytes), []

    for number, step in enumerate(steps):
        if step == "promote":
            decide(store, number, "promote", number)
            line.append(version_name("sales", number))
        elif step == "hold":
            decide(store, number, "hold", number)
        elif len(line) > 1:
            registry.rollback(store, "sales", to=None, reason="", event_id=f"back/{number}")
            line.pop()

    found = registry.find_current(store, "sales")
    assert (found.name if found else None) == (line[-1] if line else None)
