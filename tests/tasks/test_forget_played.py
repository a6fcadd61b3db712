"""Forgetting somebody forgets the talks too in which a language model played them."""

import json
from pathlib import Path

import pytest

from itpo_core.envs.logged import LoggedTalk, scenario_of
from storage import commits
from storage.commits import Commit
from storage.forget_look import look
from storage.forgetting import forget
from storage.tombstones import Selector
from tasks import import_logs
from tasks.config import Config, Lake, Logs
from tasks.context import Context
from tasks.records import message_record, messages_from_json
from tests.log_shapes import assistant, openai_row, user
from tests.storage.lake_rows import rows_of

ASKED, LATER = "the parcel for Ida Miller never came", "it was sent to Elm Street 4 in March"
OTHER = "the kettle that you sold me does not boil"


@pytest.fixture
def desk(tmp_path: Path) -> Context:
    """A log of two users who ask about one task, and rollouts in which a model played either."""
    talks = [
        openai_row(
            user(said), assistant("where was it sent?"), user(later), assistant("thank you"),
            id=name, user=f"user-{name}", outcome=1, metadata={"scenario_id": "complaint"},
        )
        for name, said, later in (("ida", ASKED, LATER), ("bob", OTHER, "to the shop"))
    ]  # fmt: skip
    path = tmp_path / "desk.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in talks))
    config = Config(experiment="desk", lake=Lake(root=str(tmp_path / "lake")), logs=Logs(paths=(str(path),)))
    import_logs.run(Context(config, 0))
    context = Context(config, 2)
    commits.commit(
        context.store,
        context.key("rollouts"),
        tables={"conversations": rows_of("conversations", played(context))},
        parents={},
        inputs={},
        attempt="played",
    )
    return context


def played(context: Context) -> list[dict[str, object]]:
    """Every logged user once more, in the words that rollouts have for him."""
    return [
        {
            "conversation_id": f"played-{place}",
            "status": "valid",
            "outcome": 1.0,
            "split": "seen",
            "scenario_id": scenario.scenario_id,
            "latent_json": scenario.latent_json,
            "messages_json": json.dumps([message_record(message) for message in scenario.opening]),
        }
        for place, row in enumerate(logged(context))
        if (scenario := scenario_of(talk_of(row))) is not None
    ]


def talk_of(row: dict[str, object]) -> LoggedTalk:
    return LoggedTalk(str(row["scenario_id"]), messages_from_json(str(row["messages_json"])), held_out=False)


def logged(context: Context) -> list[dict[str, object]]:
    rows = commits.read_table(context.store, context.read("rollouts", 0), table="conversations").to_pylist()
    return sorted(rows, key=lambda row: str(row["user_id"]))  # bob, then ida


def talks_in(context: Context, commit: Commit) -> dict[str, str]:
    rows = commits.read_table(context.store, commit, table="conversations").to_pylist()
    return {row["conversation_id"]: row["messages_json"] + row["latent_json"] for row in rows}


def test_a_talk_in_which_a_model_played_the_user_goes_with_the_user(desk: Context) -> None:
    found = look(desk.store, Selector(user="user-ida"))

    forget(desk.store, found, reason="asked for it", render=lambda commit: {})

    left = talks_in(desk, desk.read("rollouts"))
    assert list(left) == ["played-0"]
    assert OTHER in left["played-0"]
