"""The charge for excessive length in the stage: only where it is asked for, and told to the commit."""

from pathlib import Path
from typing import Any

import pytest

from storage import commits
from tasks import curate
from tasks.config import ConfigError
from tests.builders import commit_rollouts, make_context, make_conversation

SPEAKER = "shop/v0000"
TOKENS_COST = 4 * 0.002  # two turns of two tokens


def curated_with(folder: Path, **settings: Any) -> tuple[commits.Commit, list[dict[str, Any]]]:  # Any: JSON
    """The commit and the rows of two conversations of four policy tokens each, a success and a failure."""
    context = make_context(folder, iteration=1, **settings)
    spoken = [make_conversation("c0"), make_conversation("c1", outcome=0.0)]
    commit_rollouts(context, spoken, speaker=SPEAKER)
    curate.run(context)
    made = context.read("curated")
    return made, commits.read_table(context.store, made, table="curated").to_pylist()


def test_without_a_limit_nothing_is_charged_and_the_commit_reads_as_before(tmp_path: Path) -> None:
    made, rows = curated_with(tmp_path)

    assert [row["reward"] for row in rows] == pytest.approx([1 - TOKENS_COST, -TOKENS_COST])
    assert "overlong.sql" not in made.inputs
    assert "overlong" not in made.inputs["curate"]


def test_long_conversations_lose_reward_and_keep_their_outcome(tmp_path: Path) -> None:
    made, rows = curated_with(tmp_path, curate__overlong_limit=5, curate__overlong_buffer=2)

    assert [row["reward"] for row in rows] == pytest.approx([0.5 - TOKENS_COST, -0.5 - TOKENS_COST])
    assert [row["outcome"] for row in rows] == [1.0, 0.0]
    assert "overlong.sql" in made.inputs
    assert '"overlong_limit":5' in made.inputs["curate"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"curate__overlong_limit": 100}, "overlong_limit 100 and curate.overlong_buffer None belong togeth"),
        ({"curate__overlong_buffer": 20}, "set both or neither"),
        ({"curate__overlong_limit": 10, "curate__overlong_buffer": 20}, "make it at most as long"),
        ({"curate__overlong_limit": 0, "curate__overlong_buffer": 1}, r"curate\.overlong_limit = 0"),
    ],
)
def test_limits_that_say_nothing_are_refused(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_context(tmp_path, **settings)
