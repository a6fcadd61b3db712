"""What is exported of an iteration and what is left out, over rows that can be counted by hand."""

import json
from collections.abc import Mapping, Sequence

import pyarrow as pa

from tests.sql.duck import Row, rows_of, run, table

VALID = {"status": "valid", "n_turns": 2, "outcome": 1.0, "split": "seen"}
ANY: Mapping[str, bool | float] = {"kept_only": False, "needs_outcome": False, "min_outcome": 0.0}
OPENING = {"role": "user", "content": "a bike ?"}
ASKS = {"role": "assistant", "content": "red ?"}
SELLS = {"role": "assistant", "content": "this one ."}
TALK = (OPENING, ASKS, {"role": "user", "content": "yes"}, SELLS)


def said(name: str, messages: Sequence[object] = TALK, **columns: object) -> Row:
    """A valid conversation of one task with these messages."""
    return {**VALID, "conversation_id": name, "messages_json": json.dumps(messages), **columns}


def reasons(
    rows: Sequence[Row], curated: Sequence[Row] = (), **parameters: float | bool
) -> dict[str, object]:
    """Why each conversation is left out."""
    relations = {"conversations": rows, "curated": curated}
    found = rows_of("exports/chosen.sql", relations, {**ANY, **parameters})
    return {str(row["conversation_id"]): row["left_out"] for row in found}


def prompts(rows: Sequence[Row], *, every_turn: bool, completions: bool = False) -> list[dict[str, object]]:
    """The prompts of all these conversations, each beside its conversation."""
    relations: dict[str, pa.Table] = {name: table(name, given) for name, given in
                                      (("conversations", rows), ("curated", ()))}  # fmt: skip
    chosen = run("exports/chosen.sql", relations, ANY)
    given = {"conversations": relations["conversations"], "chosen": chosen}
    parameters = {"every_turn": every_turn, "completions": completions}
    found = run("exports/prompts.sql", given, parameters).to_pylist()
    return [{**row, **prompt} for row in found for prompt in row["prompts"]]


def test_what_broke_or_never_spoke_is_left_out_and_an_unknown_outcome_is_not() -> None:
    rows = [
        said("good"),
        said("broken", status="failed", outcome=None),
        said("silent", n_turns=0),
        said("unscored", outcome=None),
    ]

    assert reasons(rows) == {"good": None, "broken": "failed", "silent": "no_turns", "unscored": None}


def test_an_outcome_that_is_asked_for_is_never_taken_for_zero() -> None:
    rows = [said("high"), said("low", outcome=0.25), said("unscored", outcome=None)]

    found = reasons(rows, needs_outcome=True, min_outcome=0.5)

    assert found == {"high": None, "low": "below_min_outcome", "unscored": "unscored"}


def test_what_the_curation_dropped_is_left_out_under_its_reason() -> None:
    curated = [
        {"conversation_id": "kept", "kept": True},
        {"conversation_id": "dropped", "kept": False, "drop_reason": "duplicate"},
    ]

    found = reasons([said("kept"), said("dropped"), said("new")], curated, kept_only=True)

    assert found == {"kept": None, "dropped": "dropped_duplicate", "new": "not_curated"}


def test_what_must_not_be_learned_from_is_marked_test() -> None:
    rows = [said("train"), said("unseen", split="unseen"), said("heldout")]
    curated = [{"conversation_id": "heldout", "kept": True, "fold": "heldout"}]

    found = rows_of("exports/chosen.sql", {"conversations": rows, "curated": curated}, ANY)

    assert [row["export_split"] for row in found] == ["test", "train", "test"]


def test_tools_are_seen_in_keys_and_not_in_words() -> None:
    calls = {"role": "assistant", "content": "", "tool_calls": "[]"}
    rows = [
        said("calls", [OPENING, calls]),
        said("talks", [{"role": "user", "content": '"tool_calls": 1'}, ASKS]),
    ]

    found = rows_of("exports/chosen.sql", {"conversations": rows, "curated": []}, ANY)

    assert [row["uses_tools"] for row in found] == [True, False]


def test_equal_openings_of_a_task_are_one_prompt_with_all_their_outcomes() -> None:
    rows = [
        said("a", scenario_id="s", outcome=1.0),
        said("b", scenario_id="s", outcome=0.0),
        said("c", scenario_id="s", outcome=None),
        said("d", scenario_id="other"),
    ]

    found = prompts(rows, every_turn=False)

    assert [row["left_out"] for row in found] == [None, "same_prompt", "same_prompt", None]
    assert (found[0]["outcomes"], found[0]["mean_outcome"]) == (2, 0.5)
    assert [row["messages_json"] is None for row in found] == [False, True, True, False]


def test_every_turn_has_the_history_before_it() -> None:
    found = prompts([said("a")], every_turn=True)

    assert [(row["turn_index"], row["prompt_messages"]) for row in found] == [(0, 1), (1, 3)]


def test_completions_stay_beside_equal_prompts_but_empty_ones_do_not() -> None:
    silent = {"role": "assistant", "content": ""}
    calling = {**silent, "tool_calls": "[]"}
    rows = [said(name, [OPENING, turn]) for name, turn in
            (("a", ASKS), ("b", SELLS), ("c", silent), ("d", calling))]  # fmt: skip

    found = prompts(rows, every_turn=True, completions=True)

    assert [row["left_out"] for row in found] == [None, None, "empty_turn", None]


def test_a_prompt_that_is_empty_or_holds_a_tag_for_pictures_is_left_out() -> None:
    tagged = {"role": "user", "content": "what is in <image> ?"}

    found = prompts([said("first", [ASKS]), said("tagged", [tagged, ASKS])], every_turn=False)

    assert [row["left_out"] for row in found] == ["no_prompt", "image_tag"]


def test_conversations_come_with_what_was_suggested_in_the_order_of_their_turns() -> None:
    turns = [
        {"conversation_id": "a", "turn_index": 1, "suggested_text": "two", "acceptance": "edited"},
        {"conversation_id": "a", "turn_index": 0, "suggested_text": "one", "acceptance": "verbatim"},
    ]
    relations = {"conversations": table("conversations", [said("a")]), "turns": table("turns", turns)}
    chosen = run("exports/chosen.sql", {**relations, "curated": table("curated", [])}, ANY)

    (row,) = run("exports/conversations.sql", {**relations, "chosen": chosen}).to_pylist()

    assert (row["suggested_texts"], row["acceptances"]) == (["one", "two"], ["verbatim", "edited"])
