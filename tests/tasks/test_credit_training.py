"""From rows to what trains, by hand: three conversations of one group, two turns of two tokens each."""

from dataclasses import replace

import pytest
import torch

from itpo_core.credit import stream_returns
from tasks.config import Algorithm, ConfigError, Credit
from tasks.credit_choice import method_of, sql_computes_the_same
from tasks.credit_lab_data import LabBatch, lab_batch
from tasks.credit_training import Trained, trained, usable_turns
from tests.tasks.credit_rows import relations


def batch(**changes: torch.Tensor | None) -> LabBatch:
    """The batch of the hand-made rows with tensors put in."""
    made = lab_batch(relations())
    return replace(made, turns=replace(made.turns, **changes))


def given(of: LabBatch, algorithm: str, advantage: str = "rloo") -> Trained:
    return trained(of, method_of(Credit(algorithm=Algorithm(algorithm), advantage=advantage)))


def advantages(of: Trained) -> list[float]:
    return of.table.column("advantage").to_pylist()


def test_the_outcome_of_one_success_among_three_by_hand() -> None:
    found = given(batch(), "outcome")

    # rewards 0.99, -0.01, -0.01: the success lies 1 above its siblings, each failure 0.5 below theirs.
    assert advantages(found) == pytest.approx([1.0, 1.0, -0.5, -0.5, -0.5, -0.5])
    assert found.table.column("credit").to_pylist() == pytest.approx([0, 0.99, 0, -0.01, 0, -0.01])
    assert found.table.column("conversation_id").to_pylist() == ["a", "a", "b", "b", "c", "c"]
    assert found.table.column("token_advantages").null_count == 6
    assert found.left_out == {}


def test_a_conversation_without_all_scores_is_left_out_and_counted_where_scores_count() -> None:
    of = lab_batch(relations(missing="b"))

    by_scores, by_outcome = given(of, "itpo"), given(of, "outcome")

    assert by_scores.left_out == {"score_not_finite": 1}
    assert advantages(by_scores)[2:4] == [0.0, 0.0]
    assert by_scores.figures["left_out_score_not_finite"] == 1.0
    assert by_outcome.left_out == {}
    assert advantages(by_outcome) == advantages(given(batch(), "outcome"))


@pytest.mark.parametrize(
    ("algorithm", "advantage", "signal", "cause"),
    [
        ("dueling_advantage", "rloo", "log_ratios_BK", "no_log_ratio"),
        ("prefix_value", "rloo", "values_BK", "no_value"),
        ("outcome", "ppo", "values_BK", "no_value"),
    ],
)
def test_a_conversation_that_q_did_not_value_is_left_out_and_moves_nobody(
    algorithm: str, advantage: str, signal: str, cause: str
) -> None:
    known_BK = torch.tensor([[0.5, 0.25], [0.75, 0.125], [0.25, 0.5]], dtype=torch.float64)
    gap_BK = known_BK.clone()
    gap_BK[2, 1] = torch.nan

    found = given(batch(**{signal: gap_BK}), algorithm, advantage)
    reward_B = torch.tensor([0.99, -0.01, 7.0], dtype=torch.float64)
    other = given(batch(**{signal: gap_BK, "reward_B": reward_B}), algorithm, advantage)

    assert found.left_out == {cause: 1}
    assert advantages(found)[4:] == [0.0, 0.0]
    assert advantages(found) == pytest.approx(advantages(other))
    assert len(set(advantages(found)[:4])) > 1


def test_a_judge_that_nobody_asked_is_refused_with_the_remedy_and_one_that_is_there_weighs() -> None:
    weights_BK = torch.tensor([[1.0, 3.0], [1.0, 1.0], [0.0, 2.0]], dtype=torch.float64)

    judged = given(batch(judge_BK=weights_BK), "judge")

    assert advantages(judged) == pytest.approx([0.5, 1.5, -0.5, -0.5, 0.0, -1.0])
    with pytest.raises(ConfigError, match="let a judge weigh the turns before credit"):
        given(batch(), "judge")


@pytest.mark.parametrize(
    ("algorithm", "remedy"),
    [("oracle_star", "only an environment that can solve itself"), ("dueling_advantage", "stage fit_q")],
)
def test_what_the_iteration_does_not_have_is_refused_with_the_remedy(algorithm: str, remedy: str) -> None:
    with pytest.raises(ConfigError, match=remedy):
        given(batch(), algorithm)


def test_an_unknown_truth_is_refused_and_not_zero() -> None:
    with pytest.raises(ConfigError, match="does not know what turns are worth"):
        given(lab_batch(relations(without_oracle="c")), "oracle_pi")


def test_prime_token_gives_one_advantage_per_token_and_the_turn_their_mean() -> None:
    found = given(batch(), "prime_token")

    tokens = found.table.column("token_advantages").to_pylist()
    assert [len(each) for each in tokens] == [2] * 6
    assert [sum(each) / 2 for each in tokens] == pytest.approx(advantages(found), abs=1e-6)


def test_a_stream_reads_its_own_critic_and_the_outcome_reads_the_other() -> None:
    values_BK, returns_BK = torch.full((3, 2), 0.5).double(), torch.full((3, 2), 4.0).double()
    of = replace(batch(values_BK=values_BK), return_values_BK=returns_BK)

    stream, _ = usable_turns(of, Algorithm.ITPO, has_critic=True)
    outcome, _ = usable_turns(of, Algorithm.OUTCOME, has_critic=True)

    assert stream.values_BK is not None
    assert outcome.values_BK is not None
    assert (float(stream.values_BK[0, 0]), float(outcome.values_BK[0, 0])) == (4.0, 0.5)


def test_the_critic_of_a_stream_learns_its_discounted_rewards_to_go() -> None:
    turns, _ = usable_turns(batch(), Algorithm.ITPO, has_critic=False)
    method = method_of(Credit(algorithm=Algorithm.ITPO, advantage="ppo", gamma=0.5))

    returns_BK = stream_returns(turns, method)

    assert returns_BK.tolist() == [[1.625, 1.25], [3.125, 2.25], [4.625, 3.25]]


def test_sql_is_compared_only_where_it_computes_the_same() -> None:
    share = Algorithm.NORM_ITPO_SHARE

    assert sql_computes_the_same(Credit(), share)
    assert sql_computes_the_same(Credit(score_scale="batch_max"), Algorithm.NORM_ITPO)
    for other in ({"std": "none"}, {"to_go": "immediate"}, {"profile": "verl"}, {"outcome_weight": 1.0},
                  {"score_scale": "batch_max"}, {"advantage": "reinforce_pp"}):  # fmt: skip
        assert not sql_computes_the_same(Credit.model_validate(other), share)
    assert not sql_computes_the_same(Credit(), Algorithm.PREFIX_VALUE)
