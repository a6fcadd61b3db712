"""What a log row becomes: a parsed conversation, or a rejection with one named reason. Nothing is dropped."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from itpo_core.types import Message, Outcome, Split, StopReason

_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)


class RejectReason(StrEnum):
    """Why a log row did not become (part of) a conversation."""

    UNREADABLE = "unreadable"
    MISSING_MESSAGES = "missing_messages"
    SHAREGPT_KEYS = "sharegpt_keys"
    EMPTY_CONVERSATION = "empty_conversation"
    NO_ASSISTANT_TURN = "no_assistant_turn"
    TOO_MANY_TURNS = "too_many_turns"
    MESSAGE_NOT_AN_OBJECT = "message_not_an_object"
    UNKNOWN_ROLE = "unknown_role"
    CONTENT_NOT_TEXT = "content_not_text"
    IMAGE_PART = "image_part"
    BAD_TOOL_CALLS = "bad_tool_calls"
    TOOL_RESULT_WITHOUT_CALL = "tool_result_without_call"
    BAD_TEXT = "bad_text"
    BAD_METADATA = "bad_metadata"
    MISSING_SCENARIO = "missing_scenario"
    WRONG_TURN_COUNT = "wrong_turn_count"
    TURN_NUMBER_REPEATED = "turn_number_repeated"
    TURN_NUMBER_MISSING = "turn_number_missing"
    TIMES_DECREASE = "times_decrease"
    REQUEST_FAILED = "request_failed"
    REQUEST_WITHOUT_RESPONSE = "request_without_response"
    RESPONSE_WITHOUT_REQUEST = "response_without_request"
    MISSING_PARENT = "missing_parent"
    SEVERAL_ANSWERS = "several_answers"
    NOT_A_MODEL_CALL = "not_a_model_call"
    PERSONAL_DATA = "personal_data"
    REUSED_ID = "reused_id"
    DUPLICATE = "duplicate"

    @property
    def disposition(self) -> str:
        """`duplicate` for a repetition of something accepted, `quarantined` for everything else."""
        return "duplicate" if self is RejectReason.DUPLICATE else "quarantined"


class Note(StrEnum):
    """Something unusual that is kept as logged, and counted."""

    TOOL_CALL_WITHOUT_RESULT = "tool_call_without_result"
    ASSISTANT_TWICE_IN_A_ROW = "assistant_twice_in_a_row"
    EMPTY_ASSISTANT_TURN = "empty_assistant_turn"
    STARTS_WITH_ASSISTANT = "starts_with_assistant"
    NUL_CHARACTER = "nul_character"
    ROWS_MISSING = "rows_missing"
    BRANCH = "branch"
    USER_UNREADABLE = "user_unreadable"
    TURNS_REORDERED = "turns_reordered"
    TIMES_DECREASE = "times_decrease"
    TIME_UNREADABLE = "time_unreadable"
    THINKING_IN_TEXT = "thinking_in_text"
    REASONING_LEFT_OUT = "reasoning_left_out"
    TEXT_AFTER_CALL = "text_after_call"
    PROMPT_AS_TEXT = "prompt_as_text"
    USER_TOOLS_LEFT_OUT = "user_tools_left_out"
    ANNOTATIONS_LEFT_OUT = "annotations_left_out"
    SAMPLING_NOT_STATED = "sampling_not_stated"
    DRAWS_OF_NOBODY = "draws_of_nobody"
    DRAWS_INCOMPLETE = "draws_incomplete"
    DRAWS_MALFORMED = "draws_malformed"
    DRAWS_MASKED = "draws_masked"


@dataclass(frozen=True, slots=True)
class Rejected:
    """Log rows that were not accepted, with the reason and what to do about it in `detail`."""

    rows: tuple[int, ...]
    reason: RejectReason
    detail: str


@dataclass(frozen=True, slots=True)
class Suggestion:
    """What the policy proposed for an assistant turn that a person sent: verbatim, edited or ignored."""

    text: str
    acceptance: str


@dataclass(frozen=True, slots=True)
class Speaker:
    """A version that a log names as who spoke, and how its tokens were drawn, as the log has it."""

    policy_version: str
    temperature: float
    top_p: float
    tokenizer_digest: str = ""  # empty where the log names none


@dataclass(frozen=True, slots=True)
class Draw:
    """The tokens of one assistant turn, its end of turn included, and a log-probability (nats) for each."""

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class ParsedConversation:
    """One logged conversation.

    `rows` are the numbers of the log rows it came from. `logged_id` is the log's own id, None where it has
    none; `scenario_id` names the task that siblings share, None where the conversation is its own scenario.
    `suggestions` has one entry per assistant message, None where the policy answered by itself. `user_id` is
    who spoke with the assistant, None where the log does not say. `speaker` is the version that spoke as the
    assistant, None where the log does not say; then `cut` tells of every assistant turn whether its limit of
    tokens ended it, and `draws` are those of all of them, or none. They are no part of the digest.
    """

    rows: tuple[int, ...]
    messages: tuple[Message, ...]
    outcome: Outcome
    suggestions: tuple[Suggestion | None, ...]
    logged_id: str | None = None
    scenario_id: str | None = None
    domain: str = "logs"
    split: Split = Split.SEEN
    persona_id: str = "default"
    seed: int = 0
    latent_json: str = "{}"
    stop: StopReason = StopReason.COMPLETED
    notes: tuple[Note, ...] = ()
    user_id: str | None = None
    speaker: Speaker | None = None
    draws: tuple[Draw, ...] = ()
    cut: tuple[bool, ...] = ()

    @property
    def body_digest(self) -> str:
        """SHA-256 of everything but the outcome and the place in the file: equal for exact duplicates."""
        turns = [[m.role, m.content, m.tool_calls, m.tool_call_id] for m in self.messages]
        sent = [suggestion and [suggestion.text, suggestion.acceptance] for suggestion in self.suggestions]
        place = [self.scenario_id, self.domain, self.split.value, self.persona_id, self.seed, self.stop.value]
        # Two users may say the same words; a log that names none keeps the ids that it always had.
        said_by = [] if self.user_id is None else [self.user_id]
        return hashlib.sha256(
            json.dumps([turns, sent, place, self.latent_json, *said_by]).encode()
        ).hexdigest()


class RowRejected(ValueError):
    """Raised inside a parser for one row; becomes a `Rejected` at the parser's border."""

    def __init__(self, reason: RejectReason, detail: str) -> None:
        super().__init__(f"{reason.value}: {detail}")
        self.reason = reason
        self.detail = detail


Row = Mapping[str, object]
Parsed = ParsedConversation | Rejected
Parse = Callable[..., Iterator[Parsed]]  # parse(rows, *, outcome_column, user_column)


def parse_each(
    rows: Iterable[tuple[int, Row]], one: Callable[[int, Row], ParsedConversation]
) -> Iterator[Parsed]:
    """Parse row by row: a row that is refused becomes a value, and the next one is read."""
    for number, row in rows:
        try:
            yield one(number, row)
        except RowRejected as error:
            yield Rejected((number,), error.reason, error.detail)


def canonical(value: object) -> str:
    """One JSON text per value; times and decimals as text. Raises RowRejected where text is not storable."""
    try:
        text = _CANONICAL.encode(value)
    except (ValueError, TypeError, RecursionError) as error:
        raise RowRejected(RejectReason.BAD_METADATA, f"not expressible as JSON ({error})") from None
    return storable(text, where="metadata")


def storable(text: str, *, where: str) -> str:
    """The text itself; RowRejected when it holds half of a surrogate pair, which no UTF-8 file can keep."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise RowRejected(
            RejectReason.BAD_TEXT,
            f"{where} holds the lone surrogate {text[error.start]!a} at character {error.start}: "
            "write the log with whole characters",
        ) from None
    return text
