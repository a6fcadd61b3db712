"""Who spoke a logged conversation, on its way through the lake: kept apart from files, masked, exported."""

import json
from pathlib import Path

import pytest

from storage import commits
from tasks import import_logs
from tasks.context import Context
from tasks.export_shapes import Origin, openai_record
from tasks.speakers import claimed_version, logged_speaker
from tests.builders import make_context
from tests.log_shapes import Json, assistant, openai_row, user

SAMPLED: Json = {"policy_version": "shop/v0003", "temperature": 1.0, "top_p": 1.0}
DRAWN: Json = {"token_ids": [5, 6, 2], "logprobs": [-1.0, -0.5, -0.1]}


def imported(folder: Path, *rows: Json, **overrides: object) -> Context:
    path = folder / "log.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    context = make_context(folder, logs__paths=[str(path)], **overrides)
    import_logs.run(context)
    return context


def rows_of(context: Context, table: str) -> list[Json]:
    return commits.read_table(context.store, context.read("rollouts"), table=table).to_pylist()


def test_a_file_is_never_taken_for_a_version() -> None:
    assert logged_speaker("prod", None) == "logs:prod"
    assert claimed_version(logged_speaker("prod", "shop/v0003")) == "shop/v0003"
    assert [claimed_version(name) for name in ("logs:shop/v0003", "shop//v0003", "shop/v0003")] == [None] * 3


def test_what_the_log_says_of_a_turn_stands_in_its_row_and_is_unknown(tmp_path: Path) -> None:
    row = openai_row(user("hi"), assistant("so long", finish_reason="length", **DRAWN), outcome=1, **SAMPLED)

    (turn,) = rows_of(imported(tmp_path, row), "turns")

    assert (turn["response_ids"], turn["temperature"], turn["top_p"]) == ([5, 6, 2], 1.0, 1.0)
    assert turn["logprobs"] == pytest.approx([-1.0, -0.5, -0.1])
    assert (turn["finish_reason"], turn["prompt_ids"], turn["propensity"]) == ("length", [], "unknown")
    assert turn["policy_version"] == "logs:log//shop/v0003"


def test_naming_the_speaker_changes_no_id(tmp_path: Path) -> None:
    (tmp_path / "named").mkdir()
    said = (user("hi"), assistant("so long"))

    plain = imported(tmp_path, openai_row(*said, outcome=1))
    named = imported(tmp_path / "named", openai_row(*said, outcome=1, **SAMPLED))

    ids = [[row[name] for name in ("conversation_id", "group_id")] for context in (plain, named)
           for row in rows_of(context, "conversations")]  # fmt: skip
    assert ids[0] == ids[1]


def test_tokens_of_masked_words_are_left_out_with_the_speaker(tmp_path: Path) -> None:
    private = openai_row(user("i am ann@example.com"), assistant("hi", **DRAWN), outcome=1, **SAMPLED)
    public = openai_row(user("hi"), assistant("hi", **DRAWN), outcome=1, **SAMPLED)
    refused = openai_row(user("ann@example.com"), {"role": "oracle", **DRAWN}, **SAMPLED)

    context = imported(tmp_path, private, public, refused, logs__personal_data="mask")

    turns = rows_of(context, "turns")
    assert sorted((row["policy_version"], len(row["response_ids"])) for row in turns) == [
        ("logs:log", 0),
        ("logs:log//shop/v0003", 3),
    ]
    (left,) = rows_of(context, "quarantine")
    assert "token_ids" not in str(left["raw"])


def test_an_export_names_the_version_and_a_sampling_that_all_turns_share() -> None:
    origin = Origin("shop", 1, "rollouts", "d" * 64)
    row: Json = dict.fromkeys(
        ("scenario_id", "split", "persona_id", "seed", "stop_reason", "group_id", "sample_index",
         "judge_version", "outcome_reason", "reward", "simulator", "latent_json", "user_id",
         "conversation_id", "outcome")
    )  # fmt: skip
    row["messages_json"] = '[{"role":"assistant","content":"so"}]'
    row |= {"suggested_texts": ["so"], "acceptances": ["autonomous"], "finish_reasons": ["length"]}
    row |= {"temperature": 0.7, "top_p": 1.0}

    def metadata(**changes: object) -> object:
        return openai_record({**row, **changes}, origin)["metadata"]

    named = {"policy_version": "shop/v0003", "temperature": 0.7, "top_p": 1.0}
    assert metadata(policy_version="shop/v0003").items() >= named.items()
    assert metadata(policy_version="logs:prod//shop/v0003").items() >= named.items()
    assert metadata(policy_version="logs:prod").keys().isdisjoint({"temperature", "top_p"})
    assert "temperature" not in metadata(policy_version="shop/v0003", temperature=None)
    (message,) = openai_record({**row, "policy_version": "shop/v0003"}, origin)["messages"]
    assert message["finish_reason"] == "length"
