"""What a trainer is given of a small lake: tokens, credit, groups, and the forms of the chosen profile."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from itpo_core.policy_step import start_logprobs
from itpo_core.profiles import PROFILES
from itpo_core.tiny_policy import create_policy, load_policy, save_policy
from storage import commits, weights
from storage.rows import to_table
from tasks import train_policy
from tasks.context import Context
from tasks.training import spoken_turns
from tests.builders import (
    commit,
    commit_credit,
    commit_rollouts,
    credit_of,
    curate,
    make_context,
    make_conversation,
)

TRAINED = "norm_itpo_share"
NUMBERS: dict[str, Any] = {  # Any: JSON values
    "train__clip_low": 0.3,
    "train__clip_high": 0.7,
    "train__dual_clip": 4.0,
    "train__kl_weight": 0.02,
    "train__entropy_weight": 0.001,
}


@pytest.fixture
def lake(tmp_path: Path) -> Context:
    """Two scenarios with two conversations each; every second one fails."""
    context = make_context(tmp_path, iteration=1)
    commit_rollouts(
        context,
        [make_conversation(f"c{n}", group=f"g{n // 2}", outcome=float(n % 2 == 0)) for n in range(4)],
        speaker="shop/v0000",
    )
    curate.run(context)
    return context


# Under grpo or rloo every profile can be had: itpo_reference knows rloo alone.
RLOO: dict[str, Any] = {"credit__advantage": "rloo"}  # Any: JSON values


def settings_of(tmp_path: Path, *, iteration: int = 1, **overrides: Any) -> Any:  # Any: JSON values; settings
    return train_policy.policy_settings(make_context(tmp_path, iteration=iteration, **overrides))


def test_a_turn_without_credit_of_its_tokens_gives_all_of_them_its_advantage(lake: Context) -> None:
    credit = commit_credit(lake)

    batch = train_policy.training_batch(lake, spoken_turns(lake, credit))

    first, second = (credit_of(TRAINED, "advantage", turn) for turn in range(2))
    assert batch.advantages_BT[0].tolist() == pytest.approx([0, 0, first, first, 0, 0, second, second])
    assert batch.turn_BT is not None
    assert batch.turn_BT[0].tolist() == [-1, -1, 0, 0, -1, -1, 1, 1]


def test_conversations_of_one_scenario_share_a_number_and_keep_their_outcome(lake: Context) -> None:
    batch = train_policy.training_batch(lake, spoken_turns(lake, commit_credit(lake)))

    assert batch.group_B is not None
    assert batch.reward_B is not None
    assert batch.group_B.tolist() == [0, 0, 1, 1]
    assert batch.reward_B.tolist() == [1, 0, 1, 0]


def credit_with_tokens(lake: Context, values: list[float]) -> commits.Commit:
    """Credit whose first turn of the first conversation has these values token by token."""
    rows = commits.read_table(lake.store, commit_credit(lake), table="credits").to_pylist()
    rows[0]["token_advantages"] = values
    other = replace(lake, iteration=2)
    return commit(other, "credit", {"credits": to_table("credits", rows)})


def test_credit_token_by_token_is_taken_as_it_is(lake: Context) -> None:
    credit = credit_with_tokens(lake, [0.5, -0.25])

    batch = train_policy.training_batch(lake, spoken_turns(lake, credit))

    assert batch.advantages_BT[0, 2:4].tolist() == [0.5, -0.25]
    assert batch.advantages_BT[0, 6] == batch.advantages_BT[0, 7] != 0


def test_credit_of_another_number_of_tokens_is_refused_by_name(lake: Context) -> None:
    credit = credit_with_tokens(lake, [0.5])

    with pytest.raises(ValueError, match="conversation c0: 3 values for 4 policy tokens"):
        train_policy.training_batch(lake, spoken_turns(lake, credit))


def test_the_safe_profile_is_the_configuration_as_it_stands(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, **NUMBERS)

    assert (settings.clip_low, settings.clip_high, settings.dual_clip) == (0.3, 0.7, 4.0)
    assert (settings.kl_weight, settings.entropy_weight) == (0.02, 0.001)
    assert (settings.aggregation, settings.kl_estimator, settings.kl_reference) == (
        "token_mean",
        "k3",
        "start",
    )


@pytest.mark.parametrize("profile", PROFILES)
def test_a_profile_changes_forms_and_never_the_numbers_of_the_configuration(
    tmp_path: Path, profile: str
) -> None:
    settings = settings_of(tmp_path, **NUMBERS, **RLOO, credit__profile=profile)

    own = PROFILES[profile]
    assert (settings.clip_low, settings.clip_high) == (0.3, 0.7)
    assert settings.dual_clip == (None if own.dual_clip is None else 4.0)
    assert settings.kl_weight == (0.0 if own.kl_place == "none" else 0.02)
    assert settings.aggregation == own.aggregation


def test_every_profile_has_a_name_in_the_configuration(tmp_path: Path) -> None:
    loaded = {make_context(tmp_path, **RLOO, credit__profile=name).config.credit.profile for name in PROFILES}

    assert loaded == set(PROFILES)


def test_only_a_profile_whose_penalty_is_to_a_policy_that_stays_reads_one(tmp_path: Path) -> None:
    settings = {name: settings_of(tmp_path, **RLOO, credit__profile=name) for name in PROFILES}

    needing = {name for name, each in settings.items() if train_policy.needs_reference(each)}

    assert needing == {"skyrl", "openrlhf", "nemo_rl", "itpo_reference"}


def test_the_clip_narrows_towards_its_floor_with_the_iteration(tmp_path: Path) -> None:
    first, third = (settings_of(tmp_path, iteration=iteration, **NUMBERS) for iteration in (1, 3))

    assert first.clip_high == 0.7
    assert third.clip_high == pytest.approx(0.2 + 0.5 * 0.75**2)


def test_the_policy_that_stays_is_read_at_the_temperature_of_the_batch(lake: Context, tmp_path: Path) -> None:
    folder = tmp_path / "stays"
    save_policy(*create_policy(["bike", "red"], "xs", seed=3), folder=folder)
    key = lake.key("policy", 0)
    stays = commits.commit(
        lake.store,
        key,
        tables={},
        parents={},
        inputs={},
        artifacts=weights.put_folder(lake.store, key, folder=folder),
        attempt=lake.attempt,
    )
    batch = train_policy.training_batch(lake, spoken_turns(lake, commit_credit(lake)))
    warm = replace(batch, temperature=2.0)

    known, cooler = (train_policy.with_reference(lake, each, reference=stays) for each in (warm, batch))

    model, _ = load_policy(folder)
    assert known.reference_logprobs_BT is not None
    assert cooler.reference_logprobs_BT is not None
    assert torch.equal(known.reference_logprobs_BT, start_logprobs(model, warm))
    assert torch.equal(cooler.reference_logprobs_BT, start_logprobs(model, batch))
    assert not torch.equal(known.reference_logprobs_BT, cooler.reference_logprobs_BT)


def test_only_turns_after_the_last_exploration_train(tmp_path: Path) -> None:
    context = make_context(tmp_path, iteration=1)
    spoken = [make_conversation(f"c{n}", outcome=float(n)) for n in range(2)]
    explored = [replace(spoken[0], turns=(replace(spoken[0].turns[0], temperature=2.0), spoken[0].turns[1]))]
    commit_rollouts(context, [*explored, spoken[1]], speaker="shop/v0000")
    curate.run(context)

    found = spoken_turns(context, commit_credit(context))

    assert [len(turns) for turns in found.turns] == [1, 2]
    assert found.streams.turn_BT.tolist() == [[-1] * 6 + [0, 0], [-1, -1, 0, 0, -1, -1, 1, 1]]
