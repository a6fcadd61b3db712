"""An export appears whole or not at all, says where it came from, and takes nobody's place unasked."""

import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from storage.exports import (
    BATCH_ROWS,
    ORIGIN_KEY,
    ExportRefused,
    Record,
    about_path,
    check_place,
    parquet_writer,
    publish,
    verl_schema,
    write_jsonl,
)

PROMPT = {
    "data_source": "itpo/shop",
    "prompt": [{"role": "user", "content": "a bike ?"}],
    "ability": "sales",
    "reward_model": {"style": "rule", "ground_truth": "{}"},
    "extra_info": {"index": 7, "split": "train", "mean_outcome": None},
}


def numbered(count: int, *, broken: bool = False) -> Iterator[Record]:
    yield from ({"n": n, "text": "a\u2028b ü"} for n in range(count))
    if broken:
        raise RuntimeError("the source broke")


def put(path: Path, records: Iterator[Record], *, force: bool = False) -> int:
    return publish(path, records, write=write_jsonl, about=lambda rows: {"rows": rows}, force=force)


def test_a_line_per_record_and_the_facts_beside_them(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"

    assert put(path, numbered(3)) == 3

    lines = path.read_text(encoding="utf-8").split("\n")
    assert [json.loads(line) for line in lines[:-1]] == list(numbered(3))
    assert json.loads(about_path(path).read_text()) == {"rows": 3}
    assert len(list(tmp_path.iterdir())) == 2


def test_a_source_that_breaks_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="the source broke"):
        put(tmp_path / "out.jsonl", numbered(3, broken=True))

    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_there_is_replaced_only_by_force(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    put(path, numbered(1))

    with pytest.raises(
        ExportRefused, match="is there already: name another file, or replace it with --force"
    ):
        put(path, numbered(2))
    assert path.read_bytes().count(b"\n") == 1
    put(path, numbered(2), force=True)

    assert path.read_bytes().count(b"\n") == 2


def test_a_file_written_meanwhile_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"

    def meanwhile() -> Iterator[Record]:
        yield {"n": 0}
        path.write_text("mine")

    with pytest.raises(ExportRefused, match="meanwhile"):
        put(path, meanwhile())

    assert path.read_text() == "mine"


@pytest.mark.parametrize("place", ["missing/out.jsonl", "."])
def test_a_place_that_cannot_be_written_is_named_before_any_work(tmp_path: Path, place: str) -> None:
    with pytest.raises(ExportRefused, match="folder"):
        check_place(tmp_path / place, force=True)


def test_parquet_prompts_have_typed_columns_and_their_origin(tmp_path: Path) -> None:
    path = tmp_path / "out.parquet"
    write = parquet_writer(verl_schema(with_tools=False), {"commit": "d1"})

    count = publish(path, iter([PROMPT] * (BATCH_ROWS + 1)), write=write, about=lambda _: {}, force=False)

    found = pq.read_table(path)
    assert (count, found.num_rows) == (BATCH_ROWS + 1, BATCH_ROWS + 1)
    assert found.column_names == ["data_source", "prompt", "ability", "reward_model", "extra_info"]
    assert found["prompt"][0].as_py() == PROMPT["prompt"]
    assert found["extra_info"][BATCH_ROWS].as_py()["index"] == 7
    assert json.loads(found.schema.metadata[ORIGIN_KEY]) == {"commit": "d1"}


def test_messages_have_fields_for_tools_only_where_tools_are_used() -> None:
    fields = [
        [field.name for field in verl_schema(with_tools=tools).field("prompt").type.value_type]
        for tools in (False, True)
    ]

    assert fields == [["role", "content"], ["role", "content", "tool_calls", "tool_call_id"]]
