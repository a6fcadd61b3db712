"""Pages after a forgetting: those of the lake rendered anew, and their copies for people."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from storage import commits
from storage.commits import Commit, CommitKey
from storage.listing import list_commits
from storage.manifests import parse_key
from storage.objects import ObjectStore
from tasks.context import Context
from tasks.options import Options
from tasks.report import INDEX, render_pages, reports_root

_PAGE = re.compile(r"iteration-(?P<iteration>\d{4})\.html")


class Pages:
    """Renders pages of any experiment of the lake with the settings that the command was given.

    `failures` are the pages that could not be rendered, by name, with the reason.
    """

    def __init__(self, options: Options) -> None:
        self._options = options
        self.failures: dict[str, str] = {}

    def render(self, commit: Commit) -> Mapping[str, bytes]:
        """The pages of a report as they are now; of every other commit none are made anew."""
        if commit.key.kind != "report":
            return {}
        try:
            pages = render_pages(self._context(commit.key))
        except Exception as problem:  # counted: whatever stops a page, the old one may not stay
            self.failures[commit.key.text] = f"{type(problem).__name__}: {problem}"
            return {name: _notice(commit.key) for name in commit.artifacts}
        return {name: text.encode() for name, text in pages.items()}

    def write_again(self, store: ObjectStore, removed: Sequence[Path], *, renewed: Sequence[str]) -> None:
        """Copy the new pages of the lake out, and render those anew that were never committed."""
        for text in renewed:
            key = parse_key(text)
            if key.kind == "report" and (reports_root() / key.experiment).is_dir():
                self._copy(store, key)
        for path in removed:
            if not path.exists():
                self._render_uncommitted(path)

    def _copy(self, store: ObjectStore, key: CommitKey) -> None:
        commit = commits.read(store, key)
        newest = max(each.key.iteration for each in list_commits(store, key.experiment) if _is_report(each))
        for name, entry in commit.artifacts.items():
            if name != INDEX or key.iteration == newest:
                path = reports_root() / key.experiment / name
                path.write_bytes(commits.checked_bytes(store, entry))

    def _render_uncommitted(self, path: Path) -> None:
        """A page from before the decision; the experiment's is that of the newest iteration beside it."""
        named = [_PAGE.fullmatch(page.name) for page in path.parent.glob("iteration-*.html")]
        own = _PAGE.fullmatch(path.name)
        numbers = [int(each["iteration"]) for each in ([own] if own else named) if each is not None]
        if numbers:
            key = CommitKey(path.parent.name, "report", max(numbers))
            pages = self.render(Commit(key, {}, {}, (), {}, ""))
            if path.name in pages:
                path.write_bytes(pages[path.name])

    def _context(self, key: CommitKey) -> Context:
        return Context(self._options.with_experiment(key.experiment).load(), key.iteration)


def _is_report(commit: Commit) -> bool:
    return commit.key.kind == "report"


def _notice(key: CommitKey) -> bytes:
    return (
        "<!doctype html><html lang='en'><meta charset='utf-8'><title>Page removed</title><p>"
        f"A page of {key.text} stood here. It showed a conversation that was removed from the lake, and "
        "could not be rendered anew; the figures are in the lake: itpo sql</p></html>"
    ).encode()
