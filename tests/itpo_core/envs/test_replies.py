"""What users of every domain do alike, with dice that are counted."""

from random import Random

import pytest

from itpo_core.envs.acts import Question, SeveralQuestions, SmallTalk, asking_about
from itpo_core.envs.base import Reply
from itpo_core.envs.replies import not_spoken_to, rambled, said_value, stop_after
from itpo_core.envs.scripted_logs import to_ask_about, told_at_once
from itpo_core.types import FailureKind, Message, Role, StopReason

HI, ASKED = Message(Role.USER, "hi"), Message(Role.ASSISTANT, "size ?")


def stopped(*, is_useless: bool, leaves: float, turns: int, random: Random | None = None) -> Reply | None:
    said = [HI, *[ASKED] * turns]
    dice = random or Random(0)
    return stop_after(said, is_useless=is_useless, leaves=leaves, max_turns=3, random=dice)


@pytest.mark.parametrize("messages", [(), (HI,), (ASKED, HI)])
def test_a_user_who_is_not_spoken_to_fails_and_says_who_he_is(messages: tuple[Message, ...]) -> None:
    failure = not_spoken_to(messages, who="patient")

    assert failure is not None
    assert failure.kind is FailureKind.USER_ERROR
    assert failure.cause.startswith("a patient answers an assistant")
    assert not_spoken_to([HI, ASKED]) is None


def test_users_leave_over_useless_turns_alone_and_otherwise_stay_until_the_last() -> None:
    assert stopped(is_useless=True, leaves=1.0, turns=1) == Reply(None, StopReason.USER_LEFT)
    assert stopped(is_useless=True, leaves=1.0, turns=3) == Reply(None, StopReason.USER_LEFT)
    assert stopped(is_useless=False, leaves=1.0, turns=2) is None
    assert stopped(is_useless=True, leaves=0.0, turns=2) is None
    assert stopped(is_useless=False, leaves=1.0, turns=3) == Reply(None, StopReason.TURN_LIMIT)


def test_only_a_useless_turn_is_worth_a_throw_of_the_dice() -> None:
    random = Random(5)

    stopped(is_useless=False, leaves=0.5, turns=1, random=random)

    assert random.random() == Random(5).random()


def test_a_mistake_is_always_another_value_and_a_ramble_comes_first() -> None:
    random = Random(1)

    wrong = {said_value("red", ("red", "blue", "green"), mistakes=1.0, random=random) for _ in range(40)}

    assert wrong == {"blue", "green"}
    assert said_value("red", ("red", "blue"), mistakes=0.0, random=random) == "red"
    assert rambled("red .", ("well .",), chance=1.0, random=random) == "well . red ."
    assert rambled("red .", ("well .",), chance=0.0, random=random) == "red ."


def test_what_is_named_decides_what_kind_of_question_it_is() -> None:
    assert asking_about(["size"]) == Question("size")
    assert asking_about({"size", "color"}) == SeveralQuestions()
    assert asking_about(()) == SmallTalk()


def test_an_assistant_who_remembers_asks_for_what_he_was_not_told() -> None:
    names, random = ("size", "color", "use"), Random(0)

    assert to_ask_about(names, told={"size"}, remembers=1.0, random=random) == ["color", "use"]
    assert to_ask_about(names, told={"size"}, remembers=0.0, random=random) == names
    assert to_ask_about(names, told=set(names), remembers=1.0, random=random) == names


def test_a_direct_request_names_all_that_is_needed_and_with_its_chance_one_more() -> None:
    needed, names = ("size", "color"), ("size", "color", "use")

    plain = {told_at_once(needed, names, extra=0.0, random=Random(seed)) for seed in range(20)}
    more = {told_at_once(needed, names, extra=1.0, random=Random(seed)) for seed in range(40)}

    assert plain == {("size", "color"), ("color", "size")}
    assert all(sorted(each) == sorted(names) for each in more)
    assert len(more) == 6
