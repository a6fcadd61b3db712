"""Holding conversations: endings, typed failures, slow users."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from itpo_core.asking import ThreadedUsers, Users
from itpo_core.engines.base import Engine, Sampling
from itpo_core.engines.scripted import ScriptedEngine
from itpo_core.engines.within_context import WithinContext
from itpo_core.envs.base import Reply
from itpo_core.rollout import RolloutSpec, run_conversations
from itpo_core.types import (
    Conversation,
    Failure,
    FailureKind,
    FinishReason,
    Message,
    Outcome,
    Role,
    Scenario,
    Scored,
    Split,
    StopReason,
    TurnTruth,
    Unscored,
)

Speak = Callable[[Sequence[Message]], Reply | Failure]
DONE = Reply("thanks", StopReason.COMPLETED)


class Person:
    """A user that answers as told."""

    def __init__(self, speak: Speak) -> None:
        self._speak = speak

    def reply(self, messages: Sequence[Message]) -> Reply | Failure:
        """Answer the last assistant message."""
        return self._speak(messages)


class Room:
    """An environment whose users are looked up by scenario and whose outcome is one function."""

    name, version, digest, max_turns = "room", "1", "d", 4

    def __init__(self, speakers: dict[str, Speak], judge: Callable[[str], Outcome]) -> None:
        self._speakers = speakers
        self._judge = judge

    def scenarios(self, split: Split, *, count: int, seed: int) -> list[Scenario]:
        """One scenario per speaker."""
        opening = (Message(Role.USER, "hello"),)
        return [Scenario(name, "room", split, opening, "{}") for name in self._speakers]

    def user(self, scenario: Scenario, *, seed: int) -> Person:
        """The scenario's user; `nobody` does not come."""
        if scenario.scenario_id == "nobody":
            raise LookupError("no such user")
        return Person(self._speakers[scenario.scenario_id])

    def outcome(self, scenario: Scenario, messages: Sequence[Message]) -> Outcome:
        """What the judge says of the scenario."""
        return self._judge(scenario.scenario_id)


class Counter:
    """An oracle that numbers the turns."""

    def truths(self, scenario: Scenario, messages: Sequence[Message]) -> list[TurnTruth]:
        """One truth per assistant message."""
        count = sum(message.role is Role.ASSISTANT for message in messages)
        return [TurnTruth(f"turn {i}", 0, 0, 0.0, 0.0, None) for i in range(count)]

    def policy_advantages(
        self, truths: Sequence[Sequence[TurnTruth]], *, personas: Sequence[str] | None = None
    ) -> list[list[float]]:
        """Not asked for here."""
        return []


def after(turns: int, then: Reply | Failure, otherwise: str = "go on") -> Speak:
    """Speak until the given number of assistant turns, then end."""

    def speak(messages: Sequence[Message]) -> Reply | Failure:
        heard = sum(message.role is Role.ASSISTANT for message in messages)
        return then if heard >= turns else Reply(otherwise)

    return speak


def broken(messages: Sequence[Message]) -> Reply:
    """A user whose server is down."""
    raise ConnectionError("no route to user")


def one(scenario: str) -> Outcome:
    """A judge that is always content, except where the scenario says otherwise."""
    if scenario == "judge breaks":
        raise RuntimeError("judge down")
    return Unscored("judge declined") if scenario == "judge declines" else Scored(1.0)


def hold(
    speakers: dict[str, Speak],
    *,
    context: int = 1000,
    users: Users | None = None,
    engine: Engine | None = None,
) -> list[Conversation]:
    """One conversation per speaker."""
    room = Room(speakers, one)
    specs = [
        RolloutSpec(f"c{i}", "g", i, seed=i, scenario=scenario)
        for i, scenario in enumerate(room.scenarios(Split.SEEN, count=0, seed=0))
    ]
    return run_conversations(
        engine or ScriptedEngine(lambda messages: "what else ?", max_context_tokens=context),
        room,
        oracle=Counter(),
        specs=specs,
        sampling=Sampling(max_new_tokens=8),
        users=users,
    )


def test_conversations_keep_their_order_however_long_they_are() -> None:
    conversations = hold({"long": after(3, DONE), "short": after(1, DONE)})

    assert [c.conversation_id for c in conversations] == ["c0", "c1"]
    assert [len(c.turns) for c in conversations] == [3, 1]
    assert [c.stop for c in conversations] == [StopReason.COMPLETED] * 2


def test_a_conversation_keeps_every_message_and_the_truth_of_every_turn() -> None:
    (conversation,) = hold({"a": after(2, DONE)})

    said = [(str(message.role), message.content) for message in conversation.messages]
    assert said == [
        ("user", "hello"),
        ("assistant", "what else ?"),
        ("user", "go on"),
        ("assistant", "what else ?"),
        ("user", "thanks"),
    ]
    assert [turn.truth.kind for turn in conversation.turns if turn.truth] == ["turn 0", "turn 1"]
    assert [turn.turn_index for turn in conversation.turns] == [0, 1]
    assert conversation.outcome == Scored(1.0)


def test_a_user_who_never_stops_meets_the_turn_limit_and_is_scored() -> None:
    (conversation,) = hold({"a": after(99, DONE)})

    assert (conversation.stop, len(conversation.turns)) == (StopReason.TURN_LIMIT, 4)
    assert conversation.outcome == Scored(1.0)


@pytest.mark.parametrize(
    ("speakers", "kind", "cause"),
    [
        ({"a": broken}, FailureKind.USER_ERROR, "ConnectionError: no route to user"),
        ({"nobody": broken}, FailureKind.USER_ERROR, "LookupError: no such user"),
        ({"a": after(1, Failure(FailureKind.USER_TIMEOUT, "slow"))}, FailureKind.USER_TIMEOUT, "slow"),
        ({"judge breaks": after(1, DONE)}, FailureKind.JUDGE_ERROR, "RuntimeError: judge down"),
    ],
)
def test_what_breaks_is_a_counted_failure_and_never_an_outcome(
    speakers: dict[str, Speak], kind: FailureKind, cause: str
) -> None:
    sound, failed = hold({"sound": after(2, DONE), **speakers})

    assert failed.failure == Failure(kind, cause)
    assert failed.stop is StopReason.FAILED
    assert failed.outcome == Unscored(f"{kind}: {cause}")
    assert (sound.stop, sound.outcome, len(sound.turns)) == (StopReason.COMPLETED, Scored(1.0), 2)


def test_a_failed_conversation_keeps_what_was_said() -> None:
    (conversation,) = hold({"judge breaks": after(2, DONE)})

    assert len(conversation.messages) == 5
    assert [turn.text for turn in conversation.turns] == ["what else ?"] * 2


def test_a_judge_that_declines_leaves_the_ending_as_it_was() -> None:
    (conversation,) = hold({"judge declines": after(1, DONE)})

    assert (conversation.stop, conversation.failure) == (StopReason.COMPLETED, None)
    assert conversation.outcome == Unscored("judge declined")


def test_a_full_context_is_unscored_and_not_a_zero() -> None:
    (conversation,) = hold({"a": after(99, DONE)}, context=20)

    assert conversation.stop is StopReason.CONTEXT_FULL
    assert conversation.outcome == Unscored("the context was full after 2 turns")
    assert conversation.messages[-1] == Message(Role.USER, "go on")


def test_a_turn_cut_at_the_limit_says_so() -> None:
    engine = ScriptedEngine(lambda messages: "word " * 20)

    (conversation,) = hold({"a": after(1, DONE)}, engine=engine)

    assert conversation.turns[0].finish is FinishReason.LENGTH
    assert len(conversation.turns[0].response_ids) == 8


def test_a_slow_user_holds_up_nobody_else() -> None:
    ended: dict[str, float] = {}

    def timed(name: str, speak: Speak, *, sleep_s: float) -> Speak:
        def slow(messages: Sequence[Message]) -> Reply | Failure:
            time.sleep(sleep_s)
            ended[name] = time.monotonic()
            return speak(messages)

        return slow

    with ThreadPoolExecutor(4) as pool:
        conversations = hold(
            {
                "slow": timed("slow", after(1, DONE), sleep_s=0.3),
                "quick": timed("quick", after(4, DONE), sleep_s=0.0),
            },
            users=ThreadedUsers(pool),
        )

    assert [len(c.turns) for c in conversations] == [1, 4]
    assert ended["quick"] < ended["slow"]


def test_a_user_who_takes_too_long_is_a_timeout_and_the_others_end_well() -> None:
    def asleep(messages: Sequence[Message]) -> Reply:
        time.sleep(0.4)
        return DONE

    with ThreadPoolExecutor(4) as pool:
        late, prompt = hold(
            {"late": asleep, "prompt": after(2, DONE)}, users=ThreadedUsers(pool, timeout_s=0.1)
        )

    assert late.failure == Failure(FailureKind.USER_TIMEOUT, "no answer within 0.1 s")
    assert len(late.turns) == 1
    assert prompt.outcome == Scored(1.0)


def test_threads_and_direct_questions_give_the_same_conversations() -> None:
    speakers = {f"s{i}": after(1 + i % 3, DONE) for i in range(6)}

    with ThreadPoolExecutor(3) as pool:
        threaded = hold(speakers, users=ThreadedUsers(pool))

    assert threaded == hold(speakers)


def test_progress_counts_up_to_all_conversations() -> None:
    room = Room({"a": after(1, DONE), "b": after(3, DONE), "nobody": broken}, one)
    scenarios = room.scenarios(Split.SEEN, count=0, seed=0)
    seen: list[tuple[int, int]] = []

    run_conversations(
        ScriptedEngine(lambda messages: "yes"),
        room,
        oracle=None,
        specs=[RolloutSpec(f"c{i}", "g", i, seed=i, scenario=s) for i, s in enumerate(scenarios)],
        sampling=Sampling(),
        on_progress=lambda finished, total: seen.append((finished, total)),
    )

    assert seen[-1] == (3, 3)
    assert seen == sorted(seen)


def test_openings_without_room_are_failures_of_the_engine_and_others_stay_what_they_are() -> None:
    engine = WithinContext(ScriptedEngine(lambda messages: "yes"), lambda _: [0] * 3, max_context_tokens=10)

    absent, long = hold({"nobody": broken, "a": after(1, DONE)}, engine=engine)

    assert (absent.failure and absent.failure.kind) == FailureKind.USER_ERROR
    assert (long.failure and long.failure.kind) == FailureKind.ENGINE_ERROR
    assert (long.stop, long.turns, long.outcome) == (
        StopReason.FAILED,
        (),
        Unscored(
            "engine_error: the opening has 3 tokens: with a turn of 8 it exceeds the context of 10; "
            "raise model.max_context_tokens or shorten the opening"
        ),
    )


def test_no_conversations_are_held_for_no_specs() -> None:
    assert hold({}) == []
