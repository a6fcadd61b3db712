"""The engine behind a server: what it asks, what it believes, and a server that misbehaves."""

import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import pytest
import torch

from itpo_core.engines.base import BrokenTurn, Sampling, SpokenTurn
from itpo_core.engines.openai_api import OpenAiEngine, OpenAiSession, Served
from itpo_core.engines.openai_wire import Dialect, chat_body
from itpo_core.engines.server_calls import CallLimits, ServerCalls
from itpo_core.engines.token_rows import Ask
from itpo_core.envs.base import Reply
from itpo_core.rollout import RolloutSpec, run_conversations
from itpo_core.tokens import suppress
from itpo_core.types import FailureKind, Message, Role, Scored, Split, StopReason
from tests.itpo_core.fake_server import MODEL, Document, FakeServer, Spoilt, serving
from tests.itpo_core.policies import qwen2, said, tiny_format
from tests.itpo_core.test_rollout import Room, after

QUICK = CallLimits(deadline_s=5.0, tries=3, first_wait_s=0.01)
SAMPLING = Sampling(max_new_tokens=5)
TALK = [said("hi"), said("i need a tent ."), said("bye")]
SEEDS = [1, 2, 3]


@contextmanager
def engine(
    dialect: Dialect = "tokens",
    *,
    needs_tokens: bool = True,
    limits: CallLimits = QUICK,
    api_key: str | None = None,
    spoilt: Sequence[Spoilt] = (),
) -> Iterator[tuple[FakeServer, OpenAiEngine]]:
    """A served tiny policy and the engine on it."""
    with serving(qwen2(), tiny_format()) as server:
        server.spoilt = list(spoilt)
        calls = ServerCalls(server.address, limits, api_key)
        served = Served(MODEL, dialect, logprobs="processed", needs_tokens=needs_tokens)
        yield server, OpenAiEngine(calls, served, chat_format=tiny_format(), max_context_tokens=96)
        calls.close()


def all_turns(session: OpenAiSession) -> list[SpokenTurn | BrokenTurn]:
    """Every row's one turn, by row."""
    turns = list[SpokenTurn | BrokenTurn]()
    while finished := session.advance():
        turns += finished
    return sorted(turns, key=lambda turn: turn.row)


def changed(change: Callable[[Document], object]) -> Spoilt:
    """An answer that was changed on its way."""

    def spoil(document: Document) -> bytes:
        change(document)
        return json.dumps(document).encode()

    return Spoilt(spoil=spoil)


HALF = Spoilt(spoil=lambda document: json.dumps(document).encode()[:40])
LESS = changed(lambda document: document["choices"][0]["logprobs"]["token_logprobs"].pop())
OTHER_MODEL = changed(lambda document: document.update(model="other"))
SHORT_PROMPT = changed(lambda document: document["choices"][0]["prompt_token_ids"].pop(0))
NO_CHOICE = changed(lambda document: document["choices"].clear())
FILTERED = changed(lambda document: document["choices"][0].update(finish_reason="content_filter"))
NO_IDS = changed(lambda document: document["choices"][0].pop("token_ids"))
POSITIVE = changed(lambda document: document["choices"][0]["logprobs"]["token_logprobs"].__setitem__(0, 0.5))
TEXT_FOR_IDS = changed(lambda document: document["choices"][0].update(token_ids="7 8"))
EMPTY = changed(lambda document: document["choices"][0]["message"].update(content=""))


@pytest.mark.parametrize(
    ("spoilt", "cause"),
    [
        (LESS, "token ids but .* log-probabilities"),
        (OTHER_MODEL, "asked model 'tiny', model 'other' answered"),
        (SHORT_PROMPT, "part at token 0"),
        (NO_CHOICE, "0 choices"),
        (FILTERED, "'content_filter'"),
        (NO_IDS, "no token ids"),
        (POSITIVE, "a log-probability that is none"),
        (TEXT_FOR_IDS, "the answer's choices.0.token_ids"),
        (Spoilt(status=404), "status 404: .*compare engine.address"),
    ],
)
def test_an_answer_that_cannot_be_believed_breaks_its_row_alone(spoilt: Spoilt, cause: str) -> None:
    with engine(spoilt=[spoilt]) as (server, speaker):
        turns = all_turns(speaker.open(TALK, seeds=SEEDS, sampling=SAMPLING))

    (broken,) = [turn for turn in turns if isinstance(turn, BrokenTurn)]
    assert broken.failure.kind is FailureKind.ENGINE_ERROR
    assert re.search(cause, broken.failure.cause)
    assert len(server.asked) == 3


@pytest.mark.parametrize("spoilt", [HALF, Spoilt(status=500), Spoilt(status=429)])
def test_what_may_pass_is_asked_again_and_gives_the_same_turn(spoilt: Spoilt) -> None:
    with engine() as (_, speaker):
        whole = all_turns(speaker.open(TALK, seeds=SEEDS, sampling=SAMPLING))
    with engine(spoilt=[spoilt, spoilt]) as (server, speaker):
        again = all_turns(speaker.open(TALK, seeds=SEEDS, sampling=SAMPLING))

    assert again == whole
    assert len(server.asked) == 5
    assert (speaker.cost.calls, speaker.cost.retries, speaker.cost.failures) == (5, 2, 0)


def test_a_server_that_stays_down_is_a_typed_failure_after_all_tries() -> None:
    with engine(spoilt=[Spoilt(status=503)] * 9) as (_, speaker):
        turns = all_turns(speaker.open(TALK, seeds=SEEDS, sampling=SAMPLING))

    assert [type(turn) for turn in turns] == [BrokenTurn] * 3
    assert all("status 503" in t.failure.cause and "after 3 tries" in t.failure.cause for t in turns)
    assert speaker.cost.failures == 3


def test_a_slow_answer_is_given_up_at_the_deadline_and_counts_as_a_time_out() -> None:
    limits = CallLimits(deadline_s=0.3, tries=1)
    with engine(limits=limits, spoilt=[Spoilt(delay_s=1.0)]) as (_, speaker):
        (turn,) = all_turns(speaker.open(TALK[:1], seeds=[1], sampling=SAMPLING))

    assert isinstance(turn, BrokenTurn)
    assert turn.failure.kind is FailureKind.ENGINE_TIMEOUT
    assert "no answer within 0.3 s" in turn.failure.cause


def test_nobody_there_is_a_failure_that_names_the_address() -> None:
    calls = ServerCalls("http://127.0.0.1:9", CallLimits(tries=1))
    speaker = OpenAiEngine(
        calls, Served(MODEL, logprobs="processed"), chat_format=tiny_format(), max_context_tokens=96
    )

    (turn,) = all_turns(speaker.open(TALK[:1], seeds=[1], sampling=SAMPLING))
    calls.close()

    assert isinstance(turn, BrokenTurn)
    assert "http://127.0.0.1:9" in turn.failure.cause


def test_a_broken_turn_ends_its_conversation_as_a_failure_of_the_engine_and_no_other() -> None:
    leaves = Reply("thanks", StopReason.COMPLETED)
    room = Room({name: after(2, leaves, "hi") for name in "abc"}, lambda scenario: Scored(1.0))
    scenarios = room.scenarios(Split.SEEN, count=0, seed=0)
    specs = [RolloutSpec(each.scenario_id, "g", 0, 1, each) for each in scenarios]
    with engine(spoilt=[OTHER_MODEL]) as (_, speaker):
        held = run_conversations(speaker, room, oracle=None, specs=specs, sampling=SAMPLING)

    failures = [each.failure for each in held if each.failure is not None]
    assert [failure.kind for failure in failures] == [FailureKind.ENGINE_ERROR]
    assert sorted(len(each.turns) for each in held) == [0, 2, 2]
    assert [each.outcome == Scored(1.0) for each in held].count(True) == 2


def test_an_empty_reply_is_no_answer() -> None:
    with engine("chat", needs_tokens=False, spoilt=[EMPTY]) as (_, speaker):
        (turn,) = all_turns(speaker.open(TALK[:1], seeds=[1], sampling=SAMPLING))

    assert isinstance(turn, BrokenTurn)
    assert "the reply is empty" in turn.failure.cause


def test_plain_chat_sends_no_field_that_a_server_might_not_know_and_hears_text_alone() -> None:
    with engine("chat", needs_tokens=False) as (server, speaker):
        (turn,) = all_turns(speaker.open(TALK[:1], seeds=[1], sampling=SAMPLING))

    assert isinstance(turn, SpokenTurn)
    assert turn.text
    assert (turn.prompt_ids, turn.response_ids, turn.logprobs) == ((), (), ())
    known = {"model", "messages", "max_tokens", "temperature", "top_p", "seed", "n", "stream"}
    assert server.asked[0][1].keys() == known


def test_plain_chat_is_refused_where_turns_are_to_train() -> None:
    with engine("chat") as (_, speaker):
        (turn,) = all_turns(speaker.open(TALK[:1], seeds=[1], sampling=SAMPLING))

    assert isinstance(turn, BrokenTurn)
    assert "use it to evaluate only" in turn.failure.cause


def test_a_row_whose_ids_went_missing_once_goes_on_as_text() -> None:
    with engine(needs_tokens=False, spoilt=[NO_IDS]) as (_, speaker):
        session = speaker.open(TALK[:1], seeds=[1], sampling=SAMPLING)
        (first,) = session.advance()
        assert session.append(0, said("bye"))
        (second,) = session.advance()

    assert isinstance(first, SpokenTurn)
    assert isinstance(second, SpokenTurn)
    assert first.response_ids == second.response_ids == ()


def test_turn_by_turn_the_seed_changes_and_the_temperature_is_the_rows_own() -> None:
    with engine() as (server, speaker):
        session = speaker.open(TALK[:1], seeds=[1], sampling=SAMPLING, temperatures=[[2.0]])
        session.advance()
        session.append(0, said("bye"))
        session.advance()

    first, second = (body for _, body, _ in server.asked)
    assert (first["temperature"], second["temperature"]) == (2.0, 1.0)
    assert first["seed"] != second["seed"]
    assert first["logit_bias"] == {"0": -100, "1": -100, "3": -100, "4": -100, "5": -100}
    assert second["prompt"][: len(first["prompt"])] == first["prompt"]


def test_no_more_calls_are_open_at_once_than_allowed() -> None:
    limits = CallLimits(concurrency=2)
    with engine(limits=limits, spoilt=[Spoilt(delay_s=0.05)] * 6) as (server, speaker):
        all_turns(speaker.open(TALK * 2, seeds=range(6), sampling=SAMPLING))

    assert server.most_open_calls == 2


def test_the_key_goes_into_the_header_and_into_no_message() -> None:
    def echo(document: Document) -> bytes:
        return b"wrong key sk-secret"

    with engine(api_key="sk-secret", spoilt=[Spoilt(status=401, spoil=echo)]) as (server, speaker):
        (turn,) = all_turns(speaker.open(TALK[:1], seeds=[1], sampling=SAMPLING))

    assert {k.lower(): v for k, v in server.asked[0][2].items()}["authorization"] == "Bearer sk-secret"
    assert isinstance(turn, BrokenTurn)
    assert "wrong key [key]" in turn.failure.cause
    assert "sk-secret" not in repr(speaker._calls)


def test_the_servers_own_wait_is_kept_when_it_is_longer() -> None:
    begun = time.monotonic()
    with engine(spoilt=[Spoilt(status=429, headers={"retry-after": "1"})]) as (_, speaker):
        all_turns(speaker.open(TALK[:1], seeds=[1], sampling=SAMPLING))

    assert time.monotonic() - begun >= 1.0


@pytest.mark.parametrize("sampling", [Sampling(temperature=0.7), Sampling(top_p=0.9), Sampling()])
def test_raw_log_probabilities_are_refused_where_they_are_not_those_of_the_draws(sampling: Sampling) -> None:
    calls = ServerCalls("http://127.0.0.1:9", QUICK)
    suppressed = (0,) if sampling == Sampling() else ()
    speaker = OpenAiEngine(calls, Served(MODEL), chat_format=tiny_format(suppressed), max_context_tokens=96)

    with pytest.raises(ValueError, match="processed_logprobs"):
        speaker.open(TALK, seeds=SEEDS, sampling=sampling)
    calls.close()


def test_the_log_probabilities_are_those_of_the_policy_itself() -> None:
    with engine() as (_, speaker):
        (turn,) = all_turns(speaker.open(TALK[:1], seeds=[1], sampling=SAMPLING))

    assert isinstance(turn, SpokenTurn)
    ids = torch.tensor([[*turn.prompt_ids, *turn.response_ids]])
    logits_TV = suppress(qwen2()(ids).logits[0].detach(), tiny_format().suppressed_ids).log_softmax(-1)
    start = len(turn.prompt_ids) - 1
    expected = [float(logits_TV[start + t, each]) for t, each in enumerate(turn.response_ids)]
    assert list(turn.logprobs) == pytest.approx(expected, abs=1e-4)


def test_the_cost_is_what_the_server_counted() -> None:
    with engine() as (_, speaker):
        turns = all_turns(speaker.open(TALK, seeds=SEEDS, sampling=SAMPLING))

    spoken = [turn for turn in turns if isinstance(turn, SpokenTurn)]
    assert speaker.cost.prompt_tokens == sum(len(turn.prompt_ids) for turn in spoken)
    assert speaker.cost.response_tokens == sum(len(turn.response_ids) for turn in spoken)


def test_messages_with_tools_are_sent_as_they_were_logged() -> None:
    called = Message(Role.ASSISTANT, "", tool_calls='[{"id": "1"}]')
    told = Message(Role.TOOL, "5", tool_call_id="1")

    body = chat_body(Ask(MODEL, (called, told), (), 1, 1.0, 1.0, 5, 2, ()))

    assert body["messages"] == [
        {"role": "assistant", "content": "", "tool_calls": [{"id": "1"}]},
        {"role": "tool", "content": "5", "tool_call_id": "1"},
    ]
