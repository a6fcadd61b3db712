"""The transformers engine: streamed numbers equal those of plain forwards, whatever the neighbours do."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel

from itpo_core.engines.base import Sampling, Session, SpokenTurn
from itpo_core.engines.decoding import generic_steppers, place_of, stepping_gap
from itpo_core.engines.fused_qwen2 import fused_qwen2_steppers
from itpo_core.engines.transformers import MAX_STEPPING_GAP, TransformersEngine
from itpo_core.sampling import nucleus, tempered
from itpo_core.tokens import suppress
from itpo_core.types import FinishReason, Message
from tests.itpo_core.policies import CONTEXT, engine_of, gpt2, llama, qwen2, said, tiny_format

SEEDS = list(range(100, 132))
TEXTS = ["hi", "i need a tent .", "a small tent please", "hi , i need a large tent , please ."] * 8
SAMPLING = Sampling(max_new_tokens=6)
REPLIES = ["large please", "what ?", "small .", "bye , bye , bye"]
models = pytest.mark.parametrize("make", [qwen2, llama, gpt2])


def talk(
    engine: TransformersEngine,
    rows: Sequence[int],
    *,
    sampling: Sampling = SAMPLING,
    is_slow: Callable[[int, int], bool] = lambda number, turn: False,
) -> dict[int, list[SpokenTurn]]:
    """Conversations by number; each depends on its number alone if the engine keeps its promise.

    Even numbers have three turns; odd ones end after the first, so that the cache is compacted under the
    others. A slow answer (by number and turn) comes when no row can go on without it.
    """
    seeds = [SEEDS[i] for i in rows]
    session = engine.open([said(TEXTS[i]) for i in rows], seeds=seeds, sampling=sampling)
    spoken: dict[int, list[SpokenTurn]] = {i: [] for i in rows}
    held: list[tuple[int, list[Message]]] = []
    while finished := session.advance() or released(session, held):
        for turn in finished:
            number = rows[turn.row]
            spoken[number].append(turn)
            hear(session, turn.row, number=number, turns=len(spoken[number]), held=held, is_slow=is_slow)
    return spoken


def hear(
    session: Session,
    row: int,
    *,
    number: int,
    turns: int,
    held: list[tuple[int, list[Message]]],
    is_slow: Callable[[int, int], bool],
) -> None:
    """Answer a turn now or later, or end the conversation."""
    answer = said(REPLIES[(number + turns) % 4])
    if turns == (1 if number % 2 else 3):
        session.close(row)
    elif is_slow(number, turns):
        held.append((row, answer))
    else:
        session.append(row, answer)


def released(session: Session, held: list[tuple[int, list[Message]]]) -> list[SpokenTurn]:
    """Give all late answers and go on."""
    while held:
        session.append(*held.pop())
    return session.advance()


def stream(turns: Sequence[SpokenTurn]) -> list[int]:
    """All tokens of a conversation."""
    return [i for turn in turns for i in (*turn.prompt_ids, *turn.response_ids)]


def recomputed(
    model: PreTrainedModel, turns: Sequence[SpokenTurn], temperature: float, top_p: float
) -> list[float]:
    """Log-probabilities of the policy's tokens from one plain forward over the whole stream."""
    with torch.no_grad():
        logits = suppress(model(torch.tensor([stream(turns)])).logits[0, :-1], (0, 1, 3, 4, 5))
    logprobs = nucleus(tempered(logits, temperature), top_p).log()
    found, position = [], 0
    for turn in turns:
        position += len(turn.prompt_ids)
        for token in turn.response_ids:
            found.append(float(logprobs[position - 1, token]))
            position += 1
    return found


@models
@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.7, 0.9)])
def test_streamed_log_probabilities_equal_those_of_a_plain_forward(
    make: Callable[[], PreTrainedModel], temperature: float, top_p: float
) -> None:
    model = make()
    spoken = talk(engine_of(model), range(8), sampling=Sampling(temperature, top_p, max_new_tokens=8))

    for turns in spoken.values():
        recorded = [logprob for turn in turns for logprob in turn.logprobs]
        assert recorded == pytest.approx(recomputed(model, turns, temperature, top_p), abs=1e-4)


def test_the_fused_pass_equals_the_librarys_at_every_kind_of_place() -> None:
    model = qwen2()
    fused, generic = fused_qwen2_steppers(model, 90)(3), generic_steppers(model, 90)(3)
    tokens = np.random.default_rng(0).integers(6, 20, (3, 70))
    feeds = [
        (slice(0, 3), [0, 0, 0], [4, 2, 70]),
        (slice(0, 3), [4, 2, 70], [1, 1, 1]),
        (slice(1, 3), [3, 71], [5, 2]),
        (slice(0, 1), [5], [1]),
    ]

    with torch.inference_mode():
        for slots, starts, counts in feeds:
            place = place_of(slots.start, np.array(starts), counts_S=np.array(counts))
            fed = tokens[slots, : max(counts)]
            torch.testing.assert_close(fused.feed(fed, place), generic.feed(fed, place), atol=1e-5, rtol=1e-5)
        for stepper in (fused, generic):
            stepper.move(np.array([2, 0, 0]), np.array([0, 1, 2]))
        place = place_of(0, np.array([73, 6, 6]), counts_S=np.array([1, 1, 1]))
        after = [stepper.feed(tokens[:, :1], place) for stepper in (fused, generic)]
    torch.testing.assert_close(*after, atol=1e-5, rtol=1e-5)


@models
def test_a_conversation_does_not_depend_on_its_neighbours_or_their_order(
    make: Callable[[], PreTrainedModel],
) -> None:
    engine = engine_of(make())

    together = talk(engine, range(32))
    backwards = talk(engine, range(31, -1, -1))
    alone = {i: talk(engine, [i])[i] for i in (3, 30)}

    assert {i: stream(turns) for i, turns in backwards.items()} == {i: stream(t) for i, t in together.items()}
    assert {i: stream(turns) for i, turns in alone.items()} == {i: stream(together[i]) for i in alone}


@pytest.mark.parametrize("make", [qwen2, gpt2])
@pytest.mark.parametrize(
    "is_slow",
    [
        lambda number, turn: number == 0 and turn == 1,
        lambda number, turn: True,
        lambda number, turn: (number // 2 + turn) % 2 == 0,
    ],
    ids=["one", "all", "in turn"],
)
def test_slow_users_change_nothing_for_their_row_or_the_others(
    make: Callable[[], PreTrainedModel], is_slow: Callable[[int, int], bool]
) -> None:
    engine = engine_of(make())

    prompt = talk(engine, range(32))
    late = talk(engine, range(32), is_slow=is_slow)

    assert {i: stream(turns) for i, turns in late.items()} == {i: stream(t) for i, t in prompt.items()}


def test_a_long_text_is_taken_in_piece_by_piece() -> None:
    model = qwen2()

    whole = talk(engine_of(model), range(6))
    pieces = talk(engine_of(model, max_fed_tokens=12), range(6))

    assert {i: stream(turns) for i, turns in pieces.items()} == {i: stream(t) for i, t in whole.items()}


def test_greedy_takes_the_plain_forwards_likeliest_token_with_certainty() -> None:
    model = qwen2()

    turns = talk(engine_of(model), [0], sampling=Sampling(temperature=0.0, max_new_tokens=8))[0]

    ids = stream(turns)
    with torch.no_grad():
        likeliest = suppress(model(torch.tensor([ids])).logits[0], (0, 1, 3, 4, 5)).argmax(dim=-1).tolist()
    first = len(turns[0].prompt_ids)
    assert list(turns[0].response_ids) == likeliest[first - 1 : first - 1 + len(turns[0].response_ids)]
    assert set(turns[0].logprobs) == {0.0}


def test_a_suppressed_token_is_never_spoken() -> None:
    model = qwen2()
    with torch.no_grad():
        next(model.parameters())[0] *= 50

    spoken = talk(engine_of(model), range(16))

    assert not {i for turns in spoken.values() for turn in turns for i in turn.response_ids} & {0, 1, 3, 4, 5}


def test_the_text_of_a_turn_is_its_tokens_without_the_end() -> None:
    chat = tiny_format()

    turns = [turn for row in talk(engine_of(qwen2()), range(16)).values() for turn in row]

    closed = [turn for turn in turns if turn.finish is FinishReason.END_OF_TURN]
    assert closed
    assert all(chat.response_ids(turn.text) == list(turn.response_ids) for turn in closed)


def test_an_opening_without_room_for_a_turn_is_refused_by_its_length() -> None:
    with pytest.raises(ValueError, match="opening 1 has 36 tokens"):
        engine_of(qwen2(), max_context_tokens=40).open(
            [said("hi"), said("hi " * 32)], seeds=[1, 2], sampling=Sampling(max_new_tokens=8)
        )


def test_a_context_beyond_the_models_positions_is_refused() -> None:
    with pytest.raises(ValueError, match="max_context_tokens 200: the model knows 128"):
        engine_of(gpt2(), max_context_tokens=200)


@models
def test_the_check_at_the_start_tells_a_sound_decoder_from_another_models(
    make: Callable[[], PreTrainedModel],
) -> None:
    model = make()
    steppers = generic_steppers(model, CONTEXT)

    sound = stepping_gap(model, steppers)
    other = make()
    with torch.no_grad():
        next(other.parameters()).mul_(1.1)

    assert sound < 1e-5
    assert stepping_gap(other, steppers) > MAX_STEPPING_GAP
