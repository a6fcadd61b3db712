"""Which registered version spoke a logged conversation, how it was drawn, and the tokens themselves.

Here only the shape is looked at. Whether a log tells the truth about a version is found out where that
version's tokenizer and weights are at hand (see `itpo_core.logged_draws`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from itpo_core.logs.parsed import Draw, Note, Row, Speaker, storable
from itpo_core.logs.shapes import decoded, either, listing, mapping

FOREIGN = "logs:"  # what an export calls a speaker of whom nothing is registered
LARGEST_ID = 2**31 - 1
TOO_LARGE = 1e38  # for the lake, whose log-probabilities have 32 bits
LARGEST_LOGPROB = 1e-4  # rounding may lift a certain token's log-probability a little above 0
CUT = "length"


@dataclass(frozen=True, slots=True)
class Claim:
    """What a row says of its speaker: nobody, or a version and perhaps its draws, one per assistant turn.

    `cut` says of each assistant turn whether the limit of tokens ended it.
    """

    speaker: Speaker | None = None
    draws: tuple[Draw, ...] = ()
    cut: tuple[bool, ...] = ()
    notes: tuple[Note, ...] = ()


UNNAMED = Claim()


def claim_of(row: Row, metadata: Mapping[str, object]) -> Claim:
    """The claim of an OpenAI-style row whose messages were read already; a note where it cannot be kept.

    `policy_version`, `temperature`, `top_p` and `tokenizer_digest` stand in the row or its metadata; at every
    assistant message may stand `token_ids`, `logprobs` (numbers, or OpenAI's `{"content": [{"logprob"}]}`)
    and `finish_reason`. A speaker whose sampling or draws are malformed is not believed: nobody is named.
    """
    said = [mapping(each) for each in listing(decoded(row.get("messages")))]
    spoken = [each for each in said if _is_assistant(each)]
    has_draws = any(each.get("token_ids") is not None for each in spoken)
    named = _named(row) or _named(metadata)
    if named is None:
        return Claim(notes=(Note.DRAWS_OF_NOBODY,)) if has_draws else UNNAMED
    temperature, top_p = _number(row, metadata, "temperature"), _number(row, metadata, "top_p")
    if temperature is None or top_p is None or not (temperature >= 0 and 0 < top_p <= 1):
        return Claim(notes=(Note.SAMPLING_NOT_STATED,))
    digest = either(row, "tokenizer_digest") or either(metadata, "tokenizer_digest") or ""
    speaker = Speaker(named, temperature, top_p, storable(str(digest), where="tokenizer_digest"))
    cut = tuple(each.get("finish_reason") == CUT for each in spoken)
    if not has_draws:
        return Claim(speaker, cut=cut)
    return _with_draws(speaker, spoken, cut)


def _with_draws(speaker: Speaker, spoken: Sequence[Mapping[str, object]], cut: tuple[bool, ...]) -> Claim:
    """All of them or none: of some turns alone no stream of tokens can be made."""
    if any(each.get("token_ids") is None for each in spoken):
        return Claim(speaker, cut=cut, notes=(Note.DRAWS_INCOMPLETE,))
    draws = tuple(_draw(each) for each in spoken)
    whole = tuple(draw for draw in draws if draw is not None)
    return Claim(speaker, whole, cut) if len(whole) == len(draws) else Claim(notes=(Note.DRAWS_MALFORMED,))


def _is_assistant(message: Mapping[str, object]) -> bool:
    return str(message.get("role")).strip().lower() == "assistant"


def _named(place: Mapping[str, object]) -> str | None:
    value = place.get("policy_version")
    if not isinstance(value, str) or not value.strip() or value.startswith(FOREIGN):
        return None
    return storable(value.strip(), where="policy_version")


def _number(row: Row, metadata: Mapping[str, object], name: str) -> float | None:
    value = either(row, name)
    value = either(metadata, name) if value is None else value
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < TOO_LARGE
    return float(str(value)) if is_number else None


def _draw(message: Mapping[str, object]) -> Draw | None:
    """None for no tokens, lists of unequal length, and what is no id or no log-probability."""
    ids, logprobs = listing(message.get("token_ids")), _logprobs(message.get("logprobs"))
    if not ids or len(ids) != len(logprobs):
        return None
    if not all(type(each) is int and 0 <= each <= LARGEST_ID for each in ids):
        return None
    if not all(_is_logprob(each) for each in logprobs):
        return None
    return Draw(tuple(int(str(each)) for each in ids), tuple(float(str(each)) for each in logprobs))


def _logprobs(value: object) -> Sequence[object]:
    """Plain numbers, or those inside OpenAI's objects."""
    found = listing(either(mapping(value), "content")) if isinstance(value, Mapping) else listing(value)
    return [each.get("logprob") if isinstance(each, Mapping) else each for each in found]


def _is_logprob(value: object) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and -TOO_LARGE < float(str(value)) <= LARGEST_LOGPROB


def without_draws(row: Row) -> dict[str, object]:
    """The row without tokens and their log-probabilities, which spell its texts a second time."""
    said = decoded(row.get("messages"))
    if not isinstance(said, list | tuple):
        return dict(row)
    left = [
        {name: value for name, value in each.items() if name not in ("token_ids", "logprobs")}
        if isinstance(each, Mapping)
        else each
        for each in said
    ]
    return {**row, "messages": left} if left != list(said) else dict(row)
