"""Users out of logged conversations: how they begin, what they want, and which of them are for tests."""

import json

import pytest

from itpo_core.envs.llm_briefs import brief_of
from itpo_core.envs.llm_user import is_decided
from itpo_core.envs.logged import LONGEST, MOST_TOLD, LoggedEnvironment, LoggedTalk, scenario_of
from itpo_core.types import Message, Role, Split, StopReason, Unscored

SYSTEM, USER, ASSISTANT = Role.SYSTEM, Role.USER, Role.ASSISTANT
SAID = (
    Message(SYSTEM, "You mend lamps."),
    Message(USER, "The light is out."),
    Message(ASSISTANT, "Where does it hang?"),
    Message(USER, "Above the door."),
    Message(ASSISTANT, "Turn on fuse 3."),
)


def said_by(opening: str) -> tuple[Message, ...]:
    return (SAID[0], Message(USER, opening), *SAID[2:])


def environment(*talks: LoggedTalk) -> LoggedEnvironment:
    return LoggedEnvironment(lambda: talks, 2)


def test_a_user_begins_as_the_logged_one_did_and_wants_what_he_wanted() -> None:
    scenario = scenario_of(LoggedTalk("lamp", SAID, held_out=False))

    assert scenario is not None
    assert scenario.opening == SAID[:2]
    assert json.loads(scenario.latent_json) == {"opening": "The light is out.", "told": ["Above the door."]}
    assert brief_of(scenario).wants == (
        'what you asked for in your first message, "The light is out."; later you said "Above the door."'
    )


def test_only_held_out_conversations_are_unseen() -> None:
    talks = [LoggedTalk(f"task {n}", said_by(f"Lamp {n} is out."), held_out=n > 2) for n in range(5)]

    given = environment(*talks)
    seen, unseen = (given.scenarios(split, count=given.count(split), seed=1) for split in Split)

    assert {scenario.scenario_id for scenario in seen} == {"task 0", "task 1", "task 2"}
    assert {scenario.scenario_id for scenario in unseen} == {"task 3", "task 4"}
    assert {scenario.split for scenario in unseen} == {Split.UNSEEN}


def test_who_wants_word_for_word_what_a_seen_user_wants_is_not_unseen() -> None:
    talks = [LoggedTalk("a", SAID, held_out=False), LoggedTalk("b", SAID, held_out=True),
             LoggedTalk("c", said_by("The bulb broke."), held_out=True)]  # fmt: skip

    given = environment(*talks)

    assert given.count(Split.UNSEEN) == 1
    assert [each.scenario_id for each in given.scenarios(Split.UNSEEN, count=1, seed=0)] == ["c"]
    assert [each.scenario_id for each in given.scenarios(Split.SEEN, count=1, seed=0)] == ["a"]


def test_equal_seeds_draw_equally_and_nobody_twice() -> None:
    given = environment(*[LoggedTalk(f"task {n}", SAID, held_out=False) for n in range(4)])

    first, again = (given.scenarios(Split.SEEN, count=3, seed=7) for _ in range(2))

    assert first == again
    assert len({scenario.scenario_id for scenario in first}) == 3


def test_more_users_than_the_file_has_are_refused() -> None:
    with pytest.raises(ValueError, match="0 logged users begin unseen talks, 1 are asked for"):
        environment(LoggedTalk("lamp", SAID, held_out=False)).scenarios(Split.UNSEEN, count=1, seed=0)


def test_a_conversation_that_no_user_began_is_nobody_to_play() -> None:
    assert scenario_of(LoggedTalk("lamp", SAID[2:], held_out=False)) is None
    assert scenario_of(LoggedTalk("lamp", (), held_out=False)) is None


def test_a_brief_holds_a_few_messages_of_some_length() -> None:
    more = [Message(role, "word " * 200) for _ in range(9) for role in (USER, ASSISTANT)]

    scenario = scenario_of(LoggedTalk("lamp", (*SAID[:3], *more), held_out=False))

    assert scenario is not None
    told = json.loads(scenario.latent_json)["told"]
    assert (len(told), max(map(len, told))) == (MOST_TOLD, LONGEST)


def test_no_word_of_the_assistant_decides_and_no_rule_scores() -> None:
    given, scenario = environment(), scenario_of(LoggedTalk("lamp", SAID, held_out=False))

    assert scenario is not None
    assert not is_decided(given, scenario, messages=SAID)
    assert given.user(scenario, seed=0).reply(SAID).stop is StopReason.TURN_LIMIT
    assert isinstance(given.outcome(scenario, SAID), Unscored)
