"""The user of a logged conversation reaches the lake, and its column is an input only where it was chosen."""

import json
from pathlib import Path

from storage import commits
from tasks import import_logs
from tasks.import_logs import import_inputs
from tests.builders import make_context
from tests.log_shapes import assistant, openai_row, user


def write_log(folder: Path) -> str:
    """Three conversations, of which one names no user."""
    rows = [
        openai_row(user("a"), assistant("x"), outcome=1, user="u-7", customer="c-1"),
        openai_row(user("b"), assistant("x"), outcome=0, metadata={"user_id": 8}, customer="c-2"),
        openai_row(user("c"), assistant("x"), outcome=1),
    ]
    path = folder / "log.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def users_of(folder: Path, **overrides: object) -> set[str | None]:
    context = make_context(folder, logs__paths=[write_log(folder)], **overrides)
    import_logs.run(context)
    rows = commits.read_table(context.store, context.read("rollouts"), table="conversations")
    return set(rows.column("user_id").to_pylist())


def test_users_stand_beside_their_conversations(tmp_path: Path) -> None:
    assert users_of(tmp_path) == {"u-7", "8", None}


def test_another_column_can_be_named(tmp_path: Path) -> None:
    assert users_of(tmp_path, logs__user_column="customer") == {"c-1", "c-2", None}


def test_simulated_users_have_no_id(tmp_path: Path) -> None:
    context = make_context(tmp_path, logs__scripted_conversations=8, logs__scripted_requests=1)

    import_logs.run(context)

    rows = commits.read_table(context.store, context.read("rollouts"), table="conversations")
    assert set(rows.column("user_id").to_pylist()) == {None}


def test_only_a_column_that_was_chosen_is_an_input_so_that_older_imports_are_gone_on_with(
    tmp_path: Path,
) -> None:
    path = write_log(tmp_path)
    usual = make_context(tmp_path, logs__paths=[path])
    chosen = make_context(tmp_path, logs__paths=[path], logs__user_column="customer")

    assert "user_column" not in import_inputs(usual.config, [Path(path)])
    assert import_inputs(chosen.config, [Path(path)])["user_column"] == "customer"
    assert "user_column" not in str(import_inputs(usual.config, []))
