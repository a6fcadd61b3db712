"""What every engine promises, run against each of them."""

from collections.abc import Callable, Sequence
from functools import cache
from itertools import pairwise

import pytest

from itpo_core.engines.base import Engine, Sampling, SpokenTurn
from itpo_core.engines.openai_api import OpenAiEngine, Served
from itpo_core.engines.openai_wire import Dialect
from itpo_core.engines.scripted import ScriptedEngine
from itpo_core.engines.server_calls import CallLimits, ServerCalls
from itpo_core.types import FinishReason, Message, Role
from tests.itpo_core.fake_server import MODEL, FakeServer, start
from tests.itpo_core.policies import engine_of, gpt2, llama, qwen2, tiny_format

EngineFactory = Callable[[int], Engine]


def scripted(max_context_tokens: int) -> Engine:
    """Speaks one to eight words, by what it has heard."""

    def reply(messages: Sequence[Message]) -> str:
        return " ".join(["size"] * (1 + sum(len(m.content) for m in messages) % 8))

    return ScriptedEngine(reply, max_context_tokens=max_context_tokens)


@cache
def server_calls() -> ServerCalls:
    """A server with a tiny policy behind it, on threads that end with the process."""
    server = FakeServer(qwen2(), tiny_format())
    start(server)
    return ServerCalls(server.address, CallLimits(deadline_s=20.0))


def behind_server(dialect: Dialect) -> EngineFactory:
    """The engine on that server, speaking this dialect."""
    served = Served(MODEL, dialect, logprobs="processed")
    return lambda context: OpenAiEngine(
        server_calls(), served, chat_format=tiny_format(), max_context_tokens=context
    )


ENGINES: dict[str, EngineFactory] = {
    "qwen2": lambda context: engine_of(qwen2(), max_context_tokens=context),
    "llama": lambda context: engine_of(llama(), max_context_tokens=context),
    "gpt2": lambda context: engine_of(gpt2(), max_context_tokens=context),
    "scripted": scripted,
    "openai_api_tokens": behind_server("tokens"),
    "openai_api_chat_tokens": behind_server("chat_tokens"),
}
engines = pytest.mark.parametrize("make", ENGINES.values(), ids=ENGINES)
OPENINGS = [
    [Message(Role.USER, text)] for text in ("hi", "i need a tent .", "hi , a small tent please", "bye")
]
MORE = [Message(Role.USER, "large please")]
SAMPLING = Sampling(max_new_tokens=5)


def hold(engine: Engine, *, turns: int, sampling: Sampling = SAMPLING) -> list[list[SpokenTurn]]:
    """Every row speaks `turns` turns and hears MORE after each; the turns by row."""
    session = engine.open(OPENINGS, seeds=[1, 2, 3, 4], sampling=sampling)
    spoken: list[list[SpokenTurn]] = [[] for _ in OPENINGS]
    while finished := session.advance():
        for turn in finished:
            spoken[turn.row].append(turn)
            if len(spoken[turn.row]) < turns:
                assert session.append(turn.row, MORE)
            else:
                session.close(turn.row)
    return spoken


@engines
def test_every_row_speaks_and_then_waits_for_text(make: EngineFactory) -> None:
    session = make(96).open(OPENINGS, seeds=[1, 2, 3, 4], sampling=SAMPLING)

    rows: list[int] = []
    while finished := session.advance():
        rows += [turn.row for turn in finished]

    assert sorted(rows) == [0, 1, 2, 3]
    assert session.advance() == []


@engines
def test_every_token_has_a_log_probability_and_no_turn_is_longer_than_allowed(make: EngineFactory) -> None:
    turns = [turn for row in hold(make(96), turns=3) for turn in row]

    assert len(turns) == 12
    assert all(1 <= len(turn.response_ids) <= 5 for turn in turns)
    assert all(len(turn.logprobs) == len(turn.response_ids) for turn in turns)
    assert all(logprob <= 0 for turn in turns for logprob in turn.logprobs)


@engines
def test_the_policys_own_end_of_turn_is_its_token_and_a_forced_one_is_not(make: EngineFactory) -> None:
    rows = hold(make(96), turns=7)
    pairs = [(before, after) for row in rows for before, after in pairwise(row)]
    closed = [(before, after) for before, after in pairs if before.finish is FinishReason.END_OF_TURN]
    cut = [(before, after) for before, after in pairs if before.finish is FinishReason.LENGTH]

    assert closed
    assert cut
    assert all(before.response_ids[-1] == 2 and after.prompt_ids[0] != 2 for before, after in closed)
    assert all(2 not in before.response_ids and after.prompt_ids[0] == 2 for before, after in cut)
    assert all(len(before.response_ids) == 5 for before, _ in cut)
    assert {after.prompt_ids[1:] for _, after in cut} == {after.prompt_ids for _, after in closed}


@engines
def test_equal_seeds_give_equal_turns(make: EngineFactory) -> None:
    assert hold(make(96), turns=3) == hold(make(96), turns=3)


@engines
def test_a_full_context_takes_no_more_text(make: EngineFactory) -> None:
    session = make(24).open([OPENINGS[0]], seeds=[1], sampling=SAMPLING)
    turns = []
    while finished := session.advance():
        turns += finished
        taken = session.append(0, MORE)

    length = sum(len(turn.prompt_ids) + len(turn.response_ids) for turn in turns)
    assert not taken
    assert len(turns) > 1
    assert length <= 24


@engines
def test_text_for_a_row_that_does_not_wait_is_refused_by_row(make: EngineFactory) -> None:
    session = make(96).open(OPENINGS, seeds=[1, 2, 3, 4], sampling=SAMPLING)

    with pytest.raises(ValueError, match="row 2 does not wait"):
        session.append(2, MORE)


@engines
def test_a_closed_row_never_speaks_again(make: EngineFactory) -> None:
    session = make(96).open(OPENINGS, seeds=[1, 2, 3, 4], sampling=SAMPLING)
    session.close(1)

    rows: list[int] = []
    while finished := session.advance():
        rows += [turn.row for turn in finished]

    assert sorted(rows) == [0, 2, 3]


@engines
def test_a_seed_for_every_opening_is_demanded(make: EngineFactory) -> None:
    with pytest.raises(ValueError, match="4 openings but 1 seeds"):
        make(96).open(OPENINGS, seeds=[1], sampling=SAMPLING)
