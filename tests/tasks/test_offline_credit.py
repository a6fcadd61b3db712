"""Version 0 may go on learning from the logged turns that were worth something."""

from pathlib import Path

import pytest
import torch

from itpo_core.reward_fit import LabelledStreams
from itpo_core.streams import TurnTokens, streams
from tasks.config import ConfigError
from tasks.context import Context
from tasks.offline_credit import inputs, turn_weights_of
from tests.itpo_core.tiny_models import tiny_model
from tests.loop.tiny import tiny_config


def logs(outcomes: list[float]) -> LabelledStreams:
    talk = [TurnTokens([1], [7, 2]), TurnTokens([1], [8, 2])]
    return LabelledStreams(
        streams=streams({str(row): talk for row in range(len(outcomes))}),
        outcomes_B=outcomes,
        is_training_B=[True] * len(outcomes),
        clusters_B=[str(row) for row in range(len(outcomes))],
    )


def context(lake: Path, credit: str) -> Context:
    return Context(tiny_config(lake, warm_start__offline_credit=credit), 0)


def test_filtered_tuning_leaves_failures_out(tmp_path: Path) -> None:
    weights_BK = turn_weights_of(context(tmp_path, "filtered"), tiny_model(), logs=logs([1.0, 0.0]))

    assert weights_BK.tolist() == [[2.0, 2.0], [0.0, 0.0]]


def test_continued_tuning_takes_all_turns_alike(tmp_path: Path) -> None:
    weights_BK = turn_weights_of(context(tmp_path, "continued"), tiny_model(), logs=logs([1.0, 0.0]))

    assert weights_BK.tolist() == [[1.0, 1.0], [1.0, 1.0]]


def test_turn_weights_tell_the_turns_of_a_success_apart(tmp_path: Path) -> None:
    weights_BK = turn_weights_of(context(tmp_path, "turn_weighted"), tiny_model(), logs=logs([1.0, 0.0, 1.0]))

    assert float(weights_BK.mean()) == pytest.approx(1.0)
    assert float(weights_BK[1].sum()) == 0
    assert float(weights_BK[0, 0]) != float(weights_BK[0, 1])


def test_logs_without_a_success_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no logged conversation that may train succeeded"):
        turn_weights_of(context(tmp_path, "filtered"), tiny_model(), logs=logs([0.0, 0.0]))


def test_an_unknown_outcome_is_no_success(tmp_path: Path) -> None:
    weights_BK = turn_weights_of(context(tmp_path, "filtered"), tiny_model(), logs=logs([1.0, float("nan")]))

    assert bool(torch.isfinite(weights_BK).all())
    assert float(weights_BK[1].sum()) == 0


def test_the_reward_section_decides_version_0_only_when_it_weighs_turns(tmp_path: Path) -> None:
    assert inputs(context(tmp_path, "filtered")) == {}
    assert set(inputs(context(tmp_path, "turn_weighted"))) == {"reward"}
