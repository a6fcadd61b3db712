"""One packed row per conversation gives the numbers and the gradients of one row per branch."""

import dataclasses
from collections.abc import Callable

import pytest
import torch
from torch.nn.functional import pad
from transformers import PreTrainedModel

from itpo_core.branches import Branches, logged_branches
from itpo_core.packing import Packed, pack, run_packed
from itpo_core.reward_model import ConversationTokens
from tests.itpo_core.branching import END, NEVER, conversations, sampled, separate_logprobs
from tests.itpo_core.policies import gpt2, llama, qwen2

models = pytest.mark.parametrize("make", [qwen2, llama, gpt2])
ROWS = range(5)


def packed_logprobs(model: PreTrainedModel, packed: Packed, *, temperature: float = 1.0) -> torch.Tensor:
    """Log-probabilities of all real branch tokens, branch by branch."""
    found = run_packed(model, packed, suppressed_ids=NEVER, temperature=temperature)
    return found.logprobs_NL[packed.branches.is_real_NL]


def by_hand() -> tuple[ConversationTokens, Branches]:
    """Six tokens with turns at 2 and 5; three branches at the first, one at the second."""
    of = ConversationTokens(
        torch.tensor([[6, 7, 8, 2, 9, 8]]), torch.tensor([[-1, -1, 0, 0, -1, 1]]), torch.tensor([6])
    )
    tokens_NL = torch.tensor([[10, 11, 2], [10, 12, 2], [2, 0, 0], [13, 2, 0]])
    branches = Branches(
        torch.zeros(4, dtype=torch.int64),
        torch.tensor([0, 0, 0, 1]),
        torch.tensor([2, 2, 2, 5]),
        tokens_NL,
        torch.tensor([3, 3, 1, 2]),
        torch.zeros(4, 3),
        torch.ones(4, dtype=torch.bool),
    )
    return of, branches


def test_a_row_is_the_trunk_and_what_the_branches_add_to_it() -> None:
    of, branches = by_hand()

    packed = pack(of, branches, rows=[0])

    # Trunk of five; then 10 (shared) and 13 at depth one, 11 and 12 behind the 10; ends are left out.
    assert packed.tokens_BT.tolist() == [[6, 7, 8, 2, 9, 10, 13, 11, 12]]
    assert packed.positions_BT.tolist() == [[0, 1, 2, 3, 4, 2, 5, 3, 3]]
    assert packed.sees_BTT[0, 5].nonzero()[:, 0].tolist() == [0, 1, 5]
    assert packed.sees_BTT[0, 6].nonzero()[:, 0].tolist() == [0, 1, 2, 3, 4, 6]
    assert packed.sees_BTT[0, 7].nonzero()[:, 0].tolist() == [0, 1, 5, 7]
    assert packed.sees_BTT[0, 8].nonzero()[:, 0].tolist() == [0, 1, 5, 8]


def test_with_ends_every_last_token_has_a_place() -> None:
    of, branches = by_hand()

    packed = pack(of, branches, rows=[0], with_ends=True)

    assert packed.ends_N is not None
    assert packed.tokens_BT.flatten()[packed.ends_N].tolist() == [2, 2, 2, 2]
    assert packed.positions_BT.flatten()[packed.ends_N].tolist() == [4, 4, 2, 6]


@models
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_packed_log_probabilities_are_those_of_separate_rows(
    make: Callable[[], PreTrainedModel], temperature: float
) -> None:
    model, of = make(), conversations()
    branches = sampled(model, of)

    with torch.no_grad():
        found = packed_logprobs(model, pack(of, branches, rows=ROWS), temperature=temperature)
        expected = torch.cat(separate_logprobs(model, of, branches, temperature=temperature))

    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@models
def test_what_was_recorded_while_sampling_is_what_the_packed_rows_say(
    make: Callable[[], PreTrainedModel],
) -> None:
    model, of = make(), conversations()
    branches = sampled(model, of)

    with torch.no_grad():
        found = packed_logprobs(model, pack(of, branches, rows=ROWS))

    torch.testing.assert_close(found, branches.logprobs_NL[branches.is_real_NL], atol=1e-5, rtol=1e-5)


@models
def test_packed_gradients_are_those_of_separate_rows(make: Callable[[], PreTrainedModel]) -> None:
    model, of = make(), conversations()
    branches = sampled(model, of, draws=3)
    weights = torch.randn(int(branches.lengths_N.sum()), generator=torch.Generator().manual_seed(0))
    parameters = [each for each in model.parameters() if each.requires_grad]

    separate = (torch.cat(separate_logprobs(model, of, branches)) * weights).mean()
    expected = torch.autograd.grad(separate, parameters, allow_unused=True)
    together = (packed_logprobs(model, pack(of, branches, rows=ROWS)) * weights).mean()
    found = torch.autograd.grad(together, parameters, allow_unused=True)

    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


@models
def test_the_state_of_a_branchs_last_token_is_that_of_its_own_row(
    make: Callable[[], PreTrainedModel],
) -> None:
    model, of = make(), conversations()
    branches = sampled(model, of, draws=2)

    with torch.no_grad():
        packed = pack(of, branches, rows=ROWS, with_ends=True)
        found = run_packed(model, packed, suppressed_ids=NEVER, temperature=1.0).ends_NH
        number = 7
        start, length = int(branches.start_N[number]), int(branches.lengths_N[number])
        whole = torch.cat([of.tokens_BT[branches.row_N[number], :start], branches.tokens_NL[number, :length]])
        expected = model(whole[None], output_hidden_states=True).hidden_states[-1][0, -1]

    assert found is not None
    torch.testing.assert_close(found[number], expected, atol=1e-5, rtol=1e-5)


def test_padding_and_other_conversations_in_the_batch_change_nothing() -> None:
    model, of = qwen2(), conversations()
    branches = sampled(model, of)
    wide = dataclasses.replace(
        of, tokens_BT=pad(of.tokens_BT, (0, 9), value=7), turn_BT=pad(of.turn_BT, (0, 9), value=-1)
    )

    with torch.no_grad():
        together = packed_logprobs(model, pack(of, branches, rows=ROWS))
        padded = packed_logprobs(model, pack(wide, branches, rows=ROWS))
        by_row = torch.cat([packed_logprobs(model, pack(of, branches, rows=[row])) for row in ROWS])

    assert torch.equal(together, padded)
    torch.testing.assert_close(together, by_row, atol=1e-5, rtol=1e-5)


def test_what_follows_the_last_history_is_never_read() -> None:
    model, of = qwen2(), conversations()
    branches = sampled(model, of)
    last_B = torch.zeros(5, dtype=torch.int64).scatter_reduce(0, branches.row_N, branches.start_N, "amax")
    after_BT = torch.arange(of.tokens_BT.shape[1]) >= last_B[:, None]
    other = dataclasses.replace(of, tokens_BT=torch.where(after_BT, 9, of.tokens_BT))

    with torch.no_grad():
        before = packed_logprobs(model, pack(of, branches, rows=ROWS))
        after = packed_logprobs(model, pack(other, branches, rows=ROWS))

    assert torch.equal(before, after)


def test_logged_turns_pack_like_sampled_ones() -> None:
    model, of = qwen2(), conversations()
    logged = logged_branches(of, torch.zeros(of.tokens_BT.shape), end_of_turn_id=END)

    with torch.no_grad():
        found = packed_logprobs(model, pack(of, logged, rows=ROWS))
        expected = torch.cat(separate_logprobs(model, of, logged))

    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_entropies_are_those_of_the_distribution_behind_each_token() -> None:
    of, branches = by_hand()

    with torch.no_grad():
        found = run_packed(
            qwen2(), pack(of, branches, rows=[0]), suppressed_ids=NEVER, temperature=1.0
        ).entropies()
        logits_V = qwen2()(torch.tensor([[6, 7]])).logits[0, -1].index_fill(0, torch.tensor(NEVER), -1e9)

    expected = torch.distributions.Categorical(logits=logits_V).entropy()
    torch.testing.assert_close(found[:3, 0], expected.expand(3), atol=1e-5, rtol=1e-5)
    assert found[2, 1:].tolist() == [0, 0]


def test_conversations_without_branches_are_refused() -> None:
    of, branches = by_hand()

    with pytest.raises(ValueError, match="none of 1 conversations has a branch"):
        pack(of, dataclasses.replace(branches, row_N=branches.row_N + 3), rows=[0])
