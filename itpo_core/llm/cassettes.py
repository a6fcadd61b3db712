"""Calls kept to be heard again without network or model: the same questions get the same answers.

A cassette is a bag of rows, sorted by key: the same calls give the same rows whatever threads ended first.
"""

import json
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import asdict, dataclass

from pydantic import TypeAdapter, ValidationError

from itpo_core.identifiers import stable_id
from itpo_core.llm.base import Call, LanguageModel, Question
from itpo_core.llm.tally import unasked


@dataclass(frozen=True, slots=True, order=True)
class CassetteRow:
    """One call, failed ones too: `key` is of the question and the model, `call_json` all of the `Call`."""

    key: str
    call_json: str


def question_key(question: Question, model_digest: str) -> str:
    """Identifies what was asked of whom."""
    asked = [
        [[each.role, each.content, each.tool_calls, each.tool_call_id] for each in question.messages],
        # The order of the schema's keys stays: a model that is held to it writes them in that order.
        question.answer_schema,
        question.seed,
        float(question.temperature),
        question.max_tokens,
    ]
    return stable_id("llm-call", model_digest, json.dumps(asked))


def call_json(call: Call) -> str:
    """A call as text: the same text for the same call."""
    return json.dumps(asdict(call), sort_keys=True, separators=(",", ":"), allow_nan=False)


def read_call(text: str) -> Call:
    """The call that `call_json` wrote. Raises ValueError, naming the place, for any other text."""
    try:
        return _CALL.validate_json(text)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise ValueError(f"no call of a cassette: {place or 'the text'}: {first['msg']}") from None


class Cassette:
    """Calls by key; may be used from many threads."""

    def __init__(
        self, rows: Iterable[CassetteRow] = (), *, on_new: Callable[[CassetteRow], None] | None = None
    ) -> None:
        """Of rows that were kept before, several cassettes' too; `on_new` is told every call after them, one
        at a time. Raises ValueError for a row that is no call and for two different calls under one key."""
        self._lock = threading.Lock()
        self._calls: dict[str, Call] = {}
        self._on_new: Callable[[CassetteRow], None] | None = None
        for row in rows:
            self.keep(row.key, read_call(row.call_json))
        self._on_new = on_new

    def __len__(self) -> int:
        return len(self._calls)

    def find(self, key: str) -> Call | None:
        """The call under this key, if there is one."""
        with self._lock:
            return self._calls.get(key)

    def keep(self, key: str, call: Call) -> None:
        """Keep a call. Raises ValueError where another one has the key."""
        with self._lock:
            is_new = key not in self._calls
            if self._calls.setdefault(key, call) != call:
                raise ValueError(f"two different calls under {key}: these cassettes are of different runs")
            if is_new and self._on_new is not None:
                self._on_new(CassetteRow(key, call_json(call)))

    def rows(self) -> list[CassetteRow]:
        """All of it, by key."""
        with self._lock:
            return sorted(CassetteRow(key, call_json(call)) for key, call in self._calls.items())


class Recording:
    """Asks `model` and keeps what became of it; what is on the cassette already is not asked again.

    An equal question that comes while the first is on its way waits for it.
    """

    def __init__(self, model: LanguageModel, cassette: Cassette) -> None:
        self.digest = model.digest
        self._model = model
        self._cassette = cassette
        self._lock = threading.Lock()
        self._flying: dict[str, Future[Call]] = {}

    def ask(self, question: Question) -> Call:
        """See `LanguageModel.ask`."""
        key = question_key(question, self.digest)
        with self._lock:
            kept = self._cassette.find(key)
            if kept is not None:
                return kept
            is_first = key not in self._flying
            future = self._flying.setdefault(key, Future())
        if is_first:
            self._settle(key, question, future=future)
        return future.result()

    def _settle(self, key: str, question: Question, *, future: "Future[Call]") -> None:
        try:
            call = self._model.ask(question)
            self._cassette.keep(key, call)
            future.set_result(call)
        finally:
            with self._lock:
                del self._flying[key]
            # After a defect, which is raised here, nobody may wait for ever.
            future.cancel()


class Replaying:
    """Answers from a cassette alone; `digest` is that of the model that was recorded."""

    def __init__(self, cassette: Cassette, *, digest: str) -> None:
        self.digest = digest
        self._cassette = cassette

    def ask(self, question: Question) -> Call:
        """See `LanguageModel.ask`: a question that was never recorded is a failed call."""
        key = question_key(question, self.digest)
        kept = self._cassette.find(key)
        return kept if kept is not None else unasked(self._missing(key))

    def _missing(self, key: str) -> str:
        return (
            f"question {key} is not among the {len(self._cassette)} calls of the cassette (model "
            f"{self.digest}): prompt, schema, seed or sampling changed since; record it again"
        )


_CALL = TypeAdapter(Call)
