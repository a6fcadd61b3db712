"""`itpo forget` on a small shop: pages, scratch, copies, questions; gone everywhere, and nobody else is."""

import html
import io
import json
import os
import shutil
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from storage import commits, leases
from storage.deep_verification import verify_deep
from storage.exclusion import SILENT_S
from storage.forget_look import look
from storage.needles import Needles
from storage.objects import LakeStore
from storage.processes import Process
from storage.stores import open_store
from storage.tombstones import BusyLake, Selector, new_marks, tombstones
from tasks import forget, report
from tasks.__main__ import app
from tasks.config import ConfigError
from tasks.context import Context
from tasks.forget_local import Traces, remove_local_traces
from tasks.options import Options
from tests.builders import CONFIG_FILE, make_context, make_conversation, make_lake

SECRET = "call me at nine , it's <urgent> & private"
GONE, OTHER = "0123456789abcdef" * 2, "f" * 32
WHY = "its user asked for it"
pytestmark = pytest.mark.slow  # whole pages are rendered, twice


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A decided iteration whose report, committed and copied out, shows two conversations."""
    folder = tmp_path_factory.mktemp("template")
    spoken = [
        make_conversation(GONE, said=("hi", "which color ?", SECRET, "take this one")),
        make_conversation(OTHER, outcome=0.0),
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ITPO_REPORTS", str(folder / "reports"))
        report.run(make_lake(folder, spoken=spoken))
    return folder


@pytest.fixture
def shop(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Context:
    """A copy of it, with its own scratch."""
    monkeypatch.setenv("ITPO_WORK", str(tmp_path / "work"))
    monkeypatch.setenv("ITPO_REPORTS", str(tmp_path / "reports"))
    shutil.copytree(template, tmp_path, dirs_exist_ok=True)
    return make_context(tmp_path, iteration=1)


def options_of(context: Context) -> Options:
    """The options with which the shop was made."""
    return Options(CONFIG_FILE, {"experiment": "shop", "lake.root": context.config.lake.root})


def forgotten(context: Context, *, yes: bool = True, dry_run: bool = False) -> int:
    """The command on the conversation."""
    selector = Selector(conversations=(GONE,))
    return forget.run(options_of(context), selector, reason=WHY, dry_run=dry_run, yes=yes)


def shown_in(store: LakeStore, folder: Path) -> list[str]:
    """Objects and files that show the words or the name, as they stand or as HTML or JSON writes them."""
    words = (GONE[:12], SECRET, html.escape(SECRET), json.dumps(SECRET)[1:-1])
    objects = [(key, store.get(key)) for key in store.list("") if not key.endswith(".parquet")]
    files = [(str(path), path.read_bytes()) for path in folder.rglob("*") if path.is_file()]
    texts = [(name, data.decode("utf-8", "replace")) for name, data in (*objects, *files)]
    return [name for name, text in texts if any(w in text or w in html.unescape(text) for w in words)]


def test_pages_in_the_lake_and_their_copies_lose_the_conversation_and_keep_the_other(
    shop: Context, tmp_path: Path
) -> None:
    before = shown_in(shop.store, tmp_path / "reports")

    code = forgotten(shop)

    assert len(before) == 2
    assert code == 0
    assert shown_in(shop.store, tmp_path / "reports") == []
    page = (tmp_path / "reports" / "shop" / "iteration-0001.html").read_text()
    assert OTHER[:12] in page
    entry = commits.read(shop.store, shop.key("report")).artifacts["iteration-0001.html"]
    assert commits.checked_bytes(shop.store, entry).decode() == page
    assert verify_deep(shop.store, None).problems == ()


def test_scratch_and_cached_copies_with_a_trace_go_and_others_stay(shop: Context, tmp_path: Path) -> None:
    scratch, cache = tmp_path / "work" / "shop" / "iteration=0001", tmp_path / "work" / "cache" / "lake"
    turns = next(key for key in shop.store.list("shop/rollouts/iteration=0001/") if "/turns-" in key)
    for path, data in (
        (scratch / "logs" / "said.jsonl", json.dumps({"content": SECRET}).encode()),
        (scratch / "logs" / "other.jsonl", b'{"content": "hi"}'),
        (cache / turns, shop.store.get(turns)),
        (tmp_path / "work" / "mine" / "said.txt", SECRET.encode()),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    found = look(shop.store, Selector(conversations=(GONE,)))

    remove_local_traces(shop.store, Traces(found.meant.needles, found.marks))

    left = {path.name for path in (tmp_path / "work").rglob("*") if path.is_file()}
    assert left == {"other.jsonl", "said.txt"}


def test_a_page_that_was_never_committed_is_rendered_anew(shop: Context, tmp_path: Path) -> None:
    folder = tmp_path / "reports" / "shop"
    committed = commits.read(shop.store, shop.key("report"))
    for entry in committed.artifacts.values():
        shop.store.delete(entry.key)
    for key in shop.store.list("shop/report/"):
        shop.store.delete(key)

    forgotten(shop)

    assert shown_in(shop.store, folder) == []
    assert OTHER[:12] in (folder / "iteration-0001.html").read_text()
    assert (folder / "index.html").is_file()


def test_a_page_that_cannot_be_rendered_says_so_and_shows_nothing(
    shop: Context, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rollouts = commits.read(shop.store, shop.key("rollouts", 0))
    shop.store.delete(next(entry.key for entry in rollouts.files if entry.table == "turns"))

    forgotten(shop)

    assert "could not be rendered anew" in capsys.readouterr().out
    assert shown_in(shop.store, tmp_path / "reports") == []


def test_a_dry_run_changes_nothing_and_lists_rows_and_who_learned(
    shop: Context, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {key: shop.store.get(key) for key in shop.store.list("")}

    code = forgotten(shop, dry_run=True)

    printed = capsys.readouterr().out
    assert code == 0
    assert {key: shop.store.get(key) for key in shop.store.list("")} == before
    assert "conversations: 1" in printed
    assert SECRET not in printed


def test_without_a_terminal_nothing_is_removed_unasked(shop: Context) -> None:
    with pytest.raises(ConfigError, match="say --yes"):
        forgotten(shop, yes=False)

    assert tombstones(shop.store) == []


def test_while_a_stage_is_at_work_nothing_is_removed(shop: Context) -> None:
    elsewhere = leases.Holder("attempt", Process("another-machine", "boot", 1, "0"))
    place = leases.lease_place("shop", "collect-0002")
    leases.acquire(
        shop.store, place, holder=elsewhere, patience=leases.Patience(), on_wait=lambda holder: None
    )

    with pytest.raises(BusyLake, match="collect-0002"):
        forgotten(shop)


def test_a_lease_that_nobody_renews_holds_nobody_up(shop: Context) -> None:
    elsewhere = leases.Holder("attempt", Process("another-machine", "boot", 1, "0"))
    place = leases.lease_place("shop", "collect-0002")
    leases.acquire(
        shop.store, place, holder=elsewhere, patience=leases.Patience(), on_wait=lambda holder: None
    )
    long_ago = time.time() - 2 * SILENT_S
    os.utime(Path(shop.config.lake.root) / place, (long_ago, long_ago))

    assert forgotten(shop, dry_run=False) == 0


class Person(io.StringIO):
    """Somebody at a terminal who says yes, after a stage has begun."""

    def __init__(self, store: LakeStore) -> None:
        super().__init__("y\n")
        self._store = store

    def isatty(self) -> bool:
        """It is one."""
        return True

    def readline(self, size: int | None = -1, /) -> str:
        """The answer, late."""
        elsewhere = leases.Holder("attempt", Process("another-machine", "boot", 1, "0"))
        place = leases.lease_place("shop", "collect-0002")
        leases.acquire(
            self._store, place, holder=elsewhere, patience=leases.Patience(), on_wait=lambda holder: None
        )
        return super().readline(-1 if size is None else size)


def test_a_stage_that_began_while_people_were_asked_is_seen(
    shop: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", Person(shop.store))

    with pytest.raises(BusyLake, match="collect-0002"):
        forgotten(shop, yes=False)

    assert shop.store.list("_tombstones/") == []


def test_weights_are_not_even_opened(tmp_path: Path) -> None:
    no_file = tmp_path / "model.safetensors"
    no_file.mkdir()
    traces = Traces(Needles(frozenset({GONE}), None, frozenset()), new_marks([GONE]))

    assert not traces.are_in(no_file)


def test_a_reason_may_not_name_whom_it_is_about() -> None:
    with pytest.raises(ConfigError, match="--reason is kept"):
        forget.check_reason("user 7 asked", Selector(user="7"))
    forget.check_reason("ticket 77 asked", Selector(user="7"))


def test_the_command_says_what_is_missing(shop: Context) -> None:
    answer = CliRunner().invoke(app, ["forget", "--reason", WHY, "--lake", shop.config.lake.root])

    assert isinstance(answer.exception, ConfigError)
    assert "--conversation ID" in str(answer.exception)


def test_an_id_that_is_nowhere_ends_with_one(shop: Context) -> None:
    options = ["--reason", WHY, "--yes", "--lake", shop.config.lake.root]

    answer = CliRunner().invoke(app, ["forget", "--conversation", "a" * 32, *options])

    assert (answer.exit_code, "holds no conversation" in answer.output) == (1, True)
    assert tombstones(open_store(shop.config.lake.root)) == []
