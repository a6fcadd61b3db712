"""The one entry to credit, method by method, on conversations small enough to be credited by hand."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from itpo_core.advantages import ALGORITHMS, ESTIMATORS
from itpo_core.credit import Credited, CreditMethod, credit
from itpo_core.normalisation import RunningScale, whiten
from itpo_core.turn_batch import BatchScalars, Knobs, TurnBatch
from tests.itpo_core.credit_batches import random_batch


def pair(**given: Tensor) -> TurnBatch:
    """A success of two turns and a failure of one, one token a turn, in one group; rloo gives 1 and -1."""
    tokens_BK = torch.tensor([[1, 1], [1, 0]])
    zeros_BK = torch.zeros(2, 2, dtype=torch.float64)
    reward_B = torch.tensor([1.0, 0.0], dtype=torch.float64)
    return replace(
        TurnBatch(
            group_B=torch.zeros(2, dtype=torch.int64),
            valid_B=torch.ones(2, dtype=torch.bool),
            outcome_B=reward_B,
            reward_B=reward_B,
            advantage_B=zeros_BK[:, 0],
            happened_BK=tokens_BK > 0,
            tokens_BK=tokens_BK,
            scores_BK=zeros_BK,
            draws_BK=zeros_BK + 1,
            oracle_BK=zeros_BK,
        ),
        **{name: value.double() for name, value in given.items()},
    )


def credited(turns: TurnBatch, algorithm: str, **given) -> Credited:
    return credit(turns, CreditMethod(**{"algorithm": algorithm, "advantage": "rloo", **given}))


def z(values: list[float]) -> list[float]:
    """Mean 0 and population deviation 1 of equally heavy turns."""
    return whiten(torch.tensor(values, dtype=torch.float64), torch.ones(len(values))).tolist()


def three(found: Credited) -> list[float]:
    """Advantages of the three turns that happened; the fourth must be 0."""
    assert found.advantages_BK[1, 1] == 0
    return [*found.advantages_BK[0].tolist(), float(found.advantages_BK[1, 0])]


def test_a_critics_differences_add_up_to_the_outcome_less_its_first_guess() -> None:
    found = credited(pair(values_BK=torch.tensor([[0.5, 0.75], [0.25, 9.0]])), "prefix_value")

    assert found.rewards_BK.tolist() == [[0.25, 0.25], [-0.25, 0.0]]
    assert three(found) == pytest.approx(z([0.25, 0.25, -0.25]))


def test_a_dueling_log_ratio_stands_beside_the_outcome() -> None:
    turns = pair(log_ratios_BK=torch.tensor([[2.0, -1.0], [-1.0, math.nan]]))

    found = credited(turns, "dueling_advantage", outcome_weight=2.0, signal_weight=3.0)

    high, low, _ = z([2, -1, -1])
    assert three(found) == pytest.approx([2 + 3 * high, 2 + 3 * low, -2 + 3 * low])


def test_iterative_ppo_is_recorded_as_its_dueling_advantage() -> None:
    turns = pair(log_ratios_BK=torch.tensor([[2.0, -1.0], [-1.0, 0.0]]))

    recorded, dueling = credited(turns, "iterative_ppo"), credited(turns, "dueling_advantage")

    assert recorded.advantages_BK.equal(dueling.advantages_BK)


def test_the_implicit_score_may_stand_beside_the_outcome_at_once_or_to_go() -> None:
    turns = pair(scores_BK=torch.tensor([[1.0, 2.0], [0.0, 5.0]]))

    at_once = credited(turns, "immediate_plus_outcome", signal_weight=1.0)
    to_go = credited(turns, "itpo_plus_outcome", signal_weight=1.0)

    first, second, third = z([1, 2, 0])
    assert three(at_once) == pytest.approx([1 + first, 1 + second, -1 + third])
    # Returns 3, 2 and 0; leave-one-out 3 and -3 at the first turn, nothing at the one no sibling reached.
    first, second, third = z([3, 0, -3])
    assert three(to_go) == pytest.approx([1 + first, 1 + second, -1 + third])


def test_signed_norm_itpo_charges_failures_to_low_scores() -> None:
    turns = pair(scores_BK=torch.tensor([[0.4 * math.log(3), 0.0], [0.0, 5.0]]))

    found = credited(turns, "norm_itpo_signed")

    assert found.rewards_BK.tolist() == [pytest.approx([0.75, 0.25]), [-1.0, 0.0]]
    assert three(found) == pytest.approx(z([0.75, 0.25, -1.0]))


def test_a_judges_weights_split_the_advantage_and_a_judge_that_failed_splits_it_evenly() -> None:
    judged = credited(pair(judge_BK=torch.tensor([[3.0, 1.0], [7.0, math.nan]])), "judge")
    failed = credited(pair(judge_BK=torch.tensor([[3.0, math.nan], [0.0, 0.0]])), "judge")

    assert three(judged) == [1.5, 0.5, -1.0]
    assert judged.facts.unjudged == 0
    assert three(failed) == [1.0, 1.0, -1.0]
    assert failed.facts.unjudged == 2


def test_the_two_oracles_are_whitened_alone() -> None:
    turns = pair(
        oracle_BK=torch.tensor([[1.0, 2.0], [3.0, 0.0]]), oracle_star_BK=torch.tensor([[3.0, 2], [1, 0]])
    )

    assert three(credited(turns, "oracle_pi")) == pytest.approx(z([1, 2, 3]))
    assert three(credited(turns, "oracle_star")) == pytest.approx(z([3, 2, 1]))


def test_ppo_gives_the_outcome_to_turn_level_gae() -> None:
    turns = pair(values_BK=torch.tensor([[0.5, 0.75], [0.25, 9.0]]))

    found = credited(turns, "outcome", advantage="ppo", gae_lambda=0.5)

    # Last turn 1 - 0.75, first 0.75 - 0.5 + 0.5 * 0.25; the failure 0 - 0.25.
    assert three(found) == pytest.approx(z([0.375, 0.25, -0.25]))
    assert found.facts.returns_BK is not None
    assert found.facts.returns_BK.tolist() == [[0.875, 1.0], [0.0, 0.0]]
    # Returns .875, 1, 0 of mean 5/8; left over are .375, .25, -.25 of mean 1/8.
    assert found.facts.explained_variance == pytest.approx(
        1 - (0.25**2 + 0.125**2 + 0.375**2) / (0.25**2 + 0.375**2 + 0.625**2)
    )


def test_ppo_gives_a_stream_to_turn_level_gae_and_weighs_the_outcomes_by_shares() -> None:
    turns = pair(
        values_BK=torch.tensor([[0.5, 0.75], [0.25, 9.0]]),
        scores_BK=torch.tensor([[0.4 * math.log(3), 0.0], [0.0, 0.0]]),
    )

    stream = credited(turns, "norm_itpo_plain", advantage="ppo", gae_lambda=1.0)
    shares = credited(turns, "norm_itpo_share", advantage="ppo", gae_lambda=1.0, share=1.0)

    # To go 1 and 0.25 of the stream, 1 and 1 of the outcome, less 0.5 and 0.75; weights 1.5 and 0.5.
    assert three(stream) == pytest.approx(z([0.5, -0.5, -0.25]))
    first, second, third = z([0.5, 0.25, -0.25])
    assert three(shares) == pytest.approx([1.5 * first, 0.5 * second, third])


def test_ppo_over_tokens_skips_the_user() -> None:
    turns = replace(
        pair(),
        turn_index_BT=torch.tensor([[-1, 0, -1, 1], [-1, 0, -1, -1]]),
        token_values_BT=torch.tensor([[9.0, 0.5, 9.0, 0.75], [9.0, 0.25, 9.0, 9.0]], dtype=torch.float64),
    )

    found = credited(turns, "outcome", advantage="ppo", gae_lambda=0.5, gae_level="token")

    expected = z([0.375, 0.25, -0.25])
    assert three(found) == pytest.approx(expected)
    assert found.token_advantages_BT is not None
    assert found.token_advantages_BT[0].tolist() == pytest.approx([0, expected[0], 0, expected[1]])


def prime_pair() -> TurnBatch:
    """Two conversations of one turn of two tokens; token scores 1, 3 and 0, 2."""
    return replace(
        pair(),
        tokens_BK=torch.tensor([[2, 0], [2, 0]]),
        happened_BK=torch.tensor([[True, False]] * 2),
        turn_index_BT=torch.tensor([[-1, 0, 0]] * 2),
        token_scores_BT=torch.tensor([[math.nan, 1.0, 3.0], [50.0, 0.0, 2.0]], dtype=torch.float64),
    )


def test_prime_credits_what_is_still_to_come_at_every_token() -> None:
    found = credited(prime_pair(), "prime_token")

    # To go 4, 3 and 2, 2; the sibling's turn is worth 2, and 4.
    expected = z([2, 1, -2, -2])
    assert found.rewards_BK.tolist() == [[4, 0], [2, 0]]
    assert found.token_advantages_BT is not None
    assert found.token_advantages_BT[:, 1:].flatten().tolist() == pytest.approx(expected)
    assert found.token_advantages_BT[:, 0].tolist() == [0, 0]
    assert found.advantages_BK[:, 0].tolist() == pytest.approx([sum(expected[:2]) / 2, sum(expected[2:]) / 2])


def test_prime_as_released_takes_the_mean_token_off_every_token() -> None:
    found = credited(prime_pair(), "prime_token", profile="itpo_reference")

    # Token means 2 and 1: twice the score less 3 is -1, 3 and -3, 1; to go 2, 3 and -2, 1. Sample variance.
    expected = whiten(torch.tensor([2.0, 3, -2, 1]), torch.ones(4), ddof=1).tolist()
    assert found.token_advantages_BT is not None
    assert found.token_advantages_BT[:, 1:].flatten().tolist() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(("to_go", "rewards"), [("reward_to_go", [3.0, 2.0]), ("immediate", [1.0, 2.0])])
def test_credit_to_go_or_at_once_is_a_choice_of_its_own(to_go: str, rewards: list[float]) -> None:
    turns = replace(
        pair(scores_BK=torch.tensor([[1.0, 2.0], [0.0, 0.0]])),
        tokens_BK=torch.tensor([[1, 1], [1, 1]]),
        happened_BK=torch.ones(2, 2, dtype=torch.bool),
    )

    found = credited(turns, "itpo", to_go=to_go)

    assert found.advantages_BK[0].tolist() == rewards


def test_a_split_put_through_the_estimator_is_compared_turn_by_turn() -> None:
    found = credited(pair(), "uniform", to_go="reward_to_go")

    # Returns 1, 0.5 and 0; nobody else reached the second turn.
    assert three(found) == [1.0, 0.0, -1.0]


@pytest.mark.parametrize(
    ("scale", "divisor"), [("none", 1.0), ("batch_max", 3 + 1e-6), ("running_std", math.sqrt(5 / 3))]
)
def test_the_scale_of_the_implicit_score_is_a_choice_and_recorded(scale: str, divisor: float) -> None:
    found = credited(pair(scores_BK=torch.tensor([[1.0, 2.0], [0.0, 5.0]])), "itpo", score_scale=scale)

    assert found.rewards_BK[0].tolist() == pytest.approx([1 / divisor, 2 / divisor])
    assert found.facts.scalars.largest_return == pytest.approx(divisor)


@pytest.mark.parametrize("scale", ["auto", "none", "batch_max", "running_std"])
@pytest.mark.parametrize("algorithm", ["norm_itpo", "norm_itpo_share", "itpo"])
def test_a_replay_with_the_recorded_scalars_is_exact_whatever_else_is_in_the_batch(
    algorithm: str, scale: str
) -> None:
    turns, alone = random_batch(4), random_batch(4)
    method = CreditMethod(algorithm=algorithm, score_scale=scale, running=RunningScale(0.3, 2))
    first = credit(turns, method)

    replayed = credit(
        replace(alone, scores_BK=torch.where(torch.arange(12)[:, None] < 6, alone.scores_BK, 7.0)),
        replace(method, scalars=first.facts.scalars),
    )

    assert replayed.rewards_BK[:6].abs().sum() > 0
    if algorithm != "norm_itpo_share":
        assert replayed.rewards_BK[:6].equal(first.rewards_BK[:6])


def test_published_norm_itpo_is_scaled_by_the_batch_maximum_unless_told_otherwise() -> None:
    turns = random_batch(2)

    published = credit(turns, CreditMethod(algorithm="norm_itpo"))
    same = credit(turns, CreditMethod(algorithm="norm_itpo", score_scale="batch_max"))
    plain = credit(turns, CreditMethod(algorithm="norm_itpo", score_scale="none"))

    assert published.rewards_BK.equal(same.rewards_BK)
    assert not published.rewards_BK.allclose(plain.rewards_BK)


@pytest.mark.parametrize(
    "algorithm", ["outcome", "uniform", "dirichlet", "itpo", "norm_itpo", "norm_itpo_share", "oracle_pi"]
)
@pytest.mark.parametrize("estimator", ["grpo", "rloo"])
def test_the_classic_seven_are_what_the_sql_computes(algorithm: str, estimator: str) -> None:
    turns = random_batch(11, rows=24)
    found = credit(turns, CreditMethod(algorithm=algorithm, advantage=estimator))
    baseline = ESTIMATORS[estimator]
    whole_B = baseline.whole(turns.reward_B, turns.group_B, valid_B=turns.valid_B, std_floor=1e-4)
    knobs = Knobs(temperature=0.4, share=0.5, std_floor=1e-4, scalars=found.facts.scalars)

    classic_BK = ALGORITHMS[algorithm](replace(turns, advantage_B=whole_B), knobs, estimator=baseline)

    assert found.advantages_BK.equal(classic_BK)


def test_groups_that_teach_nothing_are_counted() -> None:
    turns = replace(pair(), group_B=torch.tensor([0, 1]))

    found = credited(turns, "outcome")

    assert (found.facts.groups.groups, found.facts.groups.too_few_valid) == (2, 2)
    assert found.advantages_BK.abs().sum() == 0


def test_shares_that_are_even_have_entropy_one() -> None:
    assert credited(pair(), "norm_itpo_share").facts.share_entropy == pytest.approx(1.0)
    assert credited(pair(), "outcome").facts.share_entropy is None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"algorithm": "itpo2"}, "algorithm 'itpo2' does not exist: choose one of outcome, uniform"),
        ({"advantage": "a2c"}, "advantage 'a2c' does not exist: choose one of grpo, rloo"),
        ({"std": "all"}, "std 'all' does not exist"),
        ({"to_go": "later"}, "to_go 'later' does not exist"),
        ({"profile": "slime"}, "profile 'slime' does not exist"),
        ({"score_scale": "max"}, "score_scale 'max' does not exist"),
        ({"gae_level": "word"}, "gae_level 'word' does not exist"),
        ({"temperature": 0.0}, r"temperature 0\.0: it must be finite and at least"),
        ({"temperature": math.nan}, "temperature nan: it must be finite"),
        ({"share": 1.5}, r"share 1\.5: it must lie between 0 and 1"),
        ({"gamma": math.nan}, "gamma nan: it must lie between 0 and 1"),
        ({"gae_lambda": -0.1}, r"gae_lambda -0\.1: it must lie"),
        ({"advantage": "ppo", "to_go": "immediate"}, "GAE sums to go by its lambda"),
        ({"gae_level": "token"}, "is none: choose gae_level 'turn'"),
        ({"algorithm": "prime_token", "to_go": "immediate"}, "prime_token is a reward-to-go over tokens"),
        ({"advantage": "ppo"}, "needs values_BK, which the batch does not have: fit a turn critic"),
        ({"algorithm": "prefix_value"}, "needs values_BK"),
        ({"algorithm": "dueling_advantage"}, "needs log_ratios_BK, .* fit a dueling Q"),
        ({"algorithm": "judge"}, "needs judge_BK"),
        ({"algorithm": "oracle_star"}, "needs oracle_star_BK"),
        ({"algorithm": "prime_token"}, "needs token_scores_BT"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(given: dict, message: str) -> None:
    values = pair(values_BK=torch.zeros(2, 2)) if given.get("to_go") == "immediate" else pair()

    with pytest.raises(ValueError, match=message):
        credit(values, CreditMethod(**given))


@pytest.mark.parametrize("junk", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    ("algorithm", "field"),
    [
        ("norm_itpo_share", "scores_BK"),
        ("prefix_value", "values_BK"),
        ("dueling_advantage", "log_ratios_BK"),
        ("oracle_star", "oracle_star_BK"),
    ],
)
def test_a_signal_that_is_no_number_is_refused_with_its_place(
    algorithm: str, field: str, junk: float
) -> None:
    broken_BK = torch.zeros(2, 2, dtype=torch.float64)
    broken_BK[0, 1] = junk

    with pytest.raises(ValueError, match="row 0, turn 1: "):
        credited(pair(**{field: broken_BK}), algorithm)


def test_a_judges_negative_weight_is_refused() -> None:
    with pytest.raises(ValueError, match="negative or infinite"):
        credited(pair(judge_BK=torch.tensor([[1.0, -0.1], [1.0, 0.0]])), "judge")


def test_recorded_scalars_are_used_and_given_back() -> None:
    scalars = BatchScalars(mean_turn_tokens=2.0, largest_return=0.5)

    found = credited(pair(), "norm_itpo", scalars=scalars)

    assert found.facts.scalars == scalars
