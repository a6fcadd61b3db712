"""The supervised start learns to copy, repeats itself, and refuses rows without lessons."""

import dataclasses
import math

import pytest
import torch

from itpo_core.trainers.warm_start import EncodedRows, WarmStartSettings, copy_accuracy, rate_at, warm_start
from tests.itpo_core.tiny_models import END, tiny_model

SETTINGS = WarmStartSettings(steps=40, batch=8, learning_rate=5e-3, request_share=0.5, seed=1)
VALUES = (6, 7, 8)


def echo_rows(rows: int, *, padding: int = 0) -> EncodedRows:
    """<bos> <user> value <eot> <asst> value <eot>: the assistant repeats the value that it was told."""
    values_B = 6 + torch.arange(rows) % 3
    fixed = torch.tensor([1, 3, 0, END, 4, 0, END]).expand(rows, 7).clone()
    fixed[:, 2] = fixed[:, 5] = values_B
    tokens_BT = torch.nn.functional.pad(fixed, (0, padding))
    is_assistant_BT = torch.zeros_like(tokens_BT, dtype=torch.bool)
    is_assistant_BT[:, 5:7] = True
    return EncodedRows(tokens_BT, is_assistant_BT, torch.full((rows,), 7))


def test_the_model_learns_to_copy_what_it_was_told() -> None:
    model, rows = tiny_model(), echo_rows(12)
    before = copy_accuracy(model, rows, value_token_ids=VALUES)

    result = warm_start(model, rows, requests=rows, settings=SETTINGS)

    assert before < 0.7
    assert copy_accuracy(model, rows, value_token_ids=VALUES) == 1.0
    assert result.final_loss < 0.1 * result.losses[0]


def test_copy_accuracy_looks_at_values_of_the_assistant_alone() -> None:
    model, rows = tiny_model(), echo_rows(6)
    warm_start(model, rows, requests=None, settings=SETTINGS)
    wrong_BT = rows.tokens_BT.clone()
    wrong_BT[0, 5] = 6 + (wrong_BT[0, 5] - 5) % 3  # the assistant of row 0 names another value

    accuracy = copy_accuracy(model, dataclasses.replace(rows, tokens_BT=wrong_BT), value_token_ids=VALUES)

    assert accuracy == pytest.approx(5 / 6)


def test_padding_and_the_users_words_are_not_trained_on() -> None:
    plain, padded = tiny_model(), tiny_model()

    first = warm_start(plain, echo_rows(12), requests=None, settings=SETTINGS)
    second = warm_start(padded, echo_rows(12, padding=5), requests=None, settings=SETTINGS)

    assert first == second


def test_the_same_seed_gives_the_same_weights_and_another_seed_others() -> None:
    models = [tiny_model() for _ in range(3)]
    for model, seed in zip(models, (1, 1, 2), strict=True):
        settings = dataclasses.replace(SETTINGS, steps=5, seed=seed)
        warm_start(model, echo_rows(12), requests=echo_rows(6), settings=settings)

    first, same, other = (next(model.parameters()) for model in models)
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


def test_the_rate_rises_for_thirty_steps_and_falls_to_a_twentieth() -> None:
    assert rate_at(0, 1.0, steps=1000) == pytest.approx(1 / 30)
    assert rate_at(29, 1.0, steps=1000) == pytest.approx(0.5 * (1 + math.cos(math.pi * 0.029)))
    assert rate_at(500, 1.0, steps=1000) == pytest.approx(0.5)
    assert rate_at(999, 1.0, steps=1000) == pytest.approx(0.05)


def test_rows_without_assistant_tokens_or_with_unspeakable_ones_are_refused() -> None:
    rows = echo_rows(3)
    silent = dataclasses.replace(rows, is_assistant_BT=torch.zeros_like(rows.is_assistant_BT))
    unknown = dataclasses.replace(rows, tokens_BT=rows.tokens_BT.index_fill(1, torch.tensor([5]), 5))

    with pytest.raises(ValueError, match=r"rows without an assistant token: \[0, 1, 2\]"):
        warm_start(tiny_model(), silent, requests=None, settings=SETTINGS)
    with pytest.raises(ValueError, match="row 0, token 5: id 5 is never spoken"):
        warm_start(tiny_model(), rows, requests=unknown, settings=SETTINGS)


def test_copying_that_cannot_be_measured_is_an_error() -> None:
    with pytest.raises(ValueError, match="copying cannot be measured"):
        copy_accuracy(tiny_model(), echo_rows(3), value_token_ids=(11,))
