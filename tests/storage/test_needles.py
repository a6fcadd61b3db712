"""Words are found however they are written, and not where others only look alike."""

import gzip
import html
import json

import pytest

from storage.needles import Needles, user_in

SAID = 'she said "nine o\'clock" & left, für immer'
NAME = "0123456789abcdef" * 2
NEEDLES = Needles(frozenset({NAME}), "user-4711", frozenset({SAID}))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("page.html", html.escape(SAID)),
        ("page.html", f"<h3>{NAME[:12]}</h3>"),
        ("log.jsonl", json.dumps({"content": SAID})),
        ("log.jsonl", json.dumps({"content": SAID}, ensure_ascii=False)),
        ("facts.json", f"(conversation_id={NAME!r}, turn_index=0)"),
        ("notes", "user-4711 called"),
        ("said.txt", SAID),
    ],
)
def test_a_trace_is_found_in_plain_text_html_and_json(name: str, text: str) -> None:
    assert NEEDLES.are_in(text.encode(), name=name)


def test_a_trace_is_found_in_a_packed_file() -> None:
    assert NEEDLES.are_in(gzip.compress(SAID.encode()), name="log.jsonl.gz")


@pytest.mark.parametrize("text", ["user-47110 called", "a-user-4711-b", NAME[:11], f"{NAME}0", "nine"])
def test_what_is_longer_or_shorter_is_somebody_else(text: str) -> None:
    assert not NEEDLES.are_in(text.encode(), name="said.txt")


def test_weights_are_not_searched() -> None:
    assert not NEEDLES.are_in(SAID.encode(), name="model.safetensors")


@pytest.mark.parametrize(
    ("text", "is_named"),
    [
        ('{"user": "7"}', True),
        ('{"metadata": {"user_id": 7}}', True),
        (r'"{\"user\": \"7\"}"', True),
        ('{"user": "77"}', False),
        ('{"quantity": "7"}', False),
        ("7 bikes", False),
    ],
)
def test_a_short_user_id_counts_only_under_its_name(text: str, is_named: bool) -> None:
    assert user_in(text, "7") is is_named
