"""Explored turns in the lake: recorded at their own temperature, heard and not trained on."""

from dataclasses import replace
from pathlib import Path

import pytest

from itpo_core.types import Conversation
from storage import commits
from tasks import curate
from tasks.context import Context
from tasks.train_policy import training_batch
from tasks.training import spoken_turns
from tests.builders import commit_credit, commit_rollouts, credit_of, make_context, make_conversation

SECOND = credit_of("norm_itpo_share", "advantage", 1)


def explored(name: str, *temperatures: float | None) -> Conversation:
    plain = make_conversation(name)
    turns = zip(plain.turns, temperatures, strict=True)
    return replace(plain, turns=tuple(replace(turn, temperature=each) for turn, each in turns))


@pytest.fixture
def lake(tmp_path: Path) -> Context:
    """One conversation without exploration, one that explored first, one that explored last."""
    context = make_context(tmp_path, iteration=1)
    spoken = [explored("a", None, None), explored("b", 1.7, 1.0), explored("c", 1.0, 1.7)]
    commit_rollouts(context, spoken, speaker="shop/v0000")
    curate.run(context)
    return context


def test_rows_hold_the_temperature_that_each_turn_was_sampled_at(lake: Context) -> None:
    rows = commits.read_table(lake.store, lake.read("rollouts"), table="turns").to_pylist()

    found = {(row["conversation_id"], row["turn_index"]): row["temperature"] for row in rows}
    assert found == {("a", 0): 1, ("a", 1): 1, ("b", 0): 1.7, ("b", 1): 1, ("c", 0): 1, ("c", 1): 1.7}


def test_turns_after_the_last_explored_one_train_and_the_others_are_only_heard(lake: Context) -> None:
    batch = training_batch(lake, spoken_turns(lake, commit_credit(lake)))

    plain, after = batch.is_policy_BT.tolist()
    assert plain == [False, False, True, True, False, False, True, True]
    assert after == [False] * 6 + [True] * 2
    assert batch.tokens_BT[0].tolist() == batch.tokens_BT[1].tolist()
    assert batch.advantages_BT[1].tolist() == pytest.approx([0] * 6 + [SECOND] * 2)
