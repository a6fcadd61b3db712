"""Simulated users against logged ones: planted faults are named, faithful users are not accused."""

from collections.abc import Sequence
from functools import cache

import pytest

from itpo_core.envs.base import Reply
from itpo_core.envs.catalogue import ENVIRONMENTS
from itpo_core.envs.user_acts import REFUSING
from itpo_core.fidelity import LOGS_NEEDED, MIN_HALF, Fidelity, TooFew, compare
from itpo_core.fidelity_talks import Talk
from itpo_core.types import Conversation, Message, Role
from tests.itpo_core.bad_users import FAULTS, STAYS, SpoiltEnvironment, is_terse, mistypes, spoil_of
from tests.itpo_core.fidelity_scenes import Scene, in_their_place, scene, talks


@cache
def logged(domain: str = "sales") -> tuple[Conversation, ...]:
    return tuple(scene(domain).logs(1))


def judged(simulated: list[Talk], *, domain: str = "sales", seed: int = 0) -> Fidelity:
    return found_in(scene(domain), talks(logged(domain)), simulated, seed=seed)


def found_in(where: Scene, spoken: list[Talk], simulated: list[Talk], *, seed: int) -> Fidelity:
    found = compare(spoken, simulated, acts=where.acts, refusing=REFUSING, seed=seed)
    assert isinstance(found, Fidelity)
    return found


def spoilt(domain: str, fault: str) -> SpoiltEnvironment:
    where = scene(domain)
    spoil = spoil_of(fault, acts=where.acts, facts=where.facts, asks=where.asks)
    return SpoiltEnvironment(where.environment, spoil)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("domain", ENVIRONMENTS)
def test_a_planted_fault_is_named(domain: str, fault: str) -> None:
    found = judged(in_their_place(logged(domain), spoilt(domain, fault), seed=2), domain=domain)

    assert fault in found.faults
    assert found.index < 1
    named = next(each for each in found.findings if each.fault == fault)
    assert named.distance > named.limit
    assert found.worst.fault is not None


def test_a_planted_fault_is_named_in_conversations_of_its_own_too() -> None:
    found = judged(talks(scene("sales").logs(7, environment=spoilt("sales", "never stops"))))

    assert "never stops" in found.faults


@pytest.mark.parametrize("domain", ENVIRONMENTS)
def test_faithful_users_in_the_logged_users_place_are_not_accused(domain: str) -> None:
    found = judged(in_their_place(logged(domain), scene(domain).environment, seed=3), domain=domain)

    assert (found.index, found.faults, found.unjudged) == (1.0, (), ())
    assert len(found.findings) == 15
    assert all(each.lower <= each.distance <= each.upper for each in found.findings)


@pytest.mark.parametrize("domain", ENVIRONMENTS)
def test_other_conversations_of_the_same_users_and_talker_are_not_accused(domain: str) -> None:
    found = judged(talks(scene(domain).logs(4)), domain=domain)

    assert found.faults == ()


def test_somebody_who_is_terse_from_the_beginning_does_not_turn_terse() -> None:
    environment = SpoiltEnvironment(scene("sales").environment, is_terse)

    found = judged(in_their_place(logged(), environment, seed=2))

    assert "too terse" in found.faults
    assert not {"turns terse", "turns long-winded"} & set(found.faults)


def evades_later(messages: Sequence[Message], reply: Reply) -> Reply:
    """Puts off whatever he is asked for from his fourth answer on, without a word that negates."""
    is_late = sum(each.role is Role.ASSISTANT for each in messages) > STAYS
    return Reply("hmm let me think about it .", reply.stop) if is_late and reply.text else reply


def test_somebody_who_refuses_later_by_the_kind_of_his_answers_turns_contrary() -> None:
    environment = SpoiltEnvironment(scene("sales").environment, evades_later)

    found = judged(in_their_place(logged(), environment, seed=2))

    assert "turns contrary" in found.faults


def test_users_who_never_mistype_are_named_where_logged_ones_do_and_those_who_do_are_not() -> None:
    where = scene("math")
    spoken = where.logs(1, environment=SpoiltEnvironment(where.environment, mistypes(0.1)))
    alike = SpoiltEnvironment(where.environment, mistypes(0.1, seed=1))

    careful, careless = (
        found_in(where, talks(spoken), in_their_place(spoken, users, seed=2), seed=2)
        for users in (where.environment, alike)
    )

    assert "never mistypes" in careful.faults
    assert careless.faults == ()


@pytest.mark.e2e
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("domain", ENVIRONMENTS)
def test_planted_faults_are_named_and_faithful_users_hardly_ever_accused(domain: str) -> None:
    """The rate of false accusations is 5 % by design: of 20 comparisons three are allowed."""
    where, accused, missed = scene(domain), 0, 0
    for seed in range(10):
        spoken = where.logs(100 + seed)
        heard = talks(spoken)
        for simulated in (
            in_their_place(spoken, where.environment, seed=seed),
            talks(where.logs(5000 + seed)),
        ):
            accused += bool(found_in(where, heard, simulated, seed=seed).faults)
        for fault in FAULTS:
            bad = in_their_place(spoken, spoilt(domain, fault), seed=seed)
            missed += fault not in found_in(where, heard, bad, seed=seed).faults

    assert (accused <= 3, missed) == (True, 0)


def test_too_few_conversations_are_not_judged_and_the_number_needed_is_said() -> None:
    spoken = talks(logged())

    few = compare(spoken[: LOGS_NEEDED - 1], spoken)
    enough = compare(spoken[:LOGS_NEEDED], spoken[:MIN_HALF])

    assert isinstance(few, TooFew)
    assert f"at least {LOGS_NEEDED} and {MIN_HALF} are needed" in few.reason
    assert isinstance(compare(spoken, spoken[: MIN_HALF - 1]), TooFew)
    assert isinstance(enough, Fidelity)


def test_a_feature_of_which_too_little_is_seen_is_left_out_with_the_reason() -> None:
    silent = [tuple(each for each in talk if "right ?" not in each.heard) for talk in talks(logged())]

    found = compare(silent, silent)

    assert isinstance(found, Fidelity)
    assert [each.name for each in found.unjudged] == ["confirmation"]
    assert "30 of each are needed" in found.unjudged[0].reason


def test_the_same_logs_seed_and_users_give_the_same_numbers() -> None:
    simulated = talks(logged())[:MIN_HALF]

    assert judged(simulated, seed=5) == judged(simulated, seed=5)
    assert judged(simulated, seed=5) != judged(simulated, seed=6)
