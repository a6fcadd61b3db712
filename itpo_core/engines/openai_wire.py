"""What goes over the wire to an OpenAI-compatible server and what comes back: pure, no network.

Three dialects. `chat` asks any server for text. `chat_tokens` asks the same of servers that also return
token ids and log-probabilities (vLLM's `return_token_ids`); the server tokenises what was said before, which
may come out in another way. `tokens` sends ids and gets ids, so that nothing is tokenised twice.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from itpo_core.engines.token_rows import Ask, Heard
from itpo_core.types import Message

Dialect = Literal["chat", "chat_tokens", "tokens"]
Body = dict[str, object]
# The strongest bias that the interface knows; beside it a token's chance is below any float32's rounding.
NEVER = -100
MAX_SEED = 2**31 - 1
SHOWN_CHARACTERS = 200


Answer = TypeVar("Answer", bound="_Loose")


class WireError(ValueError):
    """An answer that is no usable answer; asking again would not help."""


class GarbledError(WireError):
    """An answer that broke on its way, such as half a document; asking again may help."""


@dataclass(frozen=True, slots=True)
class Wire:
    """One dialect: where it asks, what it sends, how it reads an answer."""

    path: str
    body: Callable[[Ask], Body]
    read: Callable[[bytes, Ask], Heard]


class _Loose(BaseModel):
    """Servers add fields of their own; those that are read have to be of the right type."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)


class _Usage(_Loose):
    prompt_tokens: int = Field(default=0, ge=0)
    completion_tokens: int = Field(default=0, ge=0)


class _TokenLogprob(_Loose):
    logprob: float


class _ChatLogprobs(_Loose):
    content: list[_TokenLogprob] | None = None


class _ChatMessage(_Loose):
    content: str | None = None


class _ChatChoice(_Loose):
    message: _ChatMessage
    finish_reason: str | None = None
    logprobs: _ChatLogprobs | None = None
    token_ids: list[int] | None = None


class _ChatAnswer(_Loose):
    model: str
    choices: list[_ChatChoice]
    usage: _Usage = _Usage()
    prompt_token_ids: list[int] | None = None


class _TextLogprobs(_Loose):
    token_logprobs: list[float]


class _TextChoice(_Loose):
    text: str
    finish_reason: str | None = None
    logprobs: _TextLogprobs | None = None
    token_ids: list[int] | None = None
    prompt_token_ids: list[int] | None = None


class _TextAnswer(_Loose):
    model: str
    choices: list[_TextChoice]
    usage: _Usage = _Usage()


def chat_body(ask: Ask) -> Body:
    """Plain chat: no field that some server might not know."""
    return {**_common(ask), "messages": [_message(message) for message in ask.messages]}


def chat_tokens_body(ask: Ask) -> Body:
    """Chat with ids and log-probabilities."""
    return {**chat_body(ask), **_exact(ask), "logprobs": True}


def tokens_body(ask: Ask) -> Body:
    """The stream of ids to be gone on with."""
    return {**_common(ask), **_exact(ask), "prompt": list(ask.stream_ids), "logprobs": 0}


def _common(ask: Ask) -> Body:
    return {
        "model": ask.model,
        "max_tokens": ask.max_new_tokens,
        "temperature": ask.temperature,
        "top_p": ask.top_p,
        "seed": ask.seed % MAX_SEED,
        "n": 1,
        "stream": False,
    }


def _exact(ask: Ask) -> Body:
    # Only the chat format's end of turn ends a turn, whatever the model's folder calls an end of sequence.
    biases = {str(index): NEVER for index in ask.suppressed_ids}
    return {
        "return_token_ids": True,
        "stop_token_ids": [ask.end_of_turn_id],
        "ignore_eos": True,
        "skip_special_tokens": True,
        # Else the served folder's generation settings would cut or bend the distribution unasked.
        "top_k": -1,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
        **({"logit_bias": biases} if biases else {}),
    }


def _message(message: Message) -> Body:
    calls = {} if message.tool_calls is None else {"tool_calls": json.loads(message.tool_calls)}
    answered = {} if message.tool_call_id is None else {"tool_call_id": message.tool_call_id}
    return {"role": message.role.value, "content": message.content, **calls, **answered}


def read_chat(raw: bytes, ask: Ask) -> Heard:
    """A chat answer. Raises WireError, naming the value, for another model, no choice, or an empty reply."""
    heard = read_chat_tokens(raw, ask)
    if not heard.text.strip():
        raise WireError("the reply is empty: raise sampling.max_new_tokens, or look at the server's log")
    return replace(heard, prompt_ids=None, response_ids=None, logprobs=None)


def read_chat_tokens(raw: bytes, ask: Ask) -> Heard:
    """A chat answer with whatever ids and log-probabilities it has; WireError as `read_chat`."""
    answer = _parsed(raw, _ChatAnswer)
    _check_model(answer.model, ask)
    choice = _only(answer.choices)
    content = None if choice.logprobs is None else choice.logprobs.content
    return Heard(
        text=choice.message.content or "",
        stopped=_stopped(choice.finish_reason),
        prompt_ids=_ids(answer.prompt_token_ids),
        response_ids=_ids(choice.token_ids),
        logprobs=None if content is None else tuple(each.logprob for each in content),
        prompt_tokens=answer.usage.prompt_tokens,
        response_tokens=answer.usage.completion_tokens,
    )


def read_tokens(raw: bytes, ask: Ask) -> Heard:
    """A completion; a server that does not repeat the prompt is taken at its word that it read it."""
    answer = _parsed(raw, _TextAnswer)
    _check_model(answer.model, ask)
    choice = _only(answer.choices)
    return Heard(
        text=choice.text,
        stopped=_stopped(choice.finish_reason),
        prompt_ids=ask.stream_ids if choice.prompt_token_ids is None else tuple(choice.prompt_token_ids),
        response_ids=_ids(choice.token_ids),
        logprobs=None if choice.logprobs is None else tuple(choice.logprobs.token_logprobs),
        prompt_tokens=answer.usage.prompt_tokens,
        response_tokens=answer.usage.completion_tokens,
    )


def error_text(raw: bytes) -> str:
    """What an error answer says, shortened to one line."""
    return " ".join(raw[: 4 * SHOWN_CHARACTERS].decode(errors="replace").split())[:SHOWN_CHARACTERS]


WIRES: Mapping[Dialect, Wire] = MappingProxyType(
    {
        "chat": Wire("/chat/completions", chat_body, read_chat),
        "chat_tokens": Wire("/chat/completions", chat_tokens_body, read_chat_tokens),
        "tokens": Wire("/completions", tokens_body, read_tokens),
    }
)


def _parsed(raw: bytes, shape: type[Answer]) -> Answer:
    try:
        document = json.loads(raw)
    except ValueError:
        raise GarbledError(f"no JSON but {error_text(raw)!r} ({len(raw)} bytes)") from None
    try:
        return shape.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise WireError(f"the answer's {place or 'whole'}: {first['msg']}") from None


def _check_model(model: str, ask: Ask) -> None:
    # A name may stand for its newest dated release, as the public services do it.
    if not re.fullmatch(re.escape(ask.model) + r"(-\d[\d-]*)?", model):
        raise WireError(
            f"asked model {ask.model!r}, model {model!r} answered: set engine.model to what it serves"
        )


def _only(choices: Sequence[Answer]) -> Answer:
    if len(choices) != 1:
        raise WireError(f"{len(choices)} choices where one was asked for")
    return choices[0]


def _stopped(finish_reason: str | None) -> bool:
    """Whether the turn came to its own end. Raises WireError when it ended neither so nor at the limit."""
    if finish_reason not in ("stop", "length"):
        raise WireError(f"finish_reason {finish_reason!r}: a turn ends with 'stop' or 'length'")
    return finish_reason == "stop"


def _ids(ids: Sequence[int] | None) -> tuple[int, ...] | None:
    return None if ids is None else tuple(ids)
