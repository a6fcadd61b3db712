"""What was held inside OpenRLHF is on record, whoever was killed meanwhile."""

import json
from pathlib import Path

from itpo_core.trainers.openrlhf_openings import record, recorded
from tests.builders import make_conversation


def test_each_held_conversation_is_a_line_with_what_was_said_and_what_came_of_it(tmp_path: Path) -> None:
    record(make_conversation("b", outcome=1.0), [0.25, 0.5], folder=tmp_path)
    record(make_conversation("a", outcome=None), [0.0, 0.0], folder=tmp_path)

    unjudged, judged = (json.loads(line) for line in sorted(recorded(tmp_path), key=lambda one: "1.0" in one))

    assert (judged["outcome"], judged["values"], judged["seed"]) == (1.0, [0.25, 0.5], 7)
    assert judged["messages"][0] == {"role": "user", "text": "hi i need a bike ."}
    assert unjudged["outcome"] is None


def test_a_line_that_was_cut_off_is_left_out(tmp_path: Path) -> None:
    record(make_conversation("a"), [0.5], folder=tmp_path)
    (tmp_path / "other-1.jsonl").write_text('{"scenario": "s1", "me')

    assert len(recorded(tmp_path)) == 1
