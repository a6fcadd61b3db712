"""A decision that was recorded by a run that was killed then: whoever resumes it closes what stayed open."""

from pathlib import Path

import pytest

from storage import commits, registry
from storage.errors import ClosedIteration
from tasks import decide
from tasks.context import Context
from tests.loop.tiny import tiny_config


def decided(lake: Path) -> Context:
    """Iteration 1 of an experiment, decided and not closed."""
    context = Context(tiny_config(lake), 1)
    version = registry.PolicyVersion("tiny/v0001", "tiny", 1, None, "digest", "tiny/policy/0001")
    registry.register_candidate(context.store, version)
    registry.record_decision(
        context.store,
        "tiny",
        event_id="decide/0001",
        action="hold",
        version="tiny/v0001",
        reason="no gain",
        evidence={},
    )
    return context


@pytest.mark.parametrize("kind", decide.DECIDED_KINDS)
def test_a_resumed_decision_closes_what_the_killed_one_left_open(tmp_path: Path, kind: str) -> None:
    context = decided(tmp_path)

    result = decide.run(context)

    assert (result.resumed, result.figures["action"]) == (True, "hold")
    with pytest.raises(ClosedIteration, match="decide/0001"):
        commits.check_open(context.store, context.key(kind))
