"""Plain rows to Arrow tables and tables end to end: what the stages hand to the lake."""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from storage.rules import ROW_ORDER
from storage.tables import schema_of

Table: TypeAlias = pa.Table


def to_table(name: str, rows: Sequence[Mapping[str, object]]) -> Table:
    """Rows of the named dataset as a table with exactly its columns; what is absent becomes null."""
    schema = schema_of(name)
    arrays = [pa.array([row.get(field.name) for row in rows], type=field.type) for field in schema]
    return pa.Table.from_arrays(arrays, schema=schema)


def of_columns(name: str, columns: Mapping[str, Sequence[object]]) -> Table:
    """The same of one sequence per column, all of one length; what is absent becomes null."""
    schema = schema_of(name)
    length = len(next(iter(columns.values())))
    arrays = [
        pa.array(columns[field.name], type=field.type)
        if field.name in columns
        else pa.nulls(length, field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


def with_changes(name: str, table: Table, *, changes: Mapping[str, Mapping[str, object]]) -> Table:
    """The table with other values in some columns of some rows of the named dataset, by their first key."""
    key = ROW_ORDER[name][0]
    is_changed = pc.field(key).isin(pa.array(list(changes), pa.string()))
    rows = [{**row, **changes[row[key]]} for row in table.filter(is_changed).to_pylist()]
    return pa.concat_tables([table.filter(~is_changed), to_table(name, rows)])


def with_columns(name: str, table: Table, *, columns: Mapping[str, Sequence[object]]) -> Table:
    """The table with other values in whole columns of the named dataset."""
    schema = schema_of(name)
    for column, values in columns.items():
        place = schema.get_field_index(column)
        table = table.set_column(place, schema.field(place), pa.array(values, type=schema.field(place).type))
    return table


def kept_rows(table: Table, is_kept: Sequence[bool]) -> Table:
    """Those of its rows that are kept, in their order."""
    return table if all(is_kept) else table.filter(pa.array(is_kept, pa.bool_()))


def concat(tables: Sequence[Table]) -> Table:
    """Tables of one schema, one after the other."""
    return pa.concat_tables(tables).combine_chunks()
