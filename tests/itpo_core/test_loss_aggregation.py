"""From values per token to one loss: three tokens in two sequences, computed by hand, and additivity."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from itpo_core.loss_aggregation import AGGREGATIONS, Whole
from itpo_core.sequences import SEQUENCES, Sequences, conversations, largest_of, sequence_means, turns

TWO_AND_ONE = Sequences(torch.tensor([0, 0, 1]), torch.tensor([2, 1]))
WHOLE = Whole(tokens=3, sequences=2, norm_tokens=4)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("token_mean", 9 / 3),
        ("sequence_mean_token_mean", (1.5 + 6) / 2),
        ("sequence_mean_token_sum", (3 + 6) / 2),
        ("sequence_mean_token_sum_norm", (3 + 6) / (2 * 4)),
        ("token_sum_norm", 9 / 4),
    ],
)
def test_each_aggregation_of_three_tokens(name: str, expected: float) -> None:
    loss = AGGREGATIONS[name](torch.tensor([1.0, 2.0, 6.0]), TWO_AND_ONE, whole=WHOLE)

    assert loss.item() == pytest.approx(expected)


@pytest.mark.parametrize("name", sorted(AGGREGATIONS))
@given(lengths=st.lists(st.integers(1, 5), min_size=2, max_size=6), seed=st.integers(0, 99))
def test_the_losses_of_parts_add_up_to_the_loss_of_the_whole(
    name: str, lengths: list[int], seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    wanted_BT = torch.arange(5) < torch.tensor(lengths)[:, None]
    values_BT = torch.randn(wanted_BT.shape, generator=generator, dtype=torch.float64)
    whole = Whole(tokens=sum(lengths), sequences=len(lengths), norm_tokens=7)

    def loss_of(rows: slice) -> float:
        of = conversations(wanted_BT[rows], None)
        return AGGREGATIONS[name](values_BT[rows][wanted_BT[rows]], of, whole=whole).item()

    assert loss_of(slice(0, 1)) + loss_of(slice(1, None)) == pytest.approx(loss_of(slice(None)), abs=1e-12)


@pytest.mark.parametrize("name", ["sequence_mean_token_sum_norm", "token_sum_norm"])
def test_a_norm_that_is_not_set_is_asked_for(name: str) -> None:
    with pytest.raises(ValueError, match="norm_tokens None"):
        AGGREGATIONS[name](torch.ones(3), TWO_AND_ONE, whole=Whole(tokens=3, sequences=2))


def test_a_sequence_is_a_conversation_or_each_of_its_turns() -> None:
    turn_BT = torch.tensor([[-1, 0, 0, -1, 1], [0, -1, 1, 1, 2]])
    wanted_BT = turn_BT >= 0

    by_conversation, by_turn = (of(wanted_BT, turn_BT) for of in (conversations, turns))

    assert by_conversation.index_N.tolist() == [0, 0, 0, 1, 1, 1, 1]
    assert by_conversation.tokens_S.tolist() == [3, 4]
    assert by_turn.index_N.tolist() == [0, 0, 1, 2, 3, 3, 4]
    assert by_turn.tokens_S.tolist() == [2, 1, 1, 2, 1]


def test_turns_that_are_not_known_are_asked_for() -> None:
    with pytest.raises(ValueError, match="needs turn_BT"):
        SEQUENCES["turn"](torch.tensor([[True]]), None)


def test_means_and_largest_of_sequences() -> None:
    values_N = torch.tensor([1.0, 4.0, -2.0])

    assert sequence_means(values_N, TWO_AND_ONE).tolist() == [2.5, -2.0]
    assert largest_of(values_N, TWO_AND_ONE).tolist() == [4.0, -2.0]
