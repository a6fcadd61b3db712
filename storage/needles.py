"""Traces of a conversation in what is no table: its id, its user's id and what was said, however written."""

import gzip
import html
import json
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

PRINTED_ID = 12  # pages name a conversation by so many characters of its id
DISTINCTIVE = 24  # a shorter message may be anybody's
BARE_USER = 6  # a shorter user id is only looked for under its JSON name: "7" stands everywhere
USER_NAMES = ("user", "user_id")
# What is searched as text; the rest is weights, and tables, which are read as tables.
TEXTUAL = frozenset({".json", ".jsonl", ".html", ".md", ".csv", ".svg", ".txt", ".log", ".gz", ".toml", ""})
_WORDS = re.compile(r"[\w-]+")
_PLAIN = re.compile(r"[\w-]+\Z")


@dataclass(frozen=True, slots=True)
class Needles:
    """What to look for: ids of conversations, the id of a user, and whole messages."""

    ids: frozenset[str]
    user: str | None
    texts: frozenset[str]

    def are_in(self, data: bytes, *, name: str) -> bool:
        """Whether an object or file of this name shows any of them; weights and tables are not searched."""
        if not is_textual(name):
            return False
        text = _readable(data)
        return self.name_in(text) or any(form in text for said in self.texts for form in forms(said))

    def name_in(self, text: str) -> bool:
        """Whether the text holds one of the ids as a word of its own."""
        printed = {name[:PRINTED_ID] for name in self.ids}
        odd = [name for name in self.ids if not _PLAIN.match(name)]
        return (
            not (self.ids | printed).isdisjoint(_WORDS.findall(text))
            or any(name in text for name in odd)
            or (self.user is not None and user_in(text, self.user))
        )


def is_textual(name: str) -> bool:
    """Whether an object or file of this name is searched as text."""
    return PurePosixPath(name).suffix.lower() in TEXTUAL


def forms(said: str) -> set[str]:
    """A text as it stands in plain text, and in JSON with and without its special characters escaped."""
    return {said, json.dumps(said)[1:-1], json.dumps(said, ensure_ascii=False)[1:-1]}


def user_in(text: str, user: str, *, names: Sequence[str] = USER_NAMES) -> bool:
    """Whether the text holds the user's id: under one of these JSON names, or as a long enough word."""
    named = "|".join(sorted({re.escape(name) for name in names}))
    given = rf'"(?:{named})\\?"\s*:\s*(?:\\?")?{re.escape(user)}(?![\w-])'
    alone = rf"(?<![\w-]){re.escape(user)}(?![\w-])"
    return any(
        re.search(pattern, text) is not None for pattern in (given, *([alone] if _is_rare(user) else []))
    )


def _is_rare(user: str) -> bool:
    return len(user) >= BARE_USER


def _readable(data: bytes) -> str:
    """The text of the bytes, unpacked, with and without the escapes of HTML."""
    if data[:2] == b"\x1f\x8b":
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error):
            return ""  # not a gzip file after all
    text = data.decode("utf-8", "replace")
    return f"{text}\n{html.unescape(text)}" if "&" in text else text
