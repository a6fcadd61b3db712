"""Refusals name what differs: short values whole, of JSON documents only the entries that are others."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.differences import SHOWN, differences

DOCUMENTS = st.dictionaries(st.text(max_size=3), st.integers() | st.lists(st.integers(), max_size=2))


def test_short_values_are_told_whole() -> None:
    found, wanted = {"seed": "0", "same": "x"}, {"seed": "5", "same": "x", "extra": "y"}

    assert differences(found, wanted) == "extra: committed None, now 'y'; seed: committed '0', now '5'"
    assert differences({"digest": "a" * 64}, {"digest": "b" * 64}).count("a" * 64) == 1


def test_of_two_documents_the_entries_that_differ_are_named() -> None:
    section = {"clip": 0.2, "epochs": 1, "loss": {"kind": "grpo", "beta": 0.1}}
    other = {"clip": 0.2, "epochs": 2, "loss": {"kind": "ppo", "beta": 0.1}, "seed": 3}

    told = differences({"train": json.dumps(section)}, {"train": json.dumps(other)})

    assert told == (
        'train.epochs: committed 1, now 2; train.loss.kind: committed "grpo", now "ppo"; '
        "train.seed: committed nothing, now 3"
    )


def test_lists_of_documents_are_told_by_place_and_lists_of_values_whole() -> None:
    before = [{"files": {"a.csv": "1"}, "key": "id"}]
    after = [{"files": {"a.csv": "1"}, "key": "id"}, {"key": ["x", "y"]}]

    told = differences({"outcomes": json.dumps(before)}, {"outcomes": json.dumps(after)})

    assert told == 'outcomes[1].key: committed nothing, now ["x", "y"]'


def test_long_values_are_shown_where_they_part() -> None:
    text = "word " * 100
    told = differences({"prompt": f"{text}yes{text}"}, {"prompt": f"{text}no{text}"})

    assert "yes" in told
    assert "no" in told
    assert len(told) < 3 * SHOWN


def test_of_many_entries_some_are_told_and_the_others_counted() -> None:
    before, after = ({f"f{each:02d}": value for each in range(30)} for value in (1, 2))

    told = differences({"files": json.dumps(before)}, {"files": json.dumps(after)})

    assert "files.f11: committed 1, now 2; and 18 more of files" in told
    assert "f12" not in told


@pytest.mark.parametrize("text", ["{broken", "[1, 2", "", '{"a": 1} '])
def test_what_is_no_other_document_is_a_text(text: str) -> None:
    assert differences({"config": text}, {"config": '{"a": 1}'}) == (
        f"config: committed {text!r}, now '{{\"a\": 1}}'"
    )


@given(DOCUMENTS, DOCUMENTS)
def test_whatever_differs_is_told_and_nothing_else(before: dict[str, int], after: dict[str, int]) -> None:
    told = differences(*({"x": json.dumps(each, sort_keys=True)} for each in (before, after)))

    assert bool(told) == (before != after)
