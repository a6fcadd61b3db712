"""One connection and its limits: all of them reach DuckDB, and nothing is left on the disk."""

from pathlib import Path

import duckdb
import pytest

from storage.duck import DuckSettings, connect, database, refusal
from storage.errors import ObjectMissing, SqlError
from storage.warehouse import run_checks, run_sql

LIMITS = "select current_setting('memory_limit'), current_setting('threads'), "
LIMITS += "current_setting('max_temp_directory_size'), current_setting('temp_directory')"


def test_every_limit_reaches_duckdb(tmp_path: Path) -> None:
    settings = DuckSettings(threads=1, memory_limit="256MiB", spill=tmp_path, max_spill="64MiB")

    with connect(settings) as connection:
        memory, threads, spill, folder = connection.execute(LIMITS).fetchall()[0]

    assert (memory, threads, spill) == ("256.0 MiB", 1, "64.0 MiB")
    assert Path(folder).parent == tmp_path


@pytest.mark.parametrize(
    ("memory_limit", "max_spill", "key"),
    [("40MB", "1MB", "raise lake.max_spill"), ("3MB", "10GB", "raise lake.memory_limit")],
)
def test_a_query_beyond_its_limits_names_the_key_to_change_and_leaves_no_spill(
    tmp_path: Path, memory_limit: str, max_spill: str, key: str
) -> None:
    sql = tmp_path / "large.sql"
    sql.write_text("select md5(i::text) as m from range(600000) t(i) order by m")
    spill = tmp_path / "spill"
    settings = DuckSettings(threads=2, memory_limit=memory_limit, max_spill=max_spill, spill=spill)

    with pytest.raises(SqlError, match=rf"large.sql needs more .*{key}"):
        run_sql(str(sql), relations={}, parameters={}, settings=settings)

    assert list(spill.iterdir()) == []


def test_a_spill_folder_goes_also_when_the_work_fails(tmp_path: Path) -> None:
    settings = DuckSettings(spill=tmp_path)

    def fail() -> None:
        with database(settings) as connection:
            folder = Path(connection.execute("select current_setting('temp_directory')").fetchall()[0][0])
            (folder / "left").mkdir(parents=True)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()

    assert list(tmp_path.iterdir()) == []


def test_limits_that_make_no_sense_are_refused_with_their_key(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(SqlError, match="memory_limit='lots'"):
        connect(DuckSettings(memory_limit="lots"))
    with pytest.raises(SqlError, match=r"lake.spill .*file/spill cannot be made"):
        run_checks({}, settings=DuckSettings(spill=tmp_path / "file" / "spill"))


def test_what_a_reader_raised_inside_duckdb_comes_out_as_it_was() -> None:
    told = duckdb.IOException("wrapped")
    told.__cause__ = ObjectMissing("there is no object 'a'")

    assert refusal("this SQL", told) is told.__cause__
    assert str(refusal("this SQL", duckdb.BinderException("no such column"))) == (
        "this SQL failed: no such column"
    )
