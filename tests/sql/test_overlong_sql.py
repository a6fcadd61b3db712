"""What excessive length costs: SQL beside the arithmetic, and nothing where no limit is set."""

import pytest
import torch

from itpo_core.dapo import overlong_penalties
from tests.sql.duck import Row, rows_of

LENGTHS = (0, 79, 80, 81, 90, 99, 100, 101, 5000)


def charged(lengths: tuple[int, ...], *, limit: int, buffer: int) -> list[Row]:
    """Conversations of these lengths, each with outcome 1 and reward 0.75, after the charge."""
    curated = [
        {
            "conversation_id": f"c{index:02d}",
            "group_id": "g",
            "outcome": 1.0,
            "reward": 0.75,
            "assistant_tokens": tokens,
        }
        for index, tokens in enumerate(lengths)
    ]
    limits = {"overlong_limit": limit, "overlong_buffer": buffer}
    return list(rows_of("overlong.sql", {"curated": curated}, limits))


def test_half_the_buffer_costs_half_a_success_and_the_outcome_stays() -> None:
    rows = charged((80, 90, 100, 300), limit=100, buffer=20)

    assert [row["reward"] for row in rows] == [0.75, 0.25, -0.25, -0.25]
    assert [row["outcome"] for row in rows] == [1.0] * 4


@pytest.mark.parametrize(("limit", "buffer"), [(100, 20), (100, 100), (100, 1), (7, 3)])
def test_sql_charges_what_the_arithmetic_does(limit: int, buffer: int) -> None:
    rows = charged(LENGTHS, limit=limit, buffer=buffer)

    penalties = overlong_penalties(torch.tensor(LENGTHS), limit=limit, buffer=buffer)

    assert [row["reward"] for row in rows] == pytest.approx((0.75 + penalties).tolist())


def test_what_has_no_reward_is_given_none() -> None:
    unscored = {"conversation_id": "c", "group_id": "g", "assistant_tokens": 500}

    rows = rows_of("overlong.sql", {"curated": [unscored]}, {"overlong_limit": 100, "overlong_buffer": 20})

    assert rows[0]["reward"] is None
