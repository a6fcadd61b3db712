"""Suggested Response: the user hears what was sent, the policy knows both, and nothing is made up."""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from itpo_core.asking import ThreadedUsers, Users
from itpo_core.engines.base import Sampling
from itpo_core.engines.scripted import ScriptedEngine, word_ids
from itpo_core.engines.transformers import TransformersEngine
from itpo_core.envs.base import Reply, Sent
from itpo_core.envs.catalogue import ENVIRONMENTS, with_sales_business
from itpo_core.envs.sales_business import BusinessHabits
from itpo_core.rollout import RolloutSpec, run_conversations
from itpo_core.suggestions import policy_view, sent_note
from itpo_core.tiny_policy import create_policy, suppressed_ids
from itpo_core.tokens import ChatFormat
from itpo_core.types import (
    Acceptance,
    Conversation,
    Failure,
    FailureKind,
    Message,
    Outcome,
    Role,
    Scenario,
    Scored,
    Split,
    StopReason,
)

OPENING = (Message(Role.USER, "hello"),)
SUGGESTED = "buy it"


class Echo:
    """A user who repeats what he hears and is content after two turns; `heard` is all that reached him."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def reply(self, messages: Sequence[Message]) -> Reply:
        """Say again what was heard last."""
        self.heard.append(messages[-1].content)
        stop = StopReason.COMPLETED if len(self.heard) == 2 else None
        return Reply(f"you said {messages[-1].content}", stop)


class Room:
    """An environment with one user, whose outcome is whether anybody said `please`."""

    name, version, digest, max_turns = "room", "1", "d", 4

    def __init__(self) -> None:
        self.guest = Echo()

    def scenarios(self, split: Split, *, count: int, seed: int) -> list[Scenario]:
        """The one scenario."""
        return [Scenario("s", "room", split, OPENING, "{}")] * count

    def user(self, scenario: Scenario, *, seed: int) -> Echo:
        """The one guest."""
        return self.guest

    def outcome(self, scenario: Scenario, messages: Sequence[Message]) -> Outcome:
        """1 when an assistant message has the word."""
        said = [message.content for message in messages if message.role is Role.ASSISTANT]
        return Scored(float(any("please" in text for text in said)))


@dataclass(frozen=True)
class Slow:
    """How long somebody takes."""

    seconds: float


class Person:
    """A business person who does the same every time; None breaks."""

    def __init__(self, does: Sent | Failure | Slow | None) -> None:
        self._does = does

    def send(self, messages: Sequence[Message], suggestion: str) -> Sent | Failure:
        """Do it."""
        if self._does is None:
            raise ConnectionError("desk on fire")
        if isinstance(self._does, Slow):
            time.sleep(self._does.seconds)
            return Sent(suggestion, Acceptance.VERBATIM)
        return self._does


class Staff:
    """Everybody is the same person."""

    digest = "staff"

    def __init__(self, does: Sent | Failure | Slow | None) -> None:
        self._does = does

    def person(self, scenario: Scenario, *, seed: int) -> Person:
        """That person."""
        return Person(self._does)


def hold(
    does: Sent | Failure | Slow | None, *, room: Room | None = None, users: Users | None = None
) -> Conversation:
    """One conversation in which the policy always says SUGGESTED."""
    place = room or Room()
    (scenario,) = place.scenarios(Split.SEEN, count=1, seed=0)
    (conversation,) = run_conversations(
        ScriptedEngine(lambda messages: SUGGESTED),
        place,
        oracle=None,
        specs=[RolloutSpec("c", "g", 0, seed=1, scenario=scenario)],
        sampling=Sampling(max_new_tokens=8),
        businesses=Staff(does),
        users=users,
    )
    return conversation


def contents(conversation: Conversation) -> list[str]:
    return [message.content for message in conversation.messages]


def test_the_user_hears_and_the_judge_scores_what_was_sent() -> None:
    room = Room()

    conversation = hold(Sent("buy it please", Acceptance.EDITED), room=room)

    assert room.guest.heard == ["buy it please"] * 2
    assert contents(conversation)[1:3] == ["buy it please", "you said buy it please"]
    assert conversation.outcome == Scored(1.0)


def test_the_policys_tokens_are_its_suggestion_and_the_next_prompt_says_what_was_sent() -> None:
    first, second = hold(Sent("no", Acceptance.IGNORED)).turns

    assert (first.text, first.sent_text, first.acceptance) == (SUGGESTED, "no", Acceptance.IGNORED)
    assert list(first.response_ids[:-1]) == word_ids(SUGGESTED)
    assert list(second.prompt_ids) == [*word_ids("sent : no"), 2, *word_ids("you said no"), 2]


def test_an_accepted_suggestion_leaves_the_stream_as_if_nobody_stood_between() -> None:
    verbatim = hold(Sent(SUGGESTED, Acceptance.VERBATIM))

    assert list(verbatim.turns[1].prompt_ids) == [*word_ids(f"you said {SUGGESTED}"), 2]
    assert [turn.acceptance for turn in verbatim.turns] == [Acceptance.VERBATIM] * 2
    assert sent_note("a", None) == sent_note("a", "a") == []


@pytest.mark.parametrize(
    ("does", "kind", "cause"),
    [
        (None, FailureKind.BUSINESS_ERROR, "ConnectionError: desk on fire"),
        (Failure(FailureKind.BUSINESS_ERROR, "gone home"), FailureKind.BUSINESS_ERROR, "gone home"),
        (Sent("no", Acceptance.VERBATIM), FailureKind.BUSINESS_ERROR, "accepted verbatim, yet 'no'"),
        (Sent("no", Acceptance.AUTONOMOUS), FailureKind.BUSINESS_ERROR, "not autonomous"),
    ],
)
def test_a_business_person_who_breaks_is_a_counted_failure_and_his_turn_was_never_said(
    does: Sent | Failure | None, kind: FailureKind, cause: str
) -> None:
    conversation = hold(does)

    assert conversation.failure is not None
    assert conversation.failure.kind is kind
    assert cause in conversation.failure.cause
    assert not isinstance(conversation.outcome, Scored)
    assert (contents(conversation), conversation.turns) == (["hello"], ())


def test_a_person_who_takes_too_long_is_not_taken_for_a_slow_user() -> None:
    with ThreadPoolExecutor(1) as pool:
        conversation = hold(Slow(0.2), users=ThreadedUsers(pool, timeout_s=0.02))

    assert conversation.failure == Failure(FailureKind.BUSINESS_TIMEOUT, "no answer within 0.02 s")


def test_the_stream_of_a_rollout_is_the_conversation_as_the_policy_knows_it() -> None:
    domain = with_sales_business(ENVIRONMENTS["sales"]("small"), "small", habits=BusinessHabits(0.3, 0.4))
    model, tokenizer = create_policy(domain.vocabulary, "xs", seed=0)
    chat = ChatFormat.from_tokenizer(tokenizer, suppressed_ids(model))
    scenarios = domain.environment.scenarios(Split.SEEN, count=12, seed=0)
    spoken = run_conversations(
        TransformersEngine(model, chat, max_context_tokens=256),
        domain.environment,
        oracle=domain.oracle,
        specs=[RolloutSpec(f"c{i}", "g", i, seed=i, scenario=each) for i, each in enumerate(scenarios)],
        sampling=Sampling(max_new_tokens=6),
        businesses=domain.businesses,
    )

    for each in spoken:
        known = policy_view(each.messages, [turn.text for turn in each.turns])
        prompts = [prompt for prompt, _ in chat.encode_conversation(known)]
        cut = [turn.response_ids[-1] != chat.end_of_turn_id for turn in each.turns]
        forced = [[], *([chat.end_of_turn_id] if was_cut else [] for was_cut in cut[:-1])]
        assert [[*end, *ids] for end, ids in zip(forced, prompts, strict=True)] == [
            list(turn.prompt_ids) for turn in each.turns
        ]
    assert any(turn.sent_text != turn.text for each in spoken for turn in each.turns[:-1])
    assert all(turn.truth is not None for each in spoken for turn in each.turns)


def test_a_suggestion_for_every_assistant_message_is_demanded() -> None:
    with pytest.raises(ValueError, match="1 assistant messages but 2 suggestions"):
        policy_view([*OPENING, Message(Role.ASSISTANT, "a")], ["a", "b"])
