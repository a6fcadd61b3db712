"""Exploration: drawn from the conversation's own seed, recorded as sampled, never taken for the policy."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some

from itpo_core.engines.base import Sampling, SpokenTurn
from itpo_core.exploration import Exploration, first_on_policy, from_turn, turn_schedule
from itpo_core.sampling import draw_rows, sampler, turn_temperatures
from itpo_core.streams import TurnTokens, streams
from itpo_core.tokens import suppress
from tests.itpo_core.policies import engine_of, qwen2, said

TEXTS = ["hi", "i need a tent .", "a small tent please", "bye"]
SEEDS = [11, 12, 13, 14]
HOT = 3.0


def talk(
    temperatures: list[list[float]] | None, *, common: float = 1.0, top_p: float = 1.0
) -> list[list[SpokenTurn]]:
    """Three turns of four conversations of a random model."""
    session = engine_of(qwen2()).open(
        [said(text) for text in TEXTS],
        seeds=SEEDS,
        sampling=Sampling(common, top_p, max_new_tokens=6),
        temperatures=temperatures,
    )
    spoken: list[list[SpokenTurn]] = [[] for _ in TEXTS]
    while finished := session.advance():
        for turn in finished:
            spoken[turn.row].append(turn)
            if len(spoken[turn.row]) < 3:
                session.append(turn.row, said("large please"))
            else:
                session.close(turn.row)
    return spoken


def plain_logprobs(turns: list[SpokenTurn], *, temperature: float) -> list[list[float]]:
    """Log-probabilities of every turn's tokens from one plain forward at one temperature."""
    stream = [token for turn in turns for token in (*turn.prompt_ids, *turn.response_ids)]
    with torch.no_grad():
        logits = suppress(qwen2()(torch.tensor([stream])).logits[0, :-1], (0, 1, 3, 4, 5))
    logprobs, found, place = (logits / temperature).log_softmax(-1), [], 0
    for turn in turns:
        place += len(turn.prompt_ids)
        found.append([float(logprobs[place + i - 1, token]) for i, token in enumerate(turn.response_ids)])
        place += len(turn.response_ids)
    return found


def test_log_probabilities_of_an_explored_turn_are_of_the_distribution_that_was_sampled() -> None:
    spoken = talk([[1.0, HOT, 1.0], [HOT], [], []])

    assert spoken[0][1].logprobs == pytest.approx(plain_logprobs(spoken[0], temperature=HOT)[1], abs=1e-4)
    assert spoken[1][0].logprobs == pytest.approx(plain_logprobs(spoken[1], temperature=HOT)[0], abs=1e-4)
    assert spoken[0][2].logprobs == pytest.approx(plain_logprobs(spoken[0], temperature=1.0)[2], abs=1e-4)
    assert spoken[0][1].logprobs != pytest.approx(plain_logprobs(spoken[0], temperature=1.0)[1], abs=1e-2)


def test_a_row_that_does_not_explore_says_what_it_would_say_alone() -> None:
    plain, beside = talk(None), talk([[HOT, HOT, HOT], [], [1.0, HOT], []])

    assert beside[1] == plain[1]
    assert beside[3] == plain[3]
    assert beside[2][0] == plain[2][0]
    assert beside[0] != plain[0]


def test_one_temperature_for_every_row_draws_as_one_for_all() -> None:
    logits, uniforms = torch.randn(5, 7), torch.rand(5)

    for top_p in (1.0, 0.8):
        ids, logprobs = draw_rows(logits, uniforms, temperatures_B=torch.full((5,), 0.7), top_p=top_p)
        expected_ids, expected = sampler(0.7, top_p)(logits, uniforms)
        assert torch.equal(ids, expected_ids)
        assert torch.allclose(logprobs, expected, atol=1e-6)


@pytest.mark.parametrize("wrong", [0.0, -1.0, float("nan"), float("inf")])
def test_a_temperature_that_nothing_can_be_sampled_at_is_refused(wrong: float) -> None:
    with pytest.raises(ValueError, match=f"temperature {wrong} of a turn"):
        turn_temperatures([[1.0], [1.0, wrong]], 1.0)


def test_a_greedy_policy_cannot_explore_turn_by_turn() -> None:
    with pytest.raises(ValueError, match=r"temperature 0\.0 of a turn"):
        talk([[HOT], [], [], []], common=0.0)


def test_as_many_conversations_and_turns_explore_as_said() -> None:
    plan = Exploration(share=0.5, epsilon=0.3, temperature=HOT)

    schedules = [turn_schedule(plan, 1.0, turns=6, seed=seed) for seed in range(4000)]

    explored = sum(temperature == HOT for schedule in schedules for temperature in schedule)
    assert explored / (4000 * 6) == pytest.approx(0.15, abs=0.01)
    assert all(len(schedule) in (0, 6) and set(schedule) <= {1.0, HOT} for schedule in schedules)
    assert schedules[:50] == [turn_schedule(plan, 1.0, turns=6, seed=seed) for seed in range(50)]


def test_nobody_explores_by_default() -> None:
    assert {turn_schedule(Exploration(), 1.0, turns=6, seed=seed) for seed in range(500)} == {()}


def test_a_turn_trains_when_nothing_was_explored_in_it_or_after_it() -> None:
    assert first_on_policy([1.0, 1.0, 1.0], 1.0) == 0
    assert first_on_policy([HOT, 1.0, 1.0], 1.0) == 1
    assert first_on_policy([1.0, HOT, 1.0], 1.0) == 2
    assert first_on_policy([HOT, 1.0, HOT], 1.0) == 3


turn = some.builds(
    TurnTokens,
    prompt_ids=some.lists(some.integers(0, 9), max_size=3),
    response_ids=some.lists(some.integers(0, 9), min_size=1, max_size=3),
)


@given(turns=some.lists(turn, min_size=1, max_size=5), place=some.integers(0, 4))
def test_leaving_turns_out_moves_no_token_and_marks_only_the_others(
    turns: list[TurnTokens], place: int
) -> None:
    first = min(place, len(turns) - 1)

    whole, cut = streams({"c": turns}), streams({"c": from_turn(turns, first)})

    assert torch.equal(cut.tokens_BT, whole.tokens_BT)
    assert torch.equal(cut.is_policy_BT, whole.turn_BT >= first)
    assert cut.turns_B.tolist() == [len(turns) - first]
