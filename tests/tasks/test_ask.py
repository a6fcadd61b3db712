"""`itpo sql`: one iteration or all, and a script of views that the plain DuckDB shell opens."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from storage.errors import SqlError
from storage.paths import repository_root
from storage.stores import open_store
from storage.warehouse import views_script
from tasks import ask
from tasks.config import ConfigError
from tasks.options import Options, options_of
from tests.storage.servers import PASSWORD, USER
from tests.storage.test_scans import fill

SHELL = Path(sys.executable).parent / "duckdb"
CONFIG = repository_root() / "configs" / "sales_small.toml"


@pytest.fixture
def options(tmp_path: Path) -> Options:
    """A lake of two iterations, under a name with characters that SQL and patterns know."""
    lake = tmp_path / "it's a lake [1]"
    fill(open_store(str(lake)))
    return options_of(CONFIG, experiment="sales", lake=str(lake))


def shell(script: Path, statement: str, *, folder: Path) -> str:
    command = [str(SHELL), "-csv", "-noheader", "-init", str(script), "-c", statement]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_question_is_answered_from_one_iteration_or_from_all(
    options: Options, capsys: pytest.CaptureFixture[str]
) -> None:
    statement = "select 'n=' || count(*) || ' i=' || max(iteration) as answer from conversations"

    ask.print_answer(options, statement, rows=5)
    ask.print_answer(options, statement, rows=5, iteration=0)
    ask.print_answer(options, statement, rows=5, iteration=7)

    told = capsys.readouterr().out
    assert "n=4 i=1" in told
    assert "n=2 i=0" in told
    assert "n=" not in told.split("i=0")[1]


def test_without_a_question_the_views_are_listed(
    options: Options, capsys: pytest.CaptureFixture[str]
) -> None:
    ask.print_answer(options, None, rows=50, iteration=1)

    assert "conversation_turns" in capsys.readouterr().out


def test_limits_come_from_the_configuration(options: Options) -> None:
    tight = options.with_section("lake", {"memory_limit": "3MB", "max_spill": "1MB"})

    with pytest.raises(SqlError, match=r"raise lake\.memory_limit"):
        ask.print_answer(tight, "select count(distinct md5(i::text)) from range(300000) t(i)", rows=1)


@pytest.mark.skipif(not SHELL.is_file() and shutil.which("duckdb") is None, reason="no DuckDB shell here")
def test_the_script_opens_in_the_plain_shell_from_any_folder(options: Options, tmp_path: Path) -> None:
    whole, one = tmp_path / "all.sql", tmp_path / "one.sql"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()

    ask.write_script(options, whole)
    ask.write_script(options, one, iteration=1)

    count = "select count(*) || '/' || count(distinct commit_iteration) from conversation_turns"
    assert "12/2" in shell(whole, count, folder=elsewhere)
    assert "6/1" in shell(one, count, folder=elsewhere)
    assert "turn_credits" in shell(one, "select view_name from duckdb_views()", folder=elsewhere)


def test_a_script_for_a_bucket_says_how_to_get_in_and_holds_no_credentials(moto_lake: str) -> None:
    store = open_store(moto_lake)
    fill(store)

    script = views_script(store, "sales", iteration=1)

    assert "load httpfs;" in script
    assert "provider 'credential_chain', region 'us-east-1', endpoint '127.0.0.1:" in script
    assert f"scope '{moto_lake}'" in script
    assert f"'{moto_lake}/sales/rollouts/iteration=0001/" in script
    assert f"'{moto_lake}/sales/rollouts/iteration=0000/" not in script
    assert USER not in script
    assert PASSWORD not in script


def test_a_file_with_the_question_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "picture.sql").write_bytes(b"\xff\xfe\xff")

    with pytest.raises(ConfigError, match=r"--file .*missing\.sql: No such file"):
        ask.read_question(tmp_path / "missing.sql")
    with pytest.raises(ConfigError, match=r"Is a directory; name a text file with one SQL statement"):
        ask.read_question(tmp_path)
    with pytest.raises(ConfigError, match=r"picture\.sql: it is no text in UTF-8"):
        ask.read_question(tmp_path / "picture.sql")
