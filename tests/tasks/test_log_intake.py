"""An import of log files: every row is accepted, quarantined or a duplicate, and says why."""

import gzip
import json
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from itpo_core.types import Role
from storage.digests import data_digest
from storage.tables import conform
from tasks.import_counts import ImportCounts
from tasks.log_intake import ImportedLogs, NothingImported, import_files, source_names
from tasks.log_reading import CHUNK
from tasks.logged_rows import Place
from tasks.records import messages_from_json
from tests.log_shapes import Json, assistant, call, doctor_rows, openai_row, result, tau_row, user

PLACE = Place("logs")
TALKS = [
    openai_row(user(f"order {index}"), assistant("done"), id=f"c{index}", outcome=index % 2)
    for index in range(8)
]


def as_lines(rows: Sequence[Json]) -> bytes:
    """JSONL."""
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def as_list(rows: Sequence[Json]) -> bytes:
    """A JSON list."""
    return json.dumps(list(rows)).encode()


def as_parquet(rows: Sequence[Json]) -> bytes:
    """Parquet, three rows to a group."""
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(list(rows)), sink, row_group_size=3)
    return sink.getvalue().to_pybytes()


SHAPES = {
    "openai.jsonl": ("openai", as_lines(TALKS)),
    "openai.json": ("openai", as_list(TALKS)),
    "openai.jsonl.gz": ("openai", gzip.compress(as_lines(TALKS), mtime=0)),
    "openai.parquet": ("openai", as_parquet(TALKS)),
    "tau.json": ("tau_bench", as_list([tau_row(task, trial) for trial in (0, 1) for task in (0, 1, 2)])),
    "med.parquet": ("mtmeddialog", as_parquet([*doctor_rows("cough", 4), *doctor_rows("fever", 3)])),
}


def imported(folder: Path, rows: Sequence[Json], *, log_format: str = "openai") -> ImportedLogs:
    """Import one JSONL file with these rows."""
    (folder / "log.jsonl").write_bytes(as_lines(rows))
    return import_files([folder / "log.jsonl"], log_format=log_format, place=PLACE)


def rows_of(logs: ImportedLogs, name: str) -> list[dict[str, object]]:
    """One table as the lake will store it."""
    return conform(name, logs.tables[name]).to_pylist()


def digests(logs: ImportedLogs) -> dict[str, str]:
    """Data digests of the tables."""
    return {name: data_digest(conform(name, table)) for name, table in logs.tables.items()}


def conserved(counts: ImportCounts) -> bool:
    """Whether every row read is somewhere."""
    return counts.read == counts.accepted + counts.quarantined + counts.duplicate


def test_counts_and_reasons_of_a_mixed_log(tmp_path: Path) -> None:
    bad: list[Json] = [openai_row(user("x")), {"conversations": []}, openai_row(user(None), assistant("x"))]
    clash = openai_row(user("something else"), assistant("x"), id="c0")

    logs = imported(tmp_path, [*TALKS, TALKS[0], *bad, clash])

    counts = logs.counts
    assert (counts.read, counts.accepted, counts.quarantined, counts.duplicate) == (13, 8, 4, 1)
    assert counts.reasons == {
        "content_not_text": 1,
        "duplicate": 1,
        "no_assistant_turn": 1,
        "reused_id": 1,
        "sharegpt_keys": 1,
    }
    assert (counts.turns, len(rows_of(logs, "turns"))) == (8, 8)
    assert [row["source_row"] for row in rows_of(logs, "quarantine")] == [9, 10, 11, 12, 13]
    assert json.loads(str(rows_of(logs, "quarantine")[2]["raw"])) == bad[1]


def test_a_row_of_conversations_and_turns_holds_what_was_logged(tmp_path: Path) -> None:
    talk = openai_row(user("find"), call("search"), result("[7]"), assistant("seven"), user("bye"), outcome=1)

    logs = imported(tmp_path, [talk])

    (conversation,), turns = rows_of(logs, "conversations"), rows_of(logs, "turns")
    assert [turn["user_text"] for turn in turns] == ["find", "[7]"]
    assert [turn["tool_names"] for turn in turns] == ["search", None]
    assert [turn["acceptance"] for turn in turns] == ["autonomous", "autonomous"]
    assert (conversation["outcome"], conversation["n_turns"], conversation["source_row"]) == (1.0, 2, 1)
    assert conversation["policy_version"] == "logs:log"
    messages = messages_from_json(str(conversation["messages_json"]))
    assert (messages[2].role, messages[2].tool_call_id, messages[4].content) == (Role.TOOL, "c1", "bye")


def test_suggested_and_sent_text_stand_side_by_side(tmp_path: Path) -> None:
    logs = imported(tmp_path, [openai_row(user("q"), assistant("sent", suggested_text="proposed"))])

    (turn,) = rows_of(logs, "turns")
    assert (turn["suggested_text"], turn["sent_text"], turn["acceptance"]) == ("proposed", "sent", "edited")


@pytest.mark.parametrize("logged", ["NaN", "Infinity", '"yes"', "null", "7"])
def test_an_outcome_that_is_no_number_is_null_with_a_reason_and_never_zero(
    tmp_path: Path, logged: str
) -> None:
    (tmp_path / "log.jsonl").write_text(json.dumps(openai_row())[:-1] + f', "outcome": {logged}}}')

    logs = import_files([tmp_path / "log.jsonl"], log_format="openai", place=PLACE)

    (row,) = rows_of(logs, "conversations")
    assert row["outcome"] is None
    assert "outcome" in str(row["outcome_reason"])
    assert sum(logs.counts.unscored.values()) == 1


def test_a_label_that_comes_late_is_in_the_row_and_in_the_counts(tmp_path: Path) -> None:
    talk, torn = openai_row(id="a"), openai_row(user("x"), assistant("y"), id="b")
    said = [{**talk, "outcome": None}, {**torn, "outcome": 0}, {**talk, "outcome": 1}, {**torn, "outcome": 1}]

    logs = imported(tmp_path, said)

    rows = {row["source_row"]: row for row in rows_of(logs, "conversations")}
    assert (rows[1]["outcome"], rows[1]["outcome_reason"]) == (1.0, None)
    assert (rows[2]["outcome"], rows[2]["outcome_reason"]) == (None, "contradicting outcomes: 0, 1")
    assert (logs.counts.accepted, logs.counts.duplicate) == (2, 2)
    assert logs.counts.unscored == {"contradicting outcomes": 1}


def test_what_is_read_in_batches_is_whole(tmp_path: Path) -> None:
    talks = [openai_row(user(f"order {index}"), assistant("done")) for index in range(2 * CHUNK + 1)]
    bad: list[Json] = [{"row": index} for index in range(CHUNK + 1)]

    logs = imported(tmp_path, [*talks, *bad])

    assert {row["source_row"] for row in rows_of(logs, "conversations")} == set(range(1, 2 * CHUNK + 2))
    assert len(rows_of(logs, "turns")) == logs.counts.accepted == 2 * CHUNK + 1
    assert [json.loads(str(row["raw"])) for row in rows_of(logs, "quarantine")] == bad


def test_trials_of_a_task_are_one_group(tmp_path: Path) -> None:
    rows = [tau_row(task, trial, reward=0.0) for trial in range(4) for task in range(3)]

    logs = imported(tmp_path, rows, log_format="tau_bench")

    found = rows_of(logs, "conversations")
    groups = {row["scenario_id"]: row["group_id"] for row in found}
    assert len(set(groups.values())) == 3
    assert sorted(int(str(row["sample_index"])) for row in found) == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]


def test_turns_of_a_consultation_are_rows_accepted(tmp_path: Path) -> None:
    logs = imported(tmp_path, [*doctor_rows("cough", 4), *doctor_rows("fever", 3)], log_format="mtmeddialog")

    assert (logs.counts.accepted, logs.counts.conversations, logs.counts.turns) == (7, 2, 7)
    assert logs.counts.unscored == {"no outcome column": 2}


def test_strange_text_passes_through_the_tables(tmp_path: Path) -> None:
    texts = ["a\0b", "x" * 1_000_000, "\u202egnp.exe", "👩‍👩‍👧 é", "<eot><|im_end|>", ""]

    logs = imported(tmp_path, [openai_row(user(text), assistant(text)) for text in texts])

    assert {row["assistant_text"] for row in rows_of(logs, "turns")} == set(texts)


def test_importing_again_from_elsewhere_gives_the_same_digests(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()

    first = imported(tmp_path / "a", [*TALKS, TALKS[1], {"x": 1}])
    second = imported(tmp_path / "b", [*TALKS, TALKS[1], {"x": 1}])

    assert digests(first) == digests(second)


def test_files_are_named_by_their_place_in_the_folder_they_share(tmp_path: Path) -> None:
    assert source_names([tmp_path / "a" / "x.jsonl", tmp_path / "b" / "x.jsonl"]) == [
        "a/x.jsonl",
        "b/x.jsonl",
    ]
    assert source_names([tmp_path / "a" / "x.jsonl"]) == ["x.jsonl"]


def test_the_same_conversation_in_two_files_is_kept_once(tmp_path: Path) -> None:
    for name in ("a.jsonl", "b.jsonl"):
        (tmp_path / name).write_bytes(as_lines(TALKS))

    logs = import_files([tmp_path / "a.jsonl", tmp_path / "b.jsonl"], log_format="openai", place=PLACE)

    assert (logs.counts.accepted, logs.counts.duplicate) == (8, 8)


def test_an_import_of_nothing_names_the_reasons(tmp_path: Path) -> None:
    with pytest.raises(NothingImported, match=r"as tau_bench: 8 rows \(missing_messages 8\)"):
        imported(tmp_path, TALKS, log_format="tau_bench")


def import_or_refuse(path: Path, log_format: str) -> ImportedLogs | None:
    """The import, or None when it was refused because nothing could be accepted."""
    try:
        return import_files([path], log_format=log_format, place=PLACE)
    except NothingImported:
        return None


def least_rows(name: str, damaged: bytes) -> int:
    """How many rows must be somewhere. A JSONL file cut between two lines is a whole, shorter file."""
    if name == "openai.jsonl":
        return sum(bool(line.strip()) for line in damaged.split(b"\n"))
    return {"openai": 8, "tau_bench": 6, "mtmeddialog": 7}[SHAPES[name][0]]


@pytest.mark.slow
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.parametrize("name", SHAPES)
@given(
    flips=st.lists(st.tuples(st.integers(0, 10**9), st.integers(0, 7)), max_size=4),
    kept=st.floats(0, 1).map(lambda share: 1 - share**4),
)
def test_damage_anywhere_loses_no_row_in_silence(
    tmp_path: Path, name: str, flips: list[tuple[int, int]], kept: float
) -> None:
    log_format, data = SHAPES[name]
    damaged = bytearray(data[: max(1, int(len(data) * kept))])
    for place, bit in flips:
        damaged[place % len(damaged)] ^= 1 << bit
    (tmp_path / name).write_bytes(bytes(damaged))

    logs = import_or_refuse(tmp_path / name, log_format)

    if logs is not None:
        not_accepted = logs.counts.quarantined + logs.counts.duplicate
        assert conserved(logs.counts)
        assert len(rows_of(logs, "quarantine")) == not_accepted
        assert logs.counts.accepted >= least_rows(name, bytes(damaged)) or not_accepted > 0
        assert len(rows_of(logs, "turns")) == logs.counts.turns
