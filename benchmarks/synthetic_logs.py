"""Chat logs of any size without a model: OpenAI-style JSONL with the damage that real exports have."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.told_numbers import number_of_no_person, personal_datum

TURNS_PER_CONVERSATION = 6
VOCABULARY = 8_000
SYSTEM_WORDS = 60
# Words of a message: median and spread of a log-normal; medians of about 150 and 420 characters.
USER_WORDS, ASSISTANT_WORDS, SPREAD = 25.0, 70.0, 0.6
TOOL_SHARE, UNSCORED_SHARE = 0.05, 0.03
# After every so many conversations one more line: a repetition, a cut line, another body under a known id.
REPEATED_EVERY, CUT_EVERY, REUSED_EVERY = 200, 500, 1_000
# Of logs that tell numbers: messages with a date, price or order, and conversations with personal data.
NUMBERED_SHARE, PERSONAL_SHARE = 1 / 3, 0.24


@dataclass(frozen=True, slots=True)
class LogSizes:
    """Good conversations of six turns, spread over so many files."""

    conversations: int
    files: int = 4
    seed: int = 0
    words: int = 2_000_000  # of the text that every message is a piece of
    tells_numbers: bool = False

    @property
    def turns(self) -> int:
        """Assistant turns of the good conversations."""
        return self.conversations * TURNS_PER_CONVERSATION

    @property
    def repeated(self) -> int:
        """Lines that repeat the line before them."""
        return self.conversations // REPEATED_EVERY

    @property
    def damaged(self) -> int:
        """Lines that were cut, and lines that say something else under an id that is taken."""
        return self.conversations // CUT_EVERY + self.conversations // REUSED_EVERY

    @property
    def lines(self) -> int:
        """All lines of all files."""
        return self.conversations + self.repeated + self.damaged


@dataclass(frozen=True, slots=True)
class Words:
    """A long text of invented words, of which every message is a piece, and where its words begin."""

    text: str
    starts: np.ndarray

    def piece(self, begin: int, count: int) -> str:
        """So many words, from the one with this number on."""
        return self.text[self.starts[begin] : self.starts[begin + count] - 1]


def write_logs(folder: Path, sizes: LogSizes) -> list[Path]:
    """Write the files, the same bytes for the same sizes; their paths in order."""
    draw = np.random.default_rng(sizes.seed)
    lines = _lines(sizes, word_pool(draw, sizes.words), draw)
    share = -(-sizes.lines // sizes.files)
    paths = [folder / f"chats-{index:02d}.jsonl" for index in range(sizes.files)]
    for path in paths:
        with open(path, "w", encoding="utf-8") as file:
            file.writelines(line for _, line in zip(range(share), lines, strict=False))
    return paths


def _lines(sizes: LogSizes, words: Words, draw: np.random.Generator) -> Iterator[str]:
    for number in range(1, sizes.conversations + 1):
        line = _line(number, words, draw, sizes=sizes)
        yield line
        if number % REPEATED_EVERY == 0:
            yield line
        if number % CUT_EVERY == 0:
            yield line[: len(line) // 2] + "\n"
        if number % REUSED_EVERY == 0:
            yield _line(number, words, draw, sizes=sizes)


def _line(number: int, words: Words, draw: np.random.Generator, *, sizes: LogSizes) -> str:
    messages = _messages(words, draw)
    if sizes.tells_numbers:
        _tell_numbers(messages, np.random.default_rng([sizes.seed, number]))
    row = {
        "id": f"chat-{number:08d}",
        "messages": messages,
        "outcome": None if draw.random() < UNSCORED_SHARE else float(draw.random() < 0.4),
        "metadata": {"channel": "web", "build": f"2026.{number % 40}", "latency_ms": number % 900},
    }
    return json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n"


def _messages(words: Words, draw: np.random.Generator) -> list[dict[str, object]]:
    heard = _lengths(draw, USER_WORDS)
    said = _lengths(draw, ASSISTANT_WORDS)
    begins = draw.integers(0, len(words.starts) - 2_000, 2 * TURNS_PER_CONVERSATION)
    messages: list[dict[str, object]] = [{"role": "system", "content": words.piece(0, SYSTEM_WORDS)}]
    for turn in range(TURNS_PER_CONVERSATION):
        messages.append({"role": "user", "content": words.piece(begins[2 * turn], heard[turn])})
        messages.append({"role": "assistant", "content": words.piece(begins[2 * turn + 1], said[turn])})
    return messages if draw.random() >= TOOL_SHARE else [*messages[:2], *_tool_use(words), *messages[3:]]


def _tell_numbers(messages: list[dict[str, object]], draw: np.random.Generator) -> None:
    """Put numbers into what users and the assistant say, and personal data into some conversations."""
    texts = [each for each in messages[1:] if isinstance(each["content"], str)]
    for message in texts:
        if draw.random() < NUMBERED_SHARE:
            message["content"] = _put(str(message["content"]), number_of_no_person(draw), draw)
    if draw.random() < PERSONAL_SHARE:
        for place in draw.integers(0, len(texts), draw.integers(1, 3)):
            texts[place]["content"] = _put(str(texts[place]["content"]), personal_datum(draw), draw)


def _put(text: str, piece: str, draw: np.random.Generator) -> str:
    """The piece between two words of the text."""
    place = text.find(" ", int(draw.integers(0, len(text) + 1)))
    return f"{text} {piece}" if place < 0 else f"{text[:place]} {piece}{text[place:]}"


def _tool_use(words: Words) -> list[dict[str, object]]:
    """A call in place of the first answer, and its result; the user goes on from there."""
    call = {"name": "look_up_order", "arguments": json.dumps({"order": 17})}
    return [
        {"role": "assistant", "content": None, "tool_calls": [{"id": "call-1", "function": call}]},
        {"role": "tool", "tool_call_id": "call-1", "content": words.piece(500, 20)},
    ]


def _lengths(draw: np.random.Generator, median: float) -> np.ndarray:
    lengths = median * np.exp(SPREAD * draw.normal(size=TURNS_PER_CONVERSATION))
    return np.clip(lengths.astype(int), 1, 1_000)


def word_pool(draw: np.random.Generator, count: int) -> Words:
    """Words of two to nine letters, used as unevenly as real ones (Zipf)."""
    letters = np.array(list("etaoinshrdlcumwfgypbvk"))
    lengths = np.sort(draw.integers(2, 10, VOCABULARY))  # frequent words are short
    vocabulary = np.array(["".join(draw.choice(letters, length)) for length in lengths])
    weights = 1.0 / np.arange(3, VOCABULARY + 3)
    chosen = vocabulary[draw.choice(VOCABULARY, count, p=weights / weights.sum())]
    starts = np.concatenate([[0], np.cumsum(np.char.str_len(chosen) + 1)])
    return Words(" ".join(chosen), starts)
