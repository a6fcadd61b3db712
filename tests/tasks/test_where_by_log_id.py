"""`itpo where` by the id that a conversation had in its log."""

import json
from pathlib import Path

import pytest

from storage.errors import MissingConversation
from tasks import import_logs, where
from tasks.config import Config, Lake, Logs
from tasks.context import Context
from tasks.receipts import Desk
from tests.log_shapes import Json


def said(text: str) -> list[Json]:
    """A conversation as ShareGPT has it, whose ids are of one file."""
    return [{"from": "human", "value": text}, {"from": "gpt", "value": "ok"}]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """Two logs, each with ids of its own: 7 stands in both, order-1234 in one."""
    paths = []
    for name, ids in {"a": ["7", "order-1234"], "b": ["7"]}.items():
        rows = [{"id": each, "conversations": said(f"{name}{each}")} for each in ids]
        path = tmp_path / f"{name}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        paths.append(str(path))
    lake = Lake(root=str(tmp_path / "lake"))
    context = Context(
        Config(experiment="talks", lake=lake, logs=Logs(paths=tuple(paths), format="sharegpt")), 0
    )
    import_logs.run(context)
    return Desk(context.store, "talks")


def test_the_id_of_the_log_finds_the_conversation(desk: Desk) -> None:
    found = where.find_conversation(desk, "order-1234")

    (held,) = where.trail_of(desk, found)["held"]
    assert (held["source_file"], held["source_row"]) == ("a.jsonl", 2)
    assert where.find_conversation(desk, found) == found


def test_an_id_of_two_logs_lists_both_conversations(desk: Desk) -> None:
    with pytest.raises(MissingConversation, match=r"'7' may be any of 2: \w+, \w+; give"):
        where.find_conversation(desk, "7")


def test_a_part_of_an_id_of_the_log_is_none(desk: Desk) -> None:
    with pytest.raises(MissingConversation, match="its logs gave none this id"):
        where.find_conversation(desk, "order-12")
