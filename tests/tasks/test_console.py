"""What a person wrote, or a log held, is printed as it is, whatever it looks like to the terminal."""

from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from storage import registry
from storage.local_store import LocalStore
from tasks.__main__ import app
from tasks.console import _line
from tasks.text_tree import Branch, print_tree
from tests.builders import CONFIG_FILE
from tests.receipts_lake import make_receipts_lake

WRITTEN = "see [/ticket] x :smile: [red]"


@pytest.fixture
def place(tmp_path: Path) -> list[str]:
    make_receipts_lake(tmp_path)
    return ["--lake", str(tmp_path / "lake"), "--experiment", "shop", "--config", str(CONFIG_FILE)]


def test_a_reason_with_brackets_is_kept_and_printed(place: list[str]) -> None:
    rolled = CliRunner().invoke(app, ["rollback", "--to", "v0000", "--reason", f"{WRITTEN}\x1b[2J", *place])
    listed = CliRunner().invoke(app, ["policies", *place])

    assert (rolled.exit_code, listed.exit_code) == (0, 0)
    assert registry.current(LocalStore(Path(place[1])), "shop").name == "shop/v0000"
    for told in (rolled.stdout, listed.stdout):
        assert f"{WRITTEN}\\x1b[2J" in told
        assert "\x1b" not in told


def test_the_line_of_a_stage_holds_its_figures_as_they_are() -> None:
    figures = {"sources": WRITTEN, "share": 0.5}

    line = _line(
        {"commit": "a/b/0000", "stage": "import", "resumed": True, "figures": figures, "seconds": 1.0}
    )

    assert line.plain == f"a/b/0000 import was there  sources {WRITTEN}, share 0.5"


def test_a_tree_has_one_line_per_branch_whatever_it_holds(capsys: pytest.CaptureFixture[str]) -> None:
    tree = Branch("top")
    tree.add("because: [/bold] a\nb\x1b[2J")
    tree.add_rows([("x\x07", "1"), ("long one", "22")])

    print_tree(tree, out=Console(highlight=False))

    told = capsys.readouterr().out.splitlines()
    assert told == ["top", r"├─ because: [/bold] a\nb\x1b[2J", r"├─ x\x07      1", "└─ long one  22"]


def test_the_command_that_a_receipt_ends_with_can_be_pasted(place: list[str]) -> None:
    receipt = CliRunner().invoke(app, ["why", "v0001", *place]).stdout

    assert 'itpo sql -e shop "select * from policy_conversations' in receipt


def test_rows_of_the_lake_are_printed_in_the_form_that_was_asked_for(place: list[str]) -> None:
    asked = ["sql", "select 1 as a, null as b from range(3)", "--rows", "2", "--format", "csv", *place]

    done = CliRunner().invoke(app, asked)

    assert done.stdout == "a,b\n1,\n1,\n"
    assert "more than 2 rows" in done.stderr
