"""Refused rows of files of later outcomes: whose they are is said by their key alone."""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from storage.datasets import Dataset
from storage.forget_search import tables_of
from storage.objects import ObjectStore
from storage.revisions import ROLLOUTS, family

_INPUT = "outcomes"  # of a commit: everything that was joined to its logs, in order
_METADATA = "metadata."


@dataclass(frozen=True, slots=True)
class _Joined:
    """One joining: its files, and the column in which their rows name a conversation, by what."""

    files: Collection[str]
    column: str
    key: str


def told_about(store: ObjectStore, datasets: Sequence[Dataset], *, ids: Collection[str]) -> set[str]:
    """The text of every refused row of an outcomes file whose key names one of these conversations."""
    return {raw for dataset in datasets for raw in _told_in(store, dataset, ids=ids)}


def _told_in(store: ObjectStore, dataset: Dataset, *, ids: Collection[str]) -> Iterator[str]:
    joined = _joined(dataset)
    names = {each.key: _names(store, dataset, ids=ids, key=each.key) for each in joined}
    refused = _rows(store, dataset, table="quarantine", columns=("source_file", "raw")) if joined else ()
    for row in refused:
        told = _object(str(row["raw"]))
        files = (each for each in joined if row["source_file"] in each.files)
        if any(_value(told, each.column) in names[each.key] for each in files):
            yield str(row["raw"])


def _joined(dataset: Dataset) -> list[_Joined]:
    if family(dataset.key.kind) != ROLLOUTS:
        return []
    return [
        _Joined(tuple(each["files"]), each["key_column"], each["key"])
        for each in json.loads(dataset.inputs.get(_INPUT, "[]"))
    ]


def _names(store: ObjectStore, dataset: Dataset, *, ids: Collection[str], key: str) -> set[str]:
    """What the conversations are called by this key."""
    if key == "conversation_id":
        return set(ids)
    if key == "id":
        rows = _rows(store, dataset, table="logged_ids", columns=("conversation_id", "logged_id"))
        return {str(row["logged_id"]) for row in rows if row["conversation_id"] in ids}
    rows = _rows(store, dataset, table="conversations", columns=("conversation_id", "latent_json"))
    facts = (_object(str(row["latent_json"])) for row in rows if row["conversation_id"] in ids)
    return {name for each in facts if (name := _value(each, key.removeprefix(_METADATA))) is not None}


def _rows(
    store: ObjectStore, dataset: Dataset, *, table: str, columns: Sequence[str]
) -> Iterator[Mapping[str, object]]:
    for _, _, found in tables_of(store, [dataset], table=table, columns=columns):
        yield from found.to_pylist()


def _object(text: str) -> Mapping[str, object]:
    """The JSON object, empty where the text is none."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _value(row: Mapping[str, object], column: str) -> str | None:
    """The name in this column, which may be a dotted path; None where there is none."""
    if column in row:
        value = row[column]
        return None if value is None or isinstance(value, bool | dict | list) else str(value)
    head, _, rest = column.partition(".")
    inner = row.get(head)
    return _value(inner, rest) if rest and isinstance(inner, dict) else None
