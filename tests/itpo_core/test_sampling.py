"""Drawing tokens: supports, masses, determinism."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from itpo_core.sampling import draw, nucleus, row_uniforms, sampler, tempered

PROBABILITIES = torch.tensor([[0.5, 0.25, 0.125, 0.125]])


def test_a_uniform_number_picks_the_token_whose_interval_holds_it() -> None:
    uniforms = torch.tensor([0.0, 0.49, 0.5, 0.74, 0.75, 0.999], dtype=torch.float32)

    ids = draw(PROBABILITIES.expand(6, 4), uniforms)

    assert ids.tolist() == [0, 0, 1, 1, 2, 3]


@pytest.mark.parametrize("uniform", [0.0, 0.5, 1 - 2**-23])
def test_a_token_of_probability_zero_is_never_drawn(uniform: float) -> None:
    probabilities = torch.tensor([[0.0, 0.5, 0.0, 0.5, 0.0]])

    drawn = draw(probabilities, torch.tensor([uniform], dtype=torch.float32))

    assert drawn.item() in {1, 3}


def test_top_p_keeps_the_likeliest_tokens_until_their_mass_is_reached() -> None:
    kept = nucleus(PROBABILITIES, 0.7)

    assert kept[0].tolist() == pytest.approx([2 / 3, 1 / 3, 0, 0])


def test_top_p_never_drops_the_likeliest_token() -> None:
    assert nucleus(PROBABILITIES, 0.01)[0].tolist() == [1, 0, 0, 0]


@given(
    seed=st.integers(0, 10_000),
    temperature=st.floats(0.1, 3),
    top_p=st.floats(0.05, 1),
    size=st.integers(2, 40),
)
def test_probabilities_sum_to_one_over_the_support(
    seed: int, temperature: float, top_p: float, size: int
) -> None:
    logits = 3 * torch.randn(4, size, generator=torch.Generator().manual_seed(seed))

    probabilities = nucleus(tempered(logits, temperature), top_p)

    assert probabilities.sum(dim=-1).tolist() == pytest.approx([1] * 4, abs=1e-5)


def test_the_recorded_log_probability_is_that_of_the_distribution_drawn_from() -> None:
    logits = torch.randn(512, 6, generator=torch.Generator().manual_seed(0))
    uniforms = torch.from_numpy(row_uniforms([1], 512)[0])

    ids, logprobs = sampler(0.7, 0.9)(logits, uniforms)

    expected = nucleus(tempered(logits, 0.7), 0.9).gather(1, ids[:, None])[:, 0].log()
    assert torch.equal(logprobs, expected)
    assert bool(logprobs.isfinite().all())


def test_tokens_come_as_often_as_their_probability_says() -> None:
    uniforms = torch.from_numpy(row_uniforms([3], 20_000)[0])

    ids, _ = sampler(1.0, 1.0)(PROBABILITIES.log().expand(20_000, 4), uniforms)

    shares = (torch.bincount(ids) / 20_000).tolist()
    assert shares == pytest.approx([0.5, 0.25, 0.125, 0.125], abs=0.015)


def test_greedy_takes_the_likeliest_token_with_certainty() -> None:
    ids, logprobs = sampler(0.0, 1.0)(PROBABILITIES.log(), torch.tensor([0.99]))

    assert (ids.item(), logprobs.item()) == (0, 0.0)


def test_a_rows_numbers_depend_on_its_seed_and_not_on_how_many_are_made() -> None:
    (long,), (short, other) = row_uniforms([5], 64), row_uniforms([5, 6], 16)

    assert np.array_equal(long[:16], short)
    assert not np.array_equal(short, other)


def test_uniform_numbers_are_uniform_and_rows_are_unrelated() -> None:
    numbers = row_uniforms(range(200), 500)

    assert numbers.min() >= 0
    assert numbers.max() < 1
    assert np.histogram(numbers, bins=10)[0] == pytest.approx(10_000, rel=0.04)
    neighbours = np.corrcoef(numbers[:-1].ravel(), numbers[1:].ravel())[0, 1]
    assert abs(neighbours) < 0.015


def test_the_last_number_never_falls_off_the_distribution() -> None:
    probabilities = torch.randn(2000, 97, generator=torch.Generator().manual_seed(0)).softmax(dim=-1)

    ids = draw(probabilities, torch.full((2000,), 1 - 2**-23))

    assert int(ids.max()) <= 96


@pytest.mark.parametrize(("temperature", "top_p"), [(-0.1, 1.0), (1.0, 0.0), (1.0, 1.1)])
def test_impossible_settings_are_refused_by_value(temperature: float, top_p: float) -> None:
    with pytest.raises(ValueError, match=f"{temperature if temperature < 0 else top_p}"):
        sampler(temperature, top_p)
