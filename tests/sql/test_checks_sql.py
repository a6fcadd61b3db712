"""Every check passes on a good lake and names the offending row when one thing is broken."""

from collections.abc import Callable

import pytest

from tests.sql.duck import SQL, rows_of

Rows = list[dict[str, object]]
Lake = dict[str, Rows]
NAN = float("nan")


def good_lake() -> Lake:
    """Two conversations of two turns each, curated, scored, credited and evaluated as they should be."""
    names = ("a", "b")
    return {
        "conversations": [_conversation(name, outcome=float(name == "a")) for name in names],
        "turns": [_turn(name, index) for name in names for index in (0, 1)],
        "curated": [
            {
                **_key(name),
                "group_id": "g",
                "policy_version": "v1",
                "kept": True,
                "group_size": 2,
                "group_kept": 2,
                "fold": "train",
                "outcome": float(name == "a"),
                "reward": float(name == "a"),
            }
            for name in names
        ],
        "credits": [_credit(name, index) for name in names for index in (0, 1)],
        "classic": [_credit(name, index) for name in names for index in (0, 1)],
        "turn_scores": [
            {**_key(name), "turn_index": index, "score": 0.5, "token_scores": [0.75, -0.25]}
            for name in names
            for index in (0, 1)
        ],
        "turn_inputs": [
            {**_key(name), "turn_index": index, "dirichlet_draw": 1.0} for name in names for index in (0, 1)
        ],
        "evaluation_conversations": [
            _conversation(f"{group}-{arm}", group_id=group, policy_version=arm, scenario_id=group, seed=5)
            for group in ("g0", "g1")
            for arm in ("v1", "v2")
        ],
    }


def _key(conversation_id: str) -> dict[str, object]:
    return {"conversation_id": conversation_id, "iteration": 1}


def _conversation(conversation_id: str, **changes: object) -> dict[str, object]:
    good = {"split": "seen", "status": "valid", "stop_reason": "completed", "outcome": 1.0, "n_turns": 2}
    return {**_key(conversation_id), "policy_version": "v1", **good, **changes}


def _turn(conversation_id: str, index: int) -> dict[str, object]:
    return {
        **_key(conversation_id),
        "turn_index": index,
        "n_turns": 2,
        "policy_version": "v1",
        "response_tokens": 2,
        "response_ids": [3, 4],
        "logprobs": [-0.5, -1.5],
    }


def _credit(conversation_id: str, index: int) -> dict[str, object]:
    won = float(conversation_id == "a")
    sign = 2 * won - 1
    share = (0.4, 0.6)[index]
    return {
        **_key(conversation_id),
        "turn_index": index,
        "response_tokens": 2,
        "credit_outcome": won * index,
        "credit_norm_itpo": won * share,
        "credit_norm_itpo_share": won * share,
        "credit_uniform": won / 2,
        "credit_dirichlet": won * share,
        "advantage": sign * 2 * share,
        "advantage_outcome": sign,
        "advantage_norm_itpo_share": sign * 2 * share,
    }


def change(relation: str, row: int, **values: object) -> Callable[[Lake], None]:
    """Break one row."""
    return lambda lake: lake[relation][row].update(values)


def remove(relation: str, row: int) -> Callable[[Lake], None]:
    """Lose one row."""
    return lambda lake: lake[relation].__delitem__(row)


def repeat(relation: str, row: int) -> Callable[[Lake], None]:
    """Write one row twice."""
    return lambda lake: lake[relation].append(dict(lake[relation][row]))


BROKEN = [
    ("conversations_unique", repeat("conversations", 0), "a"),
    ("turns_have_conversation", remove("conversations", 1), "b"),
    ("turn_index_dense", remove("turns", 0), "a"),
    ("turn_index_dense", remove("turns", 3), "b"),
    ("turn_index_dense", change("turns", 1, turn_index=0), "a"),
    ("turn_index_dense", change("turns", 1, turn_index=2), "a"),
    ("turn_index_dense", change("conversations", 0, n_turns=3), "a"),
    ("turn_index_dense", change("turns", 0, n_turns=3), "a"),
    ("token_lists_equal", change("turns", 2, response_ids=[3]), "b"),
    ("token_lists_equal", change("turns", 2, logprobs=[-0.5]), "b"),
    ("token_lists_equal", change("turns", 2, logprobs=[]), "b"),
    ("token_lists_equal", change("turns", 2, response_tokens=1), "b"),
    ("logprobs_finite", change("turns", 2, logprobs=[-0.5, NAN]), "b"),
    ("logprobs_finite", change("turns", 2, logprobs=[-0.5, float("-inf")]), "b"),
    ("logprobs_finite", change("turns", 2, logprobs=[-0.5, 0.01]), "b"),
    ("logprobs_finite", change("turns", 2, logprobs=[-0.5, None]), "b"),
    ("outcome_or_reason", change("conversations", 0, outcome=None), "a"),
    ("outcome_or_reason", change("conversations", 0, outcome_reason="judge was away"), "a"),
    ("failed_without_outcome", change("conversations", 0, status="failed"), "a"),
    (
        "failed_without_outcome",
        change(
            "conversations",
            0,
            status="failed",
            stop_reason="failed",
            failure_kind="user_error",
            failure_cause="x",
        ),
        "a",
    ),
    ("failed_without_outcome", change("conversations", 0, failure_kind="user_error"), "a"),
    ("failed_without_outcome", change("conversations", 0, status="fine"), "a"),
    ("unseen_never_collected", change("conversations", 1, split="unseen"), "b"),
    ("curated_conserves", remove("curated", 1), "b"),
    ("curated_conserves", remove("conversations", 1), "b"),
    ("curated_conserves", repeat("curated", 1), "b"),
    ("kept_or_reason", change("curated", 0, drop_reason="failed"), "a"),
    ("kept_or_reason", change("curated", 0, kept=False), "a"),
    ("kept_or_reason", change("curated", 0, reward=NAN), "a"),
    ("kept_or_reason", change("curated", 0, reward=None), "a"),
    ("credits_of_kept_turns", remove("credits", 3), "b"),
    ("credits_of_kept_turns", repeat("credits", 3), "b"),
    ("credits_of_kept_turns", change("curated", 1, kept=False), "b"),
    ("share_preserves_mean", change("credits", 1, advantage_norm_itpo_share=1.3), "a"),
    ("share_preserves_mean", change("credits", 1, advantage_norm_itpo_share=NAN), "a"),
    ("norm_itpo_sums_to_reward", change("credits", 1, credit_norm_itpo=0.7), "a"),
    ("norm_itpo_sums_to_reward", change("credits", 3, credit_dirichlet=NAN), "b"),
    ("advantages_finite", change("credits", 0, advantage=NAN), "a"),
    ("advantages_finite", change("credits", 0, advantage_itpo=float("inf")), "a"),
    ("both_credits_agree", change("credits", 1, advantage=1.2 + 2e-9), "a"),
    ("both_credits_agree", change("classic", 2, advantage=None), "b"),
    ("both_credits_agree", remove("classic", 2), "b"),
    ("token_advantages_complete", change("credits", 1, token_advantages=[0.5]), "a"),
    ("token_advantages_complete", change("credits", 2, token_advantages=[0.5, NAN]), "b"),
    ("scores_unique", repeat("turn_scores", 0), "a"),
    ("scores_unique", change("turn_scores", 0, score=NAN), "a"),
    ("token_scores_sum_to_score", change("turn_scores", 2, score=0.501), "b"),
    ("token_scores_sum_to_score", change("turn_scores", 2, token_scores=[0.5, NAN]), "b"),
    ("token_scores_sum_to_score", change("turn_scores", 2, token_scores=[]), "b"),
    ("draws_positive", change("turn_inputs", 0, dirichlet_draw=0.0), "a"),
    ("draws_positive", change("turn_inputs", 0, dirichlet_draw=None), "a"),
    ("draws_positive", repeat("turn_inputs", 0), "a"),
]
OF_A_GROUP = [
    ("groups_within_a_fold", change("curated", 0, fold="heldout"), {"group_id": "g", "members": 2}),
    ("groups_within_a_fold", change("curated", 0, group_kept=1), {"group_id": "g", "kept_members": 2}),
    (
        "kept_one_policy",
        change("curated", 0, policy_version="v0"),
        {"iteration": 1, "policy_versions": "v0, v1"},
    ),
    (
        "evaluation_pairs_complete",
        remove("evaluation_conversations", 3),
        {"group_id": "g1", "conversations": 1},
    ),
    (
        "evaluation_pairs_complete",
        repeat("evaluation_conversations", 3),
        {"group_id": "g1", "conversations": 3},
    ),
    (
        "evaluation_pairs_complete",
        change("evaluation_conversations", 3, seed=6),
        {"group_id": "g1", "seeds": 2},
    ),
]
CHECKS = sorted(path.stem for path in (SQL / "checks").glob("*.sql"))


def offending(check: str, lake: Lake) -> Rows:
    text = (SQL / "checks" / f"{check}.sql").read_text(encoding="utf-8")
    return rows_of(f"checks/{check}.sql", {name: rows for name, rows in lake.items() if name in text})


@pytest.mark.parametrize("check", CHECKS)
def test_a_good_lake_offends_no_check(check: str) -> None:
    assert offending(check, good_lake()) == []


@pytest.mark.parametrize("check", CHECKS)
def test_an_empty_lake_offends_no_check(check: str) -> None:
    assert offending(check, {name: [] for name in good_lake()}) == []


@pytest.mark.parametrize(("check", "break_it", "culprit"), BROKEN)
def test_a_check_names_the_conversation_that_is_broken(
    check: str, break_it: Callable[[Lake], None], culprit: str
) -> None:
    lake = good_lake()
    break_it(lake)

    assert {row["conversation_id"] for row in offending(check, lake)} == {culprit}


@pytest.mark.parametrize(("check", "break_it", "facts"), OF_A_GROUP)
def test_a_check_names_the_group_that_is_broken(
    check: str, break_it: Callable[[Lake], None], facts: dict[str, object]
) -> None:
    lake = good_lake()
    break_it(lake)

    found = offending(check, lake)

    assert len(found) == 1
    assert facts.items() <= found[0].items()


def test_every_check_has_been_seen_red() -> None:
    assert {check for check, *_ in [*BROKEN, *OF_A_GROUP]} == set(CHECKS)


def test_a_failed_conversation_with_its_cause_is_in_order() -> None:
    lake = good_lake()
    cause = {
        "failure_kind": "user_error",
        "failure_cause": "gone",
        "outcome": None,
        "outcome_reason": "failed",
    }
    lake["conversations"][0].update(status="failed", stop_reason="failed", **cause)

    assert offending("failed_without_outcome", lake) == []
    assert offending("outcome_or_reason", lake) == []


def test_kept_logs_may_have_many_speakers() -> None:
    lake = good_lake()
    for row, speaker in zip(lake["curated"], ("logs:shop", "logs:bank"), strict=True):
        row.update(policy_version=speaker)

    assert offending("kept_one_policy", lake) == []


def test_logs_may_lack_logprobs_altogether() -> None:
    lake = good_lake()
    lake["turns"][0].update(policy_version="logs:shop", logprobs=[])

    assert offending("token_lists_equal", lake) == []
