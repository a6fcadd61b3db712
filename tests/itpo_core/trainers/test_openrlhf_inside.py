"""Our classes inside OpenRLHF's real code: `openrlhf_child.py` runs them in a process of its own."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.itpo_core.trainers.openrlhf_source import PACKAGE, REMEDY

CHILD = Path(__file__).with_name("openrlhf_child.py")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def figures() -> dict[str, Any]:
    assert PACKAGE.is_dir(), REMEDY
    done = subprocess.run(
        [sys.executable, CHILD],
        env={**os.environ, "RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("estimator", ["gae", "reinforce"])
def test_a_reward_on_the_last_turn_is_credited_as_openrlhf_does(
    figures: dict[str, Any], estimator: str
) -> None:
    found = figures[estimator]

    assert found["spread"] > 1
    assert found["advantages"] <= 1e-6
    assert found["returns"] <= 1e-6


def test_a_reward_of_an_earlier_turn_reaches_its_tokens_and_no_later_ones(figures: dict[str, Any]) -> None:
    # Turn 0 ends with token 3, which place 2 predicts; gamma is 0.9 by place.
    assert figures["earlier_turn"] == pytest.approx([0.81, 0.9, 1, 0, 0, 0, 0], abs=1e-6)


def test_conversations_held_inside_are_credited_as_those_of_the_lake(figures: dict[str, Any]) -> None:
    won, lost, alone, broken = figures["online"]

    # RLOO of 1 against 0 on both turns' places, also where the second row ends earlier.
    assert won == [0, 1, 1, 0, 0, 1, 1]
    assert lost == [0, -1, -1, 0, 0, -1, 0]
    # Its only sibling broke: compared with nothing.
    assert alone == broken == [0] * 7


def test_a_committed_batch_comes_out_of_openrlhfs_sampler_as_it_went_in(figures: dict[str, Any]) -> None:
    found = figures["replayed"]

    assert (found["consumed"], found["exhausted"]) == (3, True)
    assert found["tokens"][0] == [[0, 1, 2, 3, 4, 5, 0, 0], [8, 9, 10, 11, 12, 13, 14, 15]]
    assert found["masks"][0] == [[0, 0, 1, 1, 0, 0, 0], [0, 0, 1, 1, 0, 1, 1]]
    assert found["advantages"][0] == [[0, 0, -7, -6, 0, 0, 0], [0, 0, 1, 2, 0, 4, 5]]
    assert found["logprobs"][1][0] == pytest.approx([0, 0, -1.9, -2.0])
    assert found["rewards"] == [[0.0, 1.0], [0.5]]


def test_openrlhfs_loss_follows_the_committed_advantages(figures: dict[str, Any]) -> None:
    assert figures["replayed"]["cosine"] >= 0.999


def test_what_has_no_meaning_for_given_credit_is_refused(figures: dict[str, Any]) -> None:
    assert "KL in the loss only" in figures["kl_in_reward"]
    assert "'rloo' compares conversations" in figures["groups"]


def test_the_agent_holds_a_whole_conversation_of_ours(figures: dict[str, Any]) -> None:
    found = figures["conversation"]

    assert found["turns"] == [found["said"]] * found["max_turns"]
    assert all(found["asked"])
    assert found["same_label"]


def test_the_agent_marks_each_turn_and_rewards_it(figures: dict[str, Any]) -> None:
    found = figures["conversation"]
    policy = [place for start, end in found["ranges"] for place in range(start, end)]

    assert [place for place, value in enumerate(found["logprobs"]) if value] == policy
    assert found["label"]["ends"] == [end for _, end in found["ranges"]]
    assert sum(found["label"]["rewards"]) == found["reward"]


def test_the_agent_limits_each_turn_and_what_may_be_said(figures: dict[str, Any]) -> None:
    found = figures["conversation"]

    assert set(found["most"]) == {9}
    assert found["bias"] == found["suppressed"]
    assert found["untouched"]


def test_an_opening_that_does_not_fit_is_refused_and_not_cut(figures: dict[str, Any]) -> None:
    assert "17 tokens" in figures["conversation"]["too_long"]


@pytest.mark.parametrize("estimator", ["gae", "reinforce"])
def test_a_broken_sample_changes_no_advantage_of_the_others(figures: dict[str, Any], estimator: str) -> None:
    found = figures["with_broken"][estimator]

    assert found["finite"]
    assert found["gap"] <= 1e-6


def test_a_group_with_a_broken_sample_is_compared_without_it(figures: dict[str, Any]) -> None:
    found = figures["with_broken"]["rloo"]

    # Rewards 1 and 2 are compared with each other; 3 has lost its only sibling.
    assert found["ends"] == pytest.approx([-1, 1, 0])
    assert (found["finite"], found["estimator"]) == (True, "rloo")


def test_a_broken_sample_has_no_part_in_what_is_reported(figures: dict[str, Any]) -> None:
    found = figures["with_broken"]["rloo"]

    assert found["reward"] == pytest.approx([1, 2, 3, 2])
    assert found["broken"] == [0, 0, 0, 1]


def test_a_broken_conversation_has_no_turn_rewards_and_leaves_those_of_others(
    figures: dict[str, Any],
) -> None:
    found = figures["turns_with_broken"]

    assert found["first"] == pytest.approx(figures["earlier_turn"])
    assert found["broken"] == [0] * 7
    assert found["reward"] == pytest.approx([1, 1, 4, 2])


def test_a_round_bears_a_fifth_of_broken_samples_and_no_more(figures: dict[str, Any]) -> None:
    none, one, two = figures["counted"]

    assert (none, one) == ("", "")
    assert "2 times the judge broke" in two


def test_the_policy_that_is_trained_gives_no_chance_to_what_is_never_spoken(figures: dict[str, Any]) -> None:
    found = figures["spoken_mass"]

    assert found["before"] > 0.1
    assert found["after"] == 0


def test_the_engine_is_asked_for_the_distribution_that_is_trained(figures: dict[str, Any]) -> None:
    found = figures["conversation"]

    assert found["biases"] == ["-inf"]
    assert found["least"] == 0


def test_a_history_is_answered_on_its_own_ids_and_valued(figures: dict[str, Any]) -> None:
    found = figures["replies"]["whole"]

    assert found["asked"] == [1, 3, 6, 2, 4]
    assert found["observation_tokens"] == [1, 3, 6, 2, 4, 6, 7, 2]
    assert (found["action_ranges"], found["reward"], found["truncated"]) == ([[5, 8]], 3, False)
    assert found["rollout_log_probs"] == [0, 0, 0, 0, 0, -1, -1, -1]
    assert figures["replies"]["cut"]["truncated"]


@pytest.mark.parametrize(
    ("case", "cause"),
    [
        ("never", "token 0 at place 1 of a turn, log-probability -1"),
        ("no_number", "token 6 at place 0 of a turn, log-probability nan"),
        ("service_down", "did not answer within"),
    ],
)
def test_a_reply_that_breaks_has_a_cause_and_neither_tokens_nor_reward(
    figures: dict[str, Any], case: str, cause: str
) -> None:
    found = figures["replies"][case]

    assert cause in json.loads(found["label"])["broken"]
    assert found["action_ranges"] == []
    assert math.isnan(found["reward"])
    assert set(found["extra_logs"]) == set(figures["replies"]["whole"]["extra_logs"])


def test_a_history_that_leaves_no_room_ends_the_training_and_is_not_cut(figures: dict[str, Any]) -> None:
    assert "5 tokens leave no room for 4 of 8" in figures["replies"]["too_long"]


def test_a_reply_without_a_service_to_value_it_is_refused_and_not_worth_nothing(
    figures: dict[str, Any],
) -> None:
    assert "ITPO_REWARD_URL names none" in figures["replies"]["no_service"]
