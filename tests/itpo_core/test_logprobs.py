"""Log-probabilities of given tokens do not depend on padding, neighbours or batch order."""

from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoConfig, AutoModelForCausalLM

from itpo_core.logprobs import (
    check_spoken,
    length_buckets,
    rows_that_fit,
    scored_logprobs,
    token_logprobs,
    wanted_logits,
)
from itpo_core.tokens import suppress
from tests.itpo_core.tiny_models import NEVER, VOCABULARY, streams, tiny_model


def test_log_probabilities_are_those_of_the_whole_forward() -> None:
    model = tiny_model()
    tokens_BT, turn_BT, _ = streams([8, 8])
    whole_BTV = model(input_ids=tokens_BT).logits
    whole_BTV[..., list(NEVER)] = -torch.inf

    found = token_logprobs(model, tokens_BT, wanted_BT=turn_BT >= 0, suppressed_ids=NEVER, temperature=1.0)

    expected_BT = whole_BTV.log_softmax(-1)[:, :-1].gather(2, tokens_BT[:, 1:, None])[..., 0]
    torch.testing.assert_close(found.logprobs_N, expected_BT[(turn_BT >= 0)[:, 1:]])


def test_temperature_divides_the_logits() -> None:
    model = tiny_model()
    tokens_BT, turn_BT, _ = streams([8])
    logits_NV = wanted_logits(model, tokens_BT, wanted_BT=turn_BT >= 0)

    found = token_logprobs(model, tokens_BT, wanted_BT=turn_BT >= 0, suppressed_ids=(), temperature=0.5)

    expected_NV = (logits_NV / 0.5).log_softmax(-1)
    torch.testing.assert_close(
        found.logprobs_N, expected_NV.gather(1, tokens_BT[turn_BT >= 0][:, None])[:, 0]
    )


def test_suppressed_ids_have_no_probability() -> None:
    model = tiny_model()
    tokens_BT, _, _ = streams([8])
    wanted_BT = torch.zeros_like(tokens_BT, dtype=torch.bool)
    wanted_BT[0, 3] = True
    total = 0.0
    for spoken in set(range(VOCABULARY)) - set(NEVER):
        tokens_BT[0, 3] = spoken
        found = token_logprobs(model, tokens_BT, wanted_BT=wanted_BT, suppressed_ids=NEVER, temperature=1.0)
        total += float(found.logprobs_N.detach().exp())

    assert total == pytest.approx(1.0, abs=1e-5)


def test_entropy_is_that_of_the_sampling_distribution() -> None:
    model = tiny_model()
    tokens_BT, turn_BT, _ = streams([8])

    found = token_logprobs(model, tokens_BT, wanted_BT=turn_BT >= 0, suppressed_ids=NEVER, temperature=1e6)

    expected = torch.tensor(float(VOCABULARY - len(NEVER))).log()
    torch.testing.assert_close(found.entropies(with_gradient=False), expected.expand(4))


def test_extra_padding_and_other_rows_change_no_log_probability() -> None:
    model = tiny_model()
    tokens_BT, turn_BT, _ = streams([8, 10])
    padded_BT = torch.nn.functional.pad(tokens_BT, (0, 5))
    wanted_BT = torch.nn.functional.pad(turn_BT >= 0, (0, 5))
    logprobs = partial(token_logprobs, model, suppressed_ids=NEVER, temperature=1.0)

    alone = logprobs(tokens_BT[:1, :8], wanted_BT=turn_BT[:1, :8] >= 0)
    among = logprobs(padded_BT, wanted_BT=wanted_BT)

    torch.testing.assert_close(alone.logprobs_N, among.logprobs_N[:4], atol=2e-6, rtol=0)


def test_a_padding_id_inside_a_row_is_an_ordinary_token() -> None:
    model = tiny_model()
    tokens_BT, turn_BT, lengths_B = streams([9])
    tokens_BT[0, 4] = 0

    scored_BT = scored_logprobs(
        model, tokens_BT, wanted_BT=turn_BT >= 0, lengths_B=lengths_B, suppressed_ids=NEVER, temperature=1.0
    )

    logits_NV = model(input_ids=tokens_BT).logits[0, 4:6]
    logits_NV[:, list(NEVER)] = -torch.inf
    expected = logits_NV.log_softmax(-1).gather(1, tokens_BT[0, 5:7, None])[:, 0]
    torch.testing.assert_close(scored_BT[0, 5:7], expected, atol=2e-6, rtol=0)


def test_scoring_in_buckets_equals_one_batch_and_leaves_zeros_elsewhere() -> None:
    model = tiny_model()
    tokens_BT, turn_BT, lengths_B = streams([12, 8, 10, 9, 7])
    wanted_BT = turn_BT >= 0

    scored_BT = scored_logprobs(
        model,
        tokens_BT,
        wanted_BT=wanted_BT,
        lengths_B=lengths_B,
        suppressed_ids=NEVER,
        temperature=1.0,
        batch=2,
    )

    whole = token_logprobs(model, tokens_BT, wanted_BT=wanted_BT, suppressed_ids=NEVER, temperature=1.0)
    torch.testing.assert_close(scored_BT[wanted_BT], whole.logprobs_N.detach(), atol=2e-6, rtol=0)
    assert scored_BT[~wanted_BT].abs().sum() == 0


def test_rows_fit_by_tokens_under_a_small_vocabulary_and_by_logits_under_a_large_one() -> None:
    budgets = {"tokens": 131_072, "logits": 2**28}

    assert rows_that_fit(512, 2048, **budgets) == 256
    assert rows_that_fit(512, 150_000, **budgets) == 3  # 0.92 GB of logits instead of 79 GB
    assert rows_that_fit(8192, 150_000, **budgets) == 1


def test_user_tokens_get_no_gradient_through_the_loss() -> None:
    model = tiny_model()
    tokens_BT, turn_BT, _ = streams([8])
    changed_BT = tokens_BT.clone()
    changed_BT[0, 7] = 6  # after the last policy token

    found, other = (
        token_logprobs(model, each, wanted_BT=turn_BT >= 0, suppressed_ids=NEVER, temperature=1.0)
        for each in (tokens_BT, changed_BT)
    )

    assert torch.equal(found.logprobs_N, other.logprobs_N)


def test_an_architecture_that_caps_its_logits_goes_through_its_own_forward() -> None:
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1}
    config = AutoConfig.for_model(
        "gemma2",
        vocab_size=VOCABULARY,
        intermediate_size=16,
        head_dim=8,
        final_logit_softcapping=0.5,
        **sizes,
    )
    model = AutoModelForCausalLM.from_config(config).eval()
    tokens_BT, turn_BT, _ = streams([8])

    logits_NV = wanted_logits(model, tokens_BT, wanted_BT=turn_BT >= 0)

    assert logits_NV.abs().max() <= 0.5
    torch.testing.assert_close(logits_NV, model(input_ids=tokens_BT).logits[0, [1, 2, 4, 5]])


def test_a_first_token_and_a_greedy_temperature_have_no_log_probability() -> None:
    tokens_BT, turn_BT, _ = streams([8])

    with pytest.raises(ValueError, match="row 0: its first token"):
        token_logprobs(tiny_model(), tokens_BT, wanted_BT=turn_BT >= -1, suppressed_ids=(), temperature=1.0)
    with pytest.raises(ValueError, match="temperature 0"):
        token_logprobs(tiny_model(), tokens_BT, wanted_BT=turn_BT >= 0, suppressed_ids=(), temperature=0.0)


def test_a_token_that_is_never_spoken_is_refused_with_its_place() -> None:
    tokens_BT, turn_BT, _ = streams([8, 8])
    tokens_BT[1, 3] = 5

    with pytest.raises(ValueError, match="row 1, token 3: id 5"):
        check_spoken(tokens_BT, turn_BT >= 0, suppressed_ids=NEVER)


@given(lengths=st.lists(st.integers(1, 99), min_size=1, max_size=60), batch=st.integers(1, 9))
def test_buckets_hold_every_row_once_and_repeat_with_the_seed(lengths: list[int], batch: int) -> None:
    lengths_B = torch.tensor(lengths)

    buckets, again = (
        length_buckets(lengths_B, batch, generator=torch.Generator().manual_seed(3)) for _ in range(2)
    )

    assert sorted(torch.cat(buckets).tolist()) == list(range(len(lengths)))
    assert len(buckets) == -(-len(lengths) // batch)
    assert [rows.tolist() for rows in buckets] == [rows.tolist() for rows in again]


def test_buckets_save_padding() -> None:
    lengths_B = torch.randint(20, 100, (400,), generator=torch.Generator().manual_seed(0))

    buckets = length_buckets(lengths_B, 20, generator=torch.Generator().manual_seed(1))

    padded = sum(int(lengths_B[rows].max()) * len(rows) for rows in buckets)
    assert padded < 1.25 * int(lengths_B.sum())


def test_what_was_suppressed_in_a_rollout_can_still_be_trained_on():
    with torch.inference_mode():
        suppress(torch.zeros(2, 9), (1, 3, 7))
    logits = torch.zeros(2, 9, requires_grad=True)

    suppress(logits, (1, 3, 7)).log_softmax(-1)[0, 0].backward()

    assert logits.grad is not None
    assert logits.grad[0, [1, 3, 7]].tolist() == [0.0, 0.0, 0.0]
