"""Rows that break a rule of their dataset are refused with the table, the rule, the row and the remedy."""

import math

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from storage.digests import data_digest
from storage.errors import CorruptObject, FutureSchema, InvalidTable
from storage.rules import ROW_ORDER
from storage.schemas import SCHEMA_VERSION, SCHEMAS
from storage.tables import conform, current_columns, decode, encode
from tests.storage.lake_rows import conversations, metrics, rows_of, turns

TOKENS = {"response_ids": [7, 8], "logprobs": [-0.5, -0.25], "response_tokens": 2}


def turn(**columns: object) -> pa.Table:
    return rows_of("turns", [{"conversation_id": "c1", "turn_index": 0, "n_turns": 1, **TOKENS, **columns}])


def credit(**columns: object) -> pa.Table:
    return rows_of("credits", [{"conversation_id": "c1", "turn_index": 0, **columns}])


def curated(**columns: object) -> pa.Table:
    return rows_of("curated", [{"conversation_id": "c1", "kept": True, **columns}])


def token_scores(values: list[float | None]) -> pa.Table:
    return rows_of("turn_scores", [{"conversation_id": "c1", "response_tokens": 2, "token_scores": values}])


def turn_value(**columns: float) -> pa.Table:
    return rows_of("turn_values", [{"conversation_id": "c1", **columns}])


def repeated(rows: pa.Table) -> pa.Table:
    return pa.concat_tables([rows, rows])


@pytest.mark.parametrize(
    ("name", "rows", "rule"),
    [
        ("turns", turn(logprobs=[-0.5]), "response_ids and logprobs must have one length"),
        ("turns", turn(response_tokens=3), "response_tokens must be the length"),
        ("turns", turn(logprobs=[-0.5, math.nan]), "logprobs must be finite"),
        ("turns", turn(logprobs=[-0.5, -math.inf]), "logprobs must be finite"),
        ("turns", turn(logprobs=[-0.5, 0.01]), "logprobs must be finite"),
        ("turns", turn(logprobs=[-0.5, None]), "logprobs must be finite"),
        ("turns", turn(response_ids=[7, None]), "token ids must not be null"),
        ("turns", turn(prompt_ids=[None]), "token ids must not be null"),
        ("turns", turn(turn_index=1), "turn_index must count 0, 1, 2"),
        ("turns", turn(n_turns=2), "n_turns must be the number"),
        ("turns", repeated(turn()), "turn_index. must be unique"),
        ("conversations", conversations("c1", "c1"), "conversation_id. must be unique"),
        ("conversations", conversations("c1", outcome=None), "outcome_reason must be set exactly when"),
        (
            "conversations",
            conversations("c1", outcome_reason="no label"),
            "outcome_reason must be set exactly when",
        ),
        ("conversations", conversations("c1", outcome=math.nan), "outcome must be finite"),
        ("conversations", conversations("c1", outcome=math.inf), "outcome must be finite"),
        ("conversations", conversations("c1", status="done"), "status must be valid or failed"),
        ("conversations", conversations("c1", status="failed"), "failure_kind must be set exactly when"),
        (
            "conversations",
            conversations("c1", failure_kind="engine"),
            "failure_kind must be set exactly when",
        ),
        ("curated", curated(drop_reason="short"), "drop_reason must be set exactly when"),
        ("curated", curated(kept=False), "drop_reason must be set exactly when"),
        ("curated", curated(reward=math.nan), "reward must be finite"),
        (
            "turn_scores",
            rows_of("turn_scores", [{"conversation_id": "c1", "score": math.nan}]),
            "score must be finite",
        ),
        ("turn_scores", token_scores([0.5]), "token_scores must be finite, one per scored token"),
        ("turn_scores", token_scores([0.5, math.nan]), "token_scores must be finite"),
        ("turn_scores", token_scores([0.5, None]), "token_scores must be finite"),
        ("turn_values", turn_value(value=1.5), r"value must be a chance in \[0, 1\]"),
        ("turn_values", turn_value(q=math.nan), r"q must be a chance in \[0, 1\]"),
        ("turn_values", turn_value(log_ratio=-math.inf), "log_ratio must be finite"),
        ("turn_values", repeated(turn_value()), "turn_index. must be unique"),
        ("lab", rows_of("lab", [{"value": None}]), "reason must be set exactly when value is null"),
        ("lab", rows_of("lab", [{"value": math.inf}]), "value must be finite"),
        ("credits", credit(advantage=math.nan), "advantage must be finite"),
        ("credits", credit(advantage_itpo=math.inf), "advantage_itpo must be finite"),
        ("credits", credit(credit_outcome=-math.inf), "credit_outcome must be finite"),
        ("credits", repeated(credit()), "turn_index. must be unique"),
        ("quarantine", rows_of("quarantine", [{"disposition": "lost"}]), "disposition must be"),
    ],
)
def test_a_broken_rule_is_named_with_table_row_and_remedy(name: str, rows: pa.Table, rule: str) -> None:
    with pytest.raises(InvalidTable, match=rf"table {name}: .*{rule}.* rows break this, first \(.*remedy: "):
        conform(name, rows)


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("turns", turn(logprobs=[0.0, 0.00005])),
        ("turns", turn(response_ids=[], logprobs=[], response_tokens=0)),
        ("turns", turn(logprobs=[], policy_version="logs:tau")),
        ("turns", turns({"b": 3, "a": 1})),
        ("conversations", conversations("c1", outcome=None, outcome_reason="no label")),
        (
            "conversations",
            conversations(
                "c1", status="failed", failure_kind="engine", outcome=None, outcome_reason="failed"
            ),
        ),
        ("curated", curated(kept=False, drop_reason="short")),
        ("turn_values", turn_value(value=0.0, q=1.0, q_std=0.25, log_ratio=-3.0)),
        ("turn_values", turn_value()),
        ("credits", credit()),
        ("metrics", metrics(a=1.0, b=math.nan)),
        *((name, SCHEMAS[name].empty_table()) for name in ROW_ORDER),
    ],
)
def test_valid_rows_pass(name: str, rows: pa.Table) -> None:
    assert conform(name, rows).num_rows == rows.num_rows


def test_the_first_offending_row_is_named_by_its_key() -> None:
    rows = pa.concat_tables([turns({"a": 2}), turns({"b": 1}, logprobs=[-0.5])])

    with pytest.raises(
        InvalidTable, match=r"1 of 3 rows break this, first \(conversation_id='b', turn_index=0\)"
    ):
        conform("turns", rows)


def test_rows_are_stored_in_their_total_order() -> None:
    mixed = turns({"b": 2, "a": 3}).take([4, 1, 0, 3, 2])

    ordered = conform("turns", mixed)

    assert ordered["conversation_id"].to_pylist() == ["a", "a", "a", "b", "b"]
    assert ordered["turn_index"].to_pylist() == [0, 1, 2, 0, 1]


def test_an_unknown_dataset_is_refused() -> None:
    with pytest.raises(InvalidTable, match=r"no dataset 'dreams'.*conversations"):
        conform("dreams", metrics(a=1.0))


def test_an_unknown_column_is_refused() -> None:
    with pytest.raises(InvalidTable, match=r"unknown columns .'reword'"):
        conform("metrics", metrics(a=1.0).append_column("reword", pa.array([1])))


def test_an_input_of_the_sql_is_never_stored() -> None:
    with pytest.raises(InvalidTable, match="turn_inputs is an input of the SQL and never stored"):
        conform("turn_inputs", SCHEMAS["turn_inputs"].empty_table())


def test_a_missing_required_column_is_refused_and_an_optional_one_becomes_null() -> None:
    rows = conversations("c1")

    with pytest.raises(InvalidTable, match=r"conversations: column seed .int64. is missing"):
        conform("conversations", rows.drop_columns(["seed"]))
    assert conform("conversations", rows.drop_columns(["source_row"]))["source_row"].to_pylist() == [None]


def test_a_value_that_does_not_fit_its_type_is_refused() -> None:
    rows = metrics(a=1.0).set_column(1, "step", pa.array(["first"]))

    with pytest.raises(InvalidTable, match="metrics: column step cannot become int64"):
        conform("metrics", rows)


def test_a_null_in_a_required_column_is_refused_with_its_row() -> None:
    rows = metrics(a=1.0, b=2.0).set_column(3, "value", pa.array([1.0, None]))

    with pytest.raises(InvalidTable, match=r"value must not be null; first offender is row 1 .*name='b'"):
        conform("metrics", rows)


def test_parquet_gives_back_the_same_rows() -> None:
    rows = conform("turns", turns({"a": 3, "b": 1}, user_text="é\n", optimal_value=0.5))

    back = decode("turns", encode(rows), key="k")

    assert back.equals(rows)
    assert data_digest(back) == data_digest(rows)


def test_logprobs_are_split_by_byte_token_ids_are_not_and_all_is_compressed() -> None:
    file = pq.ParquetFile(pa.BufferReader(encode(conform("turns", turns({"a": 3})))))
    group = file.metadata.row_group(0)
    columns = {group.column(place).path_in_schema: group.column(place) for place in range(group.num_columns)}

    assert "BYTE_STREAM_SPLIT" in columns["logprobs.list.element"].encodings
    assert "BYTE_STREAM_SPLIT" not in columns["response_ids.list.element"].encodings  # DuckDB 1.5
    assert {column.compression for column in columns.values()} == {"ZSTD"}


@pytest.mark.parametrize("kept", [0, 3, 200, -1])
def test_truncated_parquet_is_named(kept: int) -> None:
    data = encode(conform("metrics", metrics(a=1.0)))

    with pytest.raises(CorruptObject, match="object 'sales/x' of table metrics is not readable Parquet"):
        decode("metrics", data[:kept], key="sales/x")


def test_a_schema_from_the_future_is_refused_with_both_versions() -> None:
    newer = metrics(a=1.0).replace_schema_metadata({"schema_version": str(SCHEMA_VERSION + 1)})

    with pytest.raises(
        FutureSchema, match=rf"'sales/x'.*version {SCHEMA_VERSION + 1}.*up to {SCHEMA_VERSION}"
    ):
        decode("metrics", encode(newer), key="sales/x")


def test_columns_added_since_a_file_was_written_are_null() -> None:
    older = conform("turns", turns({"a": 1})).drop_columns(["turn_kind"])

    read = current_columns("turns", older, key="k")

    assert read.schema.equals(SCHEMAS["turns"])
    assert read["turn_kind"].to_pylist() == [None]


def test_a_stored_table_without_a_required_column_is_corrupt() -> None:
    with pytest.raises(CorruptObject, match=r"'sales/x' does not fit the schema.*turn_index"):
        current_columns("turns", turns({"a": 1}).drop_columns(["turn_index"]), key="sales/x")
