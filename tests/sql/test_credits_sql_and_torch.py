"""SQL and torch give the same turn rewards and the same advantages, on groups of any shape."""

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from itpo_core import advantages, turn_rewards
from itpo_core.turn_rewards import Knobs, TurnBatch
from storage.schemas import CREDIT_METHODS
from tests.sql.duck import credits, table

TOLERANCE = 1e-9
TAU, SHARE, STD_FLOOR = 0.4, 0.5, 1e-4
TOKEN_COST = 0.002


def random_batch(seed: int, *, conversations: int, estimator: str) -> TurnBatch:
    """Ragged groups in any order, some invalid members, some empty turns, some groups all alike."""
    draw = torch.Generator().manual_seed(seed)
    turns = 6

    def uniform(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=draw, dtype=torch.float64)

    group_B = torch.randint(0, max(conversations // 4, 1), (conversations,), generator=draw)
    valid_B = uniform(conversations) > 0.15
    lengths_B = torch.randint(1, turns + 1, (conversations,), generator=draw)
    tokens_BK = torch.randint(1, 12, (conversations, turns), generator=draw)
    tokens_BK = torch.where(uniform(conversations, turns) < 0.1, 0, tokens_BK)
    tokens_BK = torch.where(torch.arange(turns)[None] < lengths_B[:, None], tokens_BK, 0)
    happened_BK = turn_rewards.happened(tokens_BK, valid_B)
    outcome_B = torch.where(group_B % 5 == 0, 1.0, (uniform(conversations) > 0.5).double()).double()
    reward_B = torch.where(group_B % 5 == 0, 1.0, outcome_B - TOKEN_COST * tokens_BK.sum(1))
    whole = advantages.ESTIMATORS[estimator].whole
    return TurnBatch(
        group_B=group_B,
        valid_B=valid_B,
        outcome_B=outcome_B,
        reward_B=reward_B,
        advantage_B=whole(reward_B, group_B, valid_B=valid_B, std_floor=STD_FLOOR),
        happened_BK=happened_BK,
        tokens_BK=tokens_BK,
        scores_BK=torch.where(happened_BK, 3 * uniform(conversations, turns) - 1.5, 0),
        draws_BK=-uniform(conversations, turns).clamp(min=1e-12).log(),
        oracle_BK=torch.where(happened_BK, uniform(conversations, turns) - 0.5, 0),
    )


def as_tables(batch: TurnBatch) -> dict[str, pa.Table]:
    """The batch as rows. A turn that is not there has no row; an empty one inside a conversation has."""
    last_B = (batch.tokens_BK > 0).long().cumsum(1).argmax(1)
    curated, turns, scores, inputs = [], [], [], []
    for row in range(len(batch.group_B)):
        name = f"{row:05}"
        curated.append(
            {
                "conversation_id": name,
                "group_id": f"g{int(batch.group_B[row])}",
                "kept": bool(batch.valid_B[row]),
                "outcome": float(batch.outcome_B[row]),
                "reward": float(batch.reward_B[row]),
            }
        )
        for turn in range(int(last_B[row]) + 1):
            key = {"conversation_id": name, "turn_index": turn}
            tokens = {"response_tokens": int(batch.tokens_BK[row, turn])}
            turns.append({**key, **tokens})
            scores.append({**key, **tokens, "score": float(batch.scores_BK[row, turn])})
            draw, oracle = float(batch.draws_BK[row, turn]), float(batch.oracle_BK[row, turn])
            inputs.append({**key, "dirichlet_draw": draw, "oracle_advantage": oracle})
    rows = {"curated": curated, "turns": turns, "turn_scores": scores, "turn_inputs": inputs}
    return {name: table(name, each) for name, each in rows.items()}


def of_sql(made: pa.Table, name: str, like_BK: torch.Tensor) -> torch.Tensor:
    """A column of the credits as a padded tensor; turns without a row are 0."""
    dense_BK = np.zeros(tuple(like_BK.shape))
    rows = made.column("conversation_id").to_numpy(zero_copy_only=False).astype(np.int64)
    dense_BK[rows, made.column("turn_index").to_numpy()] = made.column(name).to_numpy()
    return torch.from_numpy(dense_BK)


def knobs_of(batch: TurnBatch) -> Knobs:
    scalars = turn_rewards.batch_scalars(batch.scores_BK, batch.tokens_BK, happened_BK=batch.happened_BK)
    return Knobs(temperature=TAU, share=SHARE, std_floor=STD_FLOOR, scalars=scalars)


def assert_sql_equals_torch(batch: TurnBatch, *, estimator: str) -> None:
    """Every method's turn reward and advantage, to 1e-9."""
    knobs = knobs_of(batch)
    baseline = advantages.ESTIMATORS[estimator]
    made = credits(as_tables(batch), estimator=estimator, parameters={"temperature": TAU, "share": SHARE})
    for method in CREDIT_METHODS:
        of_torch = {
            f"credit_{method}": turn_rewards.TURN_REWARDS[method](batch, knobs),
            f"advantage_{method}": advantages.ALGORITHMS[method](batch, knobs, estimator=baseline),
        }
        for name, expected_BK in of_torch.items():
            found_BK = of_sql(made, name, batch.tokens_BK)
            torch.testing.assert_close(found_BK, expected_BK, rtol=0.0, atol=TOLERANCE, msg=name)


@pytest.mark.parametrize("estimator", ["grpo", "rloo"])
def test_sql_and_torch_agree_on_every_method(estimator: str) -> None:
    assert_sql_equals_torch(random_batch(7, conversations=60, estimator=estimator), estimator=estimator)


@pytest.mark.parametrize("estimator", ["grpo", "rloo"])
@settings(max_examples=4)
@given(seed=st.integers(0, 2**31 - 1), conversations=st.integers(1, 40))
def test_sql_and_torch_agree_on_groups_of_any_shape(estimator: str, seed: int, conversations: int) -> None:
    batch = random_batch(seed, conversations=conversations, estimator=estimator)

    assert_sql_equals_torch(batch, estimator=estimator)


@pytest.mark.parametrize("estimator", ["grpo", "rloo"])
def test_the_comparison_sees_what_it_should(estimator: str) -> None:
    batch = random_batch(7, conversations=60, estimator=estimator)

    made = credits(as_tables(batch), estimator=estimator, parameters={"temperature": TAU, "share": SHARE})

    counts = torch.bincount(batch.group_B[batch.valid_B])
    assert int(batch.valid_B.sum()) < 60
    assert int((counts == 1).sum()) > 0 or int((counts > 4).sum()) > 0
    for method in CREDIT_METHODS:
        assert float(of_sql(made, f"advantage_{method}", batch.tokens_BK).abs().sum()) > 1.0


@pytest.mark.parametrize("estimator", ["grpo", "rloo"])
def test_the_bits_of_credit_do_not_depend_on_the_number_of_threads(estimator: str) -> None:
    relations = as_tables(random_batch(3, conversations=300, estimator=estimator))

    first, second, fourth = (
        credits(relations, estimator=estimator, threads=threads) for threads in (1, 2, 4)
    )

    assert first.equals(second)
    assert first.equals(fourth)
