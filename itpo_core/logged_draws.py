"""Logged turns of a version that is at hand: whether they can be its draws, and their log-probabilities.

A conversation is settled whole. A policy step reads it as one stream of tokens, so one turn of which nothing
can be said leaves nothing to weigh. Axes: B conversations, T tokens (right-padded).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from transformers import PreTrainedModel

from itpo_core.logprobs import scored_logprobs
from itpo_core.streams import TurnTokens, streams, token_count
from itpo_core.tokens import ChatFormat, ChatTemplateError
from itpo_core.types import Message, Propensity, Role

# Nats by which logged log-probabilities may differ from recomputed ones, on average over a conversation's
# tokens: more than other kernels and rounding to bf16 bring, less than another version or temperature does.
LARGEST_GAP = 0.1


class Doubt(StrEnum):
    """Why a logged conversation has no log-probabilities that a policy step may weigh."""

    UNNAMED = "unnamed"  # the log does not say which version spoke, or not how it was sampled
    OTHER_VERSION = "other_version"  # it names a version, and not the one that is at hand
    TOP_P = "top_p"  # drawn from a part of the vocabulary only
    GREEDY = "greedy"  # nothing was drawn
    OTHER_TOKENIZER = "other_tokenizer"  # the log names one, and not the version's
    EDITED = "edited"  # a person sent something else than was suggested
    CALLS_TOOLS = "calls_tools"  # how the version spelled the call is not logged
    OTHER_WORDS = "other_words"  # the tokens do not spell the text, or the text has words that it cannot say
    NEVER_SPOKEN = "never_spoken"  # a token that is suppressed, or that the vocabulary does not have
    NO_END = "no_end"  # its last token, and no other, has to end the turn; none, where the turn was cut
    PERHAPS_CUT = "perhaps_cut"  # longer than the limit allows, so perhaps it never ended
    NOT_RENDERED = "not_rendered"  # the version's chat template does not take these messages
    TOO_LONG = "too_long"  # longer than the version's context
    GAP = "gap"  # logged log-probabilities far from those that the version has


@dataclass(frozen=True, slots=True)
class LoggedTurn:
    """One assistant turn as logged: what was said, what was sent; its tokens if there are any."""

    text: str
    sent: str
    was_cut: bool = False
    token_ids: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class LoggedTalk:
    """A conversation of the version at hand: its messages, one turn per assistant message, its sampling."""

    messages: tuple[Message, ...]
    turns: tuple[LoggedTurn, ...]
    temperature: float
    top_p: float
    tokenizer_digest: str = ""


@dataclass(frozen=True, slots=True)
class Settled:
    """The turns as tokens with their log-probabilities, and the status of each.

    `gap` is the mean distance of logged from recomputed log-probabilities, nats; None where none were logged.
    """

    turns: tuple[TurnTokens, ...]
    statuses: tuple[Propensity, ...]
    gap: float | None = None


@dataclass(frozen=True, slots=True)
class Version:
    """Who spoke, and the most tokens that it was let say in a turn."""

    model: PreTrainedModel
    chat: ChatFormat
    max_new_tokens: int


def settle(talks: Mapping[str, LoggedTalk], version: Version) -> dict[str, Settled | Doubt]:
    """Of every conversation, in order: its tokens under the version and what is known of them, or a doubt.

    Logged ids are kept as they were drawn and are `exact` where their log-probabilities are near those that
    the version has; other text is tokenised and `recomputed`, at the conversation's own temperature.
    """
    laid = {name: laid_out(talk, version) for name, talk in talks.items()}
    fit = {name: turns for name, turns in laid.items() if not isinstance(turns, Doubt)}
    known: dict[str, tuple[TurnTokens, ...]] = {}
    for temperature in sorted({talks[name].temperature for name in fit}):
        alike = {name: turns for name, turns in fit.items() if talks[name].temperature == temperature}
        known |= recomputed(alike, version, temperature=temperature)
    return {
        name: turns if isinstance(turns, Doubt) else checked(turns, known[name])
        for name, turns in laid.items()
    }


def laid_out(talk: LoggedTalk, version: Version) -> tuple[TurnTokens, ...] | Doubt:
    """The conversation as the version would have streamed it; log-probabilities where they were logged."""
    doubt = _doubt_of_talk(talk, version.chat)
    if doubt is not None:
        return doubt
    try:
        encoded = version.chat.encode_conversation(talk.messages)
    except ChatTemplateError:
        return Doubt.NOT_RENDERED
    turns: list[TurnTokens] = []
    for (prompt, spoken), turn in zip(encoded, talk.turns, strict=True):
        ids = turn.token_ids or tuple(spoken[:-1] if turn.was_cut else spoken)
        doubt = _doubt_of_turn(turn, ids, version=version)
        if doubt is not None:
            return doubt
        # A turn that was cut is closed for it, by a token that is not its own: as in rollouts.
        is_open = bool(turns) and turns[-1].response_ids[-1] != version.chat.end_of_turn_id
        heard = [version.chat.end_of_turn_id, *prompt] if is_open else prompt
        turns.append(TurnTokens(heard, ids, turn.logprobs))
    is_long = token_count(turns) > version.model.config.max_position_embeddings
    return Doubt.TOO_LONG if is_long else tuple(turns)


def recomputed(
    laid: Mapping[str, Sequence[TurnTokens]], version: Version, *, temperature: float
) -> dict[str, tuple[TurnTokens, ...]]:
    """The same turns with the log-probabilities that the version has for them, at this temperature."""
    of = streams(laid)
    logprobs_BT = scored_logprobs(
        version.model,
        of.tokens_BT,
        wanted_BT=of.is_policy_BT,
        lengths_B=of.lengths_B,
        suppressed_ids=version.chat.suppressed_ids,
        temperature=temperature,
    )
    # Rounding may lift a certain token's log-probability a little above 0.
    return {
        name: tuple(
            replace(turn, logprobs=logprobs_T[turn_T == index].clamp(max=0.0).tolist())
            for index, turn in enumerate(laid[name])
        )
        for name, logprobs_T, turn_T in zip(of.ids, logprobs_BT, of.turn_BT, strict=True)
    }


def checked(logged: Sequence[TurnTokens], known: Sequence[TurnTokens]) -> Settled | Doubt:
    """Logged log-probabilities are kept where they are near the version's own; else they are nobody's."""
    if not any(turn.logprobs for turn in logged):
        return Settled(tuple(known), (Propensity.RECOMPUTED,) * len(known))
    gaps = [
        abs(said - found)
        for turn, again in zip(logged, known, strict=True)
        for said, found in zip(turn.logprobs, again.logprobs, strict=True)
    ]
    gap = sum(gaps) / len(gaps)
    if not gap <= LARGEST_GAP:
        return Doubt.GAP
    return Settled(tuple(logged), (Propensity.EXACT,) * len(logged), gap)


def _doubt_of_talk(talk: LoggedTalk, chat: ChatFormat) -> Doubt | None:
    doubts = {
        Doubt.TOP_P: talk.top_p != 1.0,
        Doubt.GREEDY: talk.temperature <= 0,
        Doubt.OTHER_TOKENIZER: talk.tokenizer_digest not in ("", chat.tokenizer_digest),
        Doubt.EDITED: any(turn.text != turn.sent for turn in talk.turns),
        Doubt.CALLS_TOOLS: any(
            each.tool_calls is not None for each in talk.messages if each.role is Role.ASSISTANT
        ),
    }
    return next((doubt for doubt, holds in doubts.items() if holds), None)


def _doubt_of_turn(turn: LoggedTurn, ids: Sequence[int], *, version: Version) -> Doubt | None:
    chat = version.chat
    if not ids or not all(each < version.model.config.vocab_size for each in ids):
        return Doubt.NEVER_SPOKEN
    has_ended = ids[-1] == chat.end_of_turn_id
    doubts = {
        Doubt.NEVER_SPOKEN: not set(chat.suppressed_ids).isdisjoint(ids),
        Doubt.NO_END: chat.end_of_turn_id in ids[:-1] or has_ended == turn.was_cut,
        Doubt.OTHER_WORDS: chat.decode(ids) != turn.text,
        # Of logged ids one sees whether they end; of a text only whether it could have.
        Doubt.PERHAPS_CUT: not turn.token_ids and len(ids) > version.max_new_tokens,
    }
    return next((doubt for doubt, holds in doubts.items() if holds), None)
