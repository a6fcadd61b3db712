"""Placeholders in the place of personal data: typed, and the same for the same value of one conversation."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from itpo_core.logs.parsed import ParsedConversation, Suggestion
from itpo_core.logs.personal_data import Found, Search, found_in
from itpo_core.logs.personal_data_text import worth_a_search
from itpo_core.logs.talks import opening_digest
from itpo_core.types import Message, Outcome, Unscored

TAIL = 160  # characters of what was said before that may say what a number is
_PLACEHOLDER = re.compile(r"\[(email|phone|card|iban|national id|ip) (\d+)\]")
_QUOTED = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\"""")
_TELLING = re.compile(r"[\d@\\]")
_HUMP = re.compile(r"(?<=[a-z])(?=[A-Z])")  # phoneNumber says phone
_JSON_STARTS = ("{", "[")


class Masks:
    """The placeholders of one conversation. Numbers that its texts hold already are not given again."""

    def __init__(self, search: Search, texts: Iterable[str]) -> None:
        """`texts` are all of the conversation; they are looked at once something is found."""
        self.search = search
        self._texts = tuple(texts)  # no generator: masks may be carried to another process
        self._last: Counter[str] = Counter()
        self._named: dict[tuple[str, str], str] = {}
        self._surfaces: dict[str, str] = {}
        self.counts: Counter[str] = Counter()  # places by kind

    def text(self, text: str, *, before: str = "") -> str:
        """The text without personal data, else unchanged; again and again, until nothing is found in it."""
        while found := found_in(text, self.search, before=before):
            text = self._replaced(text, found)
        return text

    def known(self, text: str) -> str:
        """The text without what was found elsewhere in the conversation, wherever it stands."""
        for surface, placeholder in self._surfaces.items():
            text = text.replace(surface, placeholder)
        return text

    def _replaced(self, text: str, found: Sequence[Found]) -> str:
        parts, position = [], 0
        for each in found:
            placeholder = self._placeholder(each)
            self._surfaces[text[each.start : each.end]] = placeholder
            self.counts[each.kind.value] += 1
            parts += [text[position : each.start], placeholder]
            position = each.end
        return "".join([*parts, text[position:]])

    def _placeholder(self, found: Found) -> str:
        if not self._named:
            self._last.update(_highest(self._texts))
        key = (found.kind.value, found.value)
        if key not in self._named:
            self._last[found.kind.value] += 1
            self._named[key] = f"[{found.kind.value} {self._last[found.kind.value]}]"
        return self._named[key]


class Walk:
    """Masks texts, whole numbers and keys of one JSON value; keys and texts before say what a number is."""

    def __init__(self, masks: Masks, *, also_known: bool = False) -> None:
        """`also_known` takes out what was found elsewhere too, without a word beside it."""
        self._masks = masks
        self._also_known = also_known
        self._tail = ""

    def value(self, value: object, *, path: str = "") -> object:
        """The value without personal data, in the same shape; itself where there is none."""
        if isinstance(value, str):
            return self._text(value, path)
        if isinstance(value, dict):
            return {self._key(key): self.value(each, path=_path(path, key)) for key, each in value.items()}
        if isinstance(value, list | tuple):
            return [self.value(each, path=path) for each in value]
        if isinstance(value, int) and not isinstance(value, bool):
            return self._whole_number(value, path)
        return value

    def encoded(self, text: str, *, path: str = "") -> str:
        """JSON text without personal data, encoded anew only where some was found; other text as text."""
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            return self._plain(text, path)
        masked = self.value(value, path=path)
        return text if masked == value else json.dumps(masked, ensure_ascii=False, separators=(",", ":"))

    def _text(self, text: str, path: str) -> str:
        inside = text.lstrip().startswith(_JSON_STARTS)
        return self.encoded(text, path=path) if inside else self._plain(text, path)

    def _plain(self, text: str, path: str) -> str:
        known = self._masks.known(text) if self._also_known else text
        masked = self._masks.text(known, before=f"{self._tail}\n{path}")
        self._tail = f"{self._tail} {masked[-TAIL:]}"[-TAIL:]
        return masked

    def _key(self, key: object) -> str:
        return self._masks.text(str(key))

    def _whole_number(self, number: int, path: str) -> object:
        text = str(number)
        masked = self._plain(text, path)
        return number if masked == text else masked


@dataclass(frozen=True, slots=True)
class Masked:
    """A conversation without personal data, and its placeholders; the very same one where there are none."""

    conversation: ParsedConversation
    masks: Masks


def masked(parsed: ParsedConversation, search: Search) -> Masked:
    """Mask texts, tool calls, suggestions and facts. The user's id, by which `forget` works, stays."""
    masks = Masks(search, _texts(parsed))
    if not any(worth_a_search(text, addresses=search.ip_addresses) for text in _all_texts(parsed)):
        return Masked(parsed, masks)
    messages = _messages(parsed.messages, masks)
    changed = replace(
        parsed,
        messages=messages,
        suggestions=_suggestions(parsed, messages, masks),
        latent_json=_encoded(parsed.latent_json, masks),
        persona_id=masks.text(parsed.persona_id),
        domain=masks.text(parsed.domain),
        outcome=_outcome(parsed.outcome, masks),
    )
    changed = replace(changed, scenario_id=_task(parsed, messages, masks))
    return Masked(parsed if changed == parsed else changed, masks)


def without_values(detail: str, search: Search) -> str:
    """What was wrong with a row, without stretches of it that might tell something: also halves of values."""
    safe = _QUOTED.sub(lambda match: "'…'" if _TELLING.search(match[0]) else match[0], detail)
    return Masks(search, ()).text(safe)


def _highest(texts: Iterable[str]) -> dict[str, int]:
    """By kind the highest number of a placeholder in the texts."""
    highest: dict[str, int] = {}
    for kind, number in (match for text in texts for match in _PLACEHOLDER.findall(text)):
        highest[kind] = max(highest.get(kind, 0), int(number))
    return highest


def _texts(parsed: ParsedConversation) -> Iterable[str]:
    yield from (message.content for message in parsed.messages)
    yield from (message.tool_calls for message in parsed.messages if message.tool_calls is not None)
    yield from (suggestion.text for suggestion in parsed.suggestions if suggestion is not None)
    yield parsed.latent_json


def _all_texts(parsed: ParsedConversation) -> Iterable[str]:
    yield from _texts(parsed)
    yield from (parsed.persona_id, parsed.domain, parsed.scenario_id or "")
    if isinstance(parsed.outcome, Unscored):
        yield parsed.outcome.reason


def _messages(messages: Sequence[Message], masks: Masks) -> tuple[Message, ...]:
    done: list[Message] = []
    before = ""
    for message in messages:
        content = masks.text(message.content, before=before)
        calls = message.tool_calls and _encoded(message.tool_calls, masks)
        same = content == message.content and calls == message.tool_calls
        done.append(message if same else replace(message, content=content, tool_calls=calls))
        before = content[-TAIL:]
    return tuple(done)


def _encoded(text: str, masks: Masks) -> str:
    """JSON text without personal data. Without escapes its values stand in it letter for letter."""
    if "\\" not in text and not worth_a_search(text, addresses=masks.search.ip_addresses):
        return text
    return Walk(masks).encoded(text)


def _suggestions(
    parsed: ParsedConversation, messages: Sequence[Message], masks: Masks
) -> tuple[Suggestion | None, ...]:
    """What was sent as it had been suggested is masked as it was sent, and not counted twice."""
    if not any(parsed.suggestions):
        return parsed.suggestions
    sent = [
        (old.content, new.content)
        for old, new in zip(parsed.messages, messages, strict=True)
        if old.role == "assistant"
    ]
    return tuple(
        each and replace(each, text=new if each.text == old else masks.text(each.text))
        for each, (old, new) in zip(parsed.suggestions, sent, strict=True)
    )


def _outcome(outcome: Outcome, masks: Masks) -> Outcome:
    if not isinstance(outcome, Unscored):
        return outcome
    reason = masks.text(outcome.reason)
    return outcome if reason == outcome.reason else replace(outcome, reason=reason)


def _task(parsed: ParsedConversation, messages: Sequence[Message], masks: Masks) -> str | None:
    """The task. Where it is a hash of how they opened, then of how they open now; a personal one is none."""
    task = parsed.scenario_id
    if task is None or found_in(task, masks.search):
        return None
    if messages == parsed.messages or "/" not in task:
        return task
    return task.replace(opening_digest(parsed.messages), opening_digest(messages))


def _path(path: str, key: object) -> str:
    return f"{path} {_HUMP.sub(' ', str(key))}"[-TAIL:]
