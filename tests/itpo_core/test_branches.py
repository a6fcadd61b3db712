"""Turns sampled from a cached prefix are those that a prompt of its own would have got."""

import dataclasses
from collections.abc import Callable

import pytest
import torch
from transformers import PreTrainedModel

from itpo_core.branches import (
    Drawing,
    branch_seeds,
    joined,
    logged_branches,
    sample_branches,
    visited_histories,
)
from tests.itpo_core.branching import DRAWING, END, NEVER, conversations, from_a_fresh_prompt, sampled
from tests.itpo_core.policies import gpt2, llama, qwen2

models = pytest.mark.parametrize("make", [qwen2, llama, gpt2])


def test_every_place_where_a_turn_begins_is_a_history() -> None:
    turn_BT = torch.tensor(
        [[-1, -1, 0, 0, -1, 1, -1], [-1, 0, 1, 1, -1, -1, -1], [-1, -1, -1, -1, -1, -1, -1]]
    )

    found = visited_histories(turn_BT)

    assert found.row_H.tolist() == [0, 0, 1, 1]
    assert found.turn_H.tolist() == [0, 1, 0, 1]
    assert found.start_H.tolist() == [2, 5, 1, 2]


def test_a_stream_that_begins_with_a_turn_is_refused() -> None:
    with pytest.raises(ValueError, match="row 1: its first token has no token before it"):
        visited_histories(torch.tensor([[-1, 0], [0, 0]]))


@models
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_a_cached_prefix_gives_the_turns_of_separate_prompts(
    make: Callable[[], PreTrainedModel], temperature: float
) -> None:
    model, of = make(), conversations()
    drawing = dataclasses.replace(DRAWING, temperature=temperature)
    seeds = branch_seeds(visited_histories(of.turn_BT), range(5), draws=4, root=0)

    found = sampled(model, of, drawing=drawing)

    assert len(seeds) == len(found.row_N) == 4 * (1 + 2 + 3 + 4 + 1)
    for number, seed in enumerate(seeds):
        prompt = of.tokens_BT[found.row_N[number], : found.start_N[number]].tolist()
        said, logprobs = from_a_fresh_prompt(model, prompt, seed=seed, drawing=drawing)
        length = int(found.lengths_N[number])
        assert found.tokens_NL[number, :length].tolist() == said
        assert found.logprobs_NL[number, :length].tolist() == pytest.approx(logprobs, abs=1e-5)
        assert bool(found.is_closed_N[number]) == (said[-1] == END)


@models
def test_a_branch_depends_on_its_own_seed_and_history_alone(make: Callable[[], PreTrainedModel]) -> None:
    model, of = make(), conversations()

    together = sampled(model, of)
    apart = sampled(model, of, at_once=3)
    seeds = branch_seeds(visited_histories(of.turn_BT), range(5), draws=4, root=0)
    alone = sample_branches(
        model, of, histories=visited_histories(of.turn_BT), seeds_N=seeds[::4], drawing=DRAWING
    )

    assert torch.equal(together.tokens_NL, apart.tokens_NL)
    torch.testing.assert_close(together.logprobs_NL, apart.logprobs_NL, atol=1e-5, rtol=0)
    assert torch.equal(together.tokens_NL[::4, : alone.tokens_NL.shape[1]], alone.tokens_NL)


def test_turns_end_at_the_end_of_turn_or_at_the_limit_and_never_hold_a_suppressed_token() -> None:
    found = sampled(qwen2(), conversations(), draws=8)

    said = found.tokens_NL[found.is_real_NL]
    assert not set(said.tolist()) & set(NEVER)
    assert found.is_closed_N.any()
    assert not found.is_closed_N.all()
    assert (found.lengths_N[~found.is_closed_N] == DRAWING.max_new_tokens).all()
    assert ((found.tokens_NL == END).sum(dim=1) == found.is_closed_N).all()


def test_a_turn_is_cut_where_the_models_positions_end() -> None:
    model, of = gpt2(), conversations(rows=1)
    model.config.max_position_embeddings = int(of.lengths_B[0]) - 1
    start = int(visited_histories(of.turn_BT).start_H[0])

    found = sampled(model, of, draws=8)

    assert int(found.lengths_N.max()) == int(of.lengths_B[0]) - 1 - start


def test_logged_turns_are_branches_at_their_own_histories() -> None:
    of = conversations(rows=3)
    logprobs_BT = -torch.arange(of.tokens_BT.numel(), dtype=torch.float32).reshape(of.tokens_BT.shape)

    found = logged_branches(of, logprobs_BT, end_of_turn_id=END)

    assert found.tokens_NL[found.is_real_NL].tolist() == of.tokens_BT[of.is_policy_BT].tolist()
    assert found.logprobs_NL[found.is_real_NL].tolist() == logprobs_BT[of.is_policy_BT].tolist()
    assert found.turn_N.tolist() == [0, 0, 1, 0, 1, 2]


def test_joined_branches_are_the_first_then_the_second() -> None:
    of = conversations(rows=3)
    logged = logged_branches(of, torch.zeros(of.tokens_BT.shape), end_of_turn_id=END)
    fresh = sampled(qwen2(), of, draws=2)

    both = joined(fresh, logged)

    assert both.row_N.tolist() == [*fresh.row_N.tolist(), *logged.row_N.tolist()]
    assert torch.equal(both.of(torch.arange(12, 18)).lengths_N, logged.lengths_N)
    assert both.tokens_NL[both.is_real_NL].tolist() == [
        *fresh.tokens_NL[fresh.is_real_NL].tolist(),
        *logged.tokens_NL[logged.is_real_NL].tolist(),
    ]


@pytest.mark.parametrize(
    ("drawing", "seeds", "message"),
    [
        (Drawing(END, temperature=0.0), 3, "temperature 0.0"),
        (Drawing(END, max_new_tokens=0), 3, "max_new_tokens 0"),
        (Drawing(END), 4, "4 seeds for 3 histories"),
    ],
)
def test_what_cannot_be_drawn_is_refused(drawing: Drawing, seeds: int, message: str) -> None:
    of = conversations(rows=2)

    with pytest.raises(ValueError, match=message):
        sample_branches(
            qwen2(), of, histories=visited_histories(of.turn_BT), seeds_N=range(seeds), drawing=drawing
        )


def test_seeds_follow_the_conversations_key_and_not_its_place() -> None:
    histories = visited_histories(conversations(rows=2).turn_BT)

    seeds = branch_seeds(histories, [10, 20], draws=2, root=1)

    assert seeds[:2] == branch_seeds(visited_histories(conversations(rows=1).turn_BT), [10], draws=2, root=1)
    assert len(set(seeds)) == 6
