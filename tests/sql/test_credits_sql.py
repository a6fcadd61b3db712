"""Credit by hand: two conversations of one group, small enough to compute on paper."""

import math

import pyarrow as pa
import pytest

from tests.sql.duck import Parameter, Row, credits, run, table

TAU, SHARE = 0.5, 0.5
WON, LOST = "won", "lost"


def lake(
    turns: list[tuple[str, int, int, float | None, float | None]],
    *,
    rewards: dict[str, tuple[float, float]],
    groups: dict[str, str] | None = None,
    draws: list[float] | None = None,
) -> dict[str, pa.Table]:
    """Turns (conversation, index, tokens, score, oracle), and outcome and reward of each conversation."""
    keys = [{"conversation_id": name, "turn_index": index} for name, index, *_ in turns]
    curated = [
        {
            "conversation_id": name,
            "group_id": (groups or {}).get(name, "g"),
            "policy_version": "v1",
            "kept": True,
            "outcome": outcome,
            "reward": reward,
        }
        for name, (outcome, reward) in rewards.items()
    ]
    tokens = [{"response_tokens": count} for _, _, count, _, _ in turns]
    scored = [(key, each) for key, each in zip(keys, turns, strict=True) if each[3] is not None]
    return {
        "curated": table("curated", curated),
        "turns": table("turns", [{**key, **count} for key, count in zip(keys, tokens, strict=True)]),
        "turn_scores": table("turn_scores", [{**key, "score": score} for key, (_, _, _, score, _) in scored]),
        "turn_inputs": table(
            "turn_inputs",
            [
                {**key, "dirichlet_draw": draw, "oracle_advantage": each[4]}
                for key, each, draw in zip(keys, turns, draws or [1.0] * len(turns), strict=True)
            ],
        ),
    }


def pair() -> dict[str, pa.Table]:
    """A success of two turns (2 and 4 tokens) and a failure of one (3 tokens); a token costs 0.01."""
    return lake(
        [(WON, 0, 2, math.log(3) * TAU, 0.5), (WON, 1, 4, 0.0, -0.1), (LOST, 0, 3, 0.2, -0.5)],
        rewards={WON: (1.0, 0.94), LOST: (0.0, -0.03)},
        draws=[3.0, 1.0, 2.0],
    )


def credited(relations: dict[str, pa.Table], **changes: Parameter) -> dict[tuple[str, int], Row]:
    made = credits(relations, estimator="rloo", parameters={"temperature": TAU, "share": SHARE, **changes})
    return {(row["conversation_id"], row["turn_index"]): row for row in made.to_pylist()}


def column(rows: dict[tuple[str, int], Row], name: str) -> list[float | None]:
    return [rows[key][name] for key in ((WON, 0), (WON, 1), (LOST, 0))]


def test_the_outcome_is_paid_at_the_last_turn_and_uniform_in_equal_parts() -> None:
    rows = credited(pair())

    assert column(rows, "credit_outcome") == [0.0, 0.94, -0.03]
    assert column(rows, "credit_uniform") == [0.47, 0.47, -0.03]


def test_the_random_split_follows_the_draws() -> None:
    rows = credited(pair())

    assert column(rows, "credit_dirichlet") == pytest.approx([0.94 * 3 / 4, 0.94 / 4, -0.03])
    assert column(rows, "advantage_dirichlet") == pytest.approx([0.97 * 2 * 3 / 4, 0.97 * 2 / 4, -0.97])


def test_rloo_of_a_pair_is_the_difference_to_the_other() -> None:
    rows = credited(pair())

    assert column(rows, "advantage_outcome") == pytest.approx([0.97, 0.97, -0.97])
    assert column(rows, "advantage_uniform") == column(rows, "advantage_outcome")


def test_grpo_of_a_pair_is_half_the_difference_over_the_sample_deviation() -> None:
    made = credits(pair(), estimator="grpo", parameters={"temperature": TAU, "share": SHARE}).to_pylist()

    by_hand = (0.97 / 2) / (0.97 / math.sqrt(2) + 1e-4)
    advantages = {row["conversation_id"]: row["advantage_outcome"] for row in made}
    assert advantages == pytest.approx({WON: by_hand, LOST: -by_hand})


def test_scores_of_log_three_share_a_success_three_to_one() -> None:
    rows = credited(pair())

    # W = (3/4, 1/4), K = 2, a = 1/2: weights 1 + (3/2 - 1)/2 and 1 + (1/2 - 1)/2.
    assert column(rows, "advantage_norm_itpo_share") == pytest.approx([0.97 * 1.25, 0.97 * 0.75, -0.97])
    assert column(rows, "credit_norm_itpo_share") == pytest.approx([0.47 * 1.25, 0.47 * 0.75, -0.03])


def test_in_a_failure_the_low_score_takes_the_larger_share_of_the_blame() -> None:
    failed = lake(
        [(WON, 0, 1, 0.0, None), (LOST, 0, 1, math.log(3) * TAU, None), (LOST, 1, 1, 0.0, None)],
        rewards={WON: (1.0, 1.0), LOST: (0.0, 0.0)},
    )

    rows = credited(failed)

    assert rows[LOST, 0]["advantage_norm_itpo_share"] == pytest.approx(-0.75)
    assert rows[LOST, 1]["advantage_norm_itpo_share"] == pytest.approx(-1.25)


def test_itpo_is_the_score_and_its_advantage_the_return_against_the_siblings_at_the_turn() -> None:
    rows = credited(pair())

    score = math.log(3) * TAU
    assert column(rows, "credit_itpo") == pytest.approx([score, 0.0, 0.2])
    # Turn 0: returns score + 0 against 0.2. Turn 1 was reached by one member only.
    assert column(rows, "advantage_itpo") == pytest.approx([score - 0.2, 0.0, 0.2 - score])


def test_norm_itpo_is_length_normalised_scaled_by_the_batch_and_pays_for_its_tokens() -> None:
    rows = credited(pair())

    score = math.log(3) * TAU
    logit = score / (score + 1e-6) / 2 * 3 / TAU  # Z is the largest return, turns have 3 tokens in the mean
    share = math.exp(logit) / (math.exp(logit) + 1)
    expected = [share - 0.06 * 2 / 6, 1 - share - 0.06 * 4 / 6, -0.03]
    assert column(rows, "credit_norm_itpo") == pytest.approx(expected)


def test_the_oracle_is_whitened_with_token_weights() -> None:
    rows = credited(pair())

    mean = (2 * 0.5 + 4 * -0.1 + 3 * -0.5) / 9
    variance = (2 * (0.5 - mean) ** 2 + 4 * (-0.1 - mean) ** 2 + 3 * (-0.5 - mean) ** 2) / 9
    expected = [(value - mean) / (math.sqrt(variance) + 1e-6) for value in (0.5, -0.1, -0.5)]
    assert column(rows, "advantage_oracle_pi") == pytest.approx(expected)
    assert column(rows, "credit_oracle_pi") == [0.5, -0.1, -0.5]


@pytest.mark.parametrize(
    "algorithm", ["outcome", "itpo", "norm_itpo", "norm_itpo_share", "uniform", "dirichlet", "oracle_pi"]
)
def test_the_advantage_that_trains_is_the_one_of_the_algorithm(algorithm: str) -> None:
    rows = credited(pair(), algorithm=algorithm)

    assert column(rows, "advantage") == column(rows, f"advantage_{algorithm}")
    assert column(rows, "algorithm") == [algorithm] * 3


SCORED = ("itpo", "norm_itpo", "norm_itpo_share")


def test_a_closed_gate_makes_everything_from_scores_null_and_nothing_else() -> None:
    rows = credited(pair(), use_scores=False, algorithm="outcome")

    for row in rows.values():
        nulls = {name for name, value in row.items() if value is None and name != "turn_kind"}
        assert nulls == {"score"} | {
            f"{kind}_{method}" for kind in ("credit", "advantage") for method in SCORED
        }
        assert row["advantage"] == row["advantage_outcome"]


def test_without_any_scores_the_figures_are_those_of_a_closed_gate() -> None:
    unscored = {**pair(), "turn_scores": table("turn_scores", [])}

    assert credited(unscored, algorithm="outcome") == credited(pair(), use_scores=False, algorithm="outcome")


def test_one_missing_score_silences_its_conversation_only() -> None:
    relations = lake(
        [(WON, 0, 1, 0.3, None), (WON, 1, 1, None, None), (LOST, 0, 1, 0.2, None)],
        rewards={WON: (1.0, 1.0), LOST: (0.0, 0.0)},
    )

    rows = credited(relations, algorithm="outcome")

    assert column(rows, "credit_norm_itpo_share") == [None, None, 0.0]
    assert column(rows, "advantage_itpo") == [None, None, 0.0]


def test_an_unknown_oracle_is_null() -> None:
    relations = lake(
        [(WON, 0, 1, 0.3, None), (LOST, 0, 1, 0.2, None)], rewards={WON: (1.0, 1.0), LOST: (0.0, 0.0)}
    )

    rows = credited(relations, algorithm="outcome")

    assert rows[WON, 0]["credit_oracle_pi"] is None
    assert rows[WON, 0]["advantage_oracle_pi"] is None


def test_an_empty_turn_has_no_credit_and_does_not_count() -> None:
    relations = lake(
        [(WON, 0, 2, 0.1, 0.2), (WON, 1, 0, 9.0, 9.0), (LOST, 0, 2, 0.1, 0.0)],
        rewards={WON: (1.0, 1.0), LOST: (0.0, 0.0)},
    )

    rows = credited(relations)

    named = [name for name in rows[WON, 1] if name.startswith(("credit_", "advantage"))]
    assert {rows[WON, 1][name] for name in named} == {0.0}
    assert rows[WON, 0]["credit_outcome"] == 1.0
    assert rows[WON, 0]["credit_norm_itpo_share"] == 1.0


@pytest.mark.parametrize("estimator", ["grpo", "rloo"])
def test_members_that_are_all_alike_teach_exactly_nothing(estimator: str) -> None:
    third = 1 / 3  # three equal rewards whose computed variance is not zero
    names = ["a", "b", "c"]
    relations = lake(
        [(name, 0, 1, 0.1, None) for name in names], rewards=dict.fromkeys(names, (third, third))
    )

    made = credits(relations, estimator=estimator).to_pylist()

    assert {row["advantage_outcome"] for row in made} == {0.0}
    assert {row["advantage_itpo"] for row in made} == {0.0}


@pytest.mark.parametrize("estimator", ["grpo", "rloo"])
def test_a_member_without_siblings_has_advantage_zero(estimator: str) -> None:
    relations = lake(
        [(WON, 0, 1, 0.1, None), (LOST, 0, 1, 0.2, None)],
        rewards={WON: (1.0, 1.0), LOST: (0.0, 0.0)},
        groups={WON: "g", LOST: "h"},
    )

    made = credits(relations, estimator=estimator).to_pylist()

    assert {row["advantage_outcome"] for row in made} == {0.0}


def test_scores_far_apart_neither_overflow_nor_vanish() -> None:
    relations = lake(
        [(WON, 0, 1, 900.0, None), (WON, 1, 1, -900.0, None), (LOST, 0, 1, 0.0, None)],
        rewards={WON: (1.0, 1.0), LOST: (0.0, 0.0)},
    )

    rows = credited(relations)

    assert column(rows, "advantage_norm_itpo_share") == pytest.approx([1.5, 0.5, -1.0])


def test_dropped_conversations_get_no_credit() -> None:
    relations = pair()
    dropped = [{**row, "kept": row["conversation_id"] == WON} for row in relations["curated"].to_pylist()]

    rows = credited({**relations, "curated": table("curated", dropped)})

    assert set(rows) == {(WON, 0), (WON, 1)}


def test_logs_without_token_ids_are_measured_by_what_the_reward_model_scored() -> None:
    relations = lake(
        [(WON, 0, 0, None, None), (LOST, 0, 0, None, None)], rewards={WON: (1.0, 1.0), LOST: (0.0, 0.0)}
    )
    scores = [
        {"conversation_id": name, "turn_index": 0, "score": 0.1, "response_tokens": 5} for name in (WON, LOST)
    ]
    parameters = {"use_scores": True, "temperature": TAU, "share": SHARE}

    made = run("turn_credits.sql", {**relations, "turn_scores": table("turn_scores", scores)}, parameters)

    assert made.column("tokens").to_pylist() == [5, 5]
    assert made.column("happened").to_pylist() == [True, True]
