"""Rows through a spool: whatever touches the disk, what is committed is the same."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.encoding import encode_rows
from storage.spool import RANGE_ENDS, Spool
from tests.storage.lake_rows import turns

NAMES = st.lists(st.text("0123456789abcdefgz", min_size=1, max_size=4), min_size=1, max_size=8, unique=True)


def spooled(folder: Path, names: list[str], *, spill_bytes: int) -> Spool:
    spool = Spool("turns", folder, spill_bytes=spill_bytes)
    for name in names:
        spool.add_table(turns({name: 2}))
    return spool


@settings(max_examples=12)
@given(names=NAMES, spill_bytes=st.sampled_from([1, 1_000, 1 << 20]))
def test_what_is_committed_does_not_depend_on_the_memory_that_it_took(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], spill_bytes: int
) -> None:
    spool = spooled(tmp_path_factory.mktemp("spool"), names, spill_bytes=spill_bytes)

    found = encode_rows("turns", spool)

    assert found == encode_rows("turns", turns(dict.fromkeys(names, 2)))
    assert spool.rows == found.rows == 2 * len(names)


def test_parts_ascend_and_hold_whole_keys(tmp_path: Path) -> None:
    parts = [
        part for part in spooled(tmp_path, ["ff", "00", "80", "81"], spill_bytes=1).parts() if part.num_rows
    ]

    assert [part.column("conversation_id").unique().to_pylist() for part in parts] == [
        ["00"],
        ["80", "81"],
        ["ff"],
    ]
    assert len(list(tmp_path.iterdir())) == 4


def test_few_rows_touch_no_disk(tmp_path: Path) -> None:
    spool = spooled(tmp_path, ["ff", "00"], spill_bytes=1 << 20)

    assert spool.table().num_rows == 4
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("spill_bytes", [1, 1 << 20])
def test_rows_are_corrected_wherever_they_lie(tmp_path: Path, spill_bytes: int) -> None:
    spool = spooled(tmp_path, ["ff", "00"], spill_bytes=spill_bytes)

    spool.correct({"ff": {"user_text": "late"}})

    rows = spool.table().select(["conversation_id", "user_text"]).to_pylist()
    assert sorted({(row["conversation_id"], row["user_text"] == "late") for row in rows}) == [
        ("00", False),
        ("ff", True),
    ]


def test_parts_may_be_walked_twice(tmp_path: Path) -> None:
    spool = spooled(tmp_path, ["ff", "00"], spill_bytes=1)

    assert encode_rows("turns", spool) == encode_rows("turns", spool)


def test_the_ranges_are_in_order_and_of_two_digits() -> None:
    assert list(RANGE_ENDS) == sorted(set(RANGE_ENDS))
    assert {len(end) for end in RANGE_ENDS} == {2}


def test_nothing_more_after_a_spill_is_nothing_more(tmp_path: Path) -> None:
    spool = Spool("metrics", tmp_path, spill_bytes=1)
    spool.add([{"stage": "import", "step": 0, "name": "rows", "value": 1.0}])

    spool.add([])

    assert spool.table().num_rows == 1
