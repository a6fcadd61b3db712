"""Rows of imported conversations against the version that they name: what is known of them, as rows again."""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

from itpo_core.logged_draws import Doubt, LoggedTalk, LoggedTurn, Settled, Version, settle
from itpo_core.types import FinishReason
from tasks.context import Figures
from tasks.import_counts import listed
from tasks.records import messages_from_json
from tasks.speakers import claimed_version

Row = Mapping[str, Any]  # Any: column values
Found = Mapping[str, Settled | Doubt]
CHUNK = 1024  # conversations whose tokens are laid out at once


def name_of(row: Row) -> str:
    """The conversation that a row belongs to."""
    return str(row["conversation_id"])


def settled(
    talks: Mapping[str, Row], turns: Mapping[str, Sequence[Row]], *, version: Version, name: str
) -> dict[str, Settled | Doubt]:
    """What is known of every imported conversation under the version of this name."""
    found: dict[str, Settled | Doubt] = {}
    strangers = {each: _stranger(row, name) for each, row in talks.items()}
    known = (each for each, doubt in strangers.items() if doubt is None)
    while chunk := list(islice(known, CHUNK)):
        found |= settle({each: _talk(talks[each], turns[each]) for each in chunk}, version)
    return found | {each: doubt for each, doubt in strangers.items() if doubt is not None}


def figures(found: Found) -> Figures:
    """Conversations by what is known of all of their turns, why the others are unknown, and the mean gap."""
    doubts = Counter(each.value for each in found.values() if isinstance(each, Doubt))
    known = [each for each in found.values() if isinstance(each, Settled)]
    statuses = Counter(each.statuses[0].value for each in known)
    gaps = [each.gap for each in known if each.gap is not None]
    return {
        **dict(sorted(statuses.items())),
        "unknown": doubts.total(),
        **({"because": f"({listed(doubts)})"} if doubts else {}),
        **({"logged_gap_nats": sum(gaps) / len(gaps)} if gaps else {}),
    }


def settled_turn(row: Row, known: Settled | Doubt, *, name: str, digests: Row) -> Row:
    """A turn's row under what is known of its conversation; of an unknown speaker as it was logged."""
    if isinstance(known, Doubt):
        return {**row, "policy_version": _speaker(row, known, name)}
    turn = known.turns[row["turn_index"]]
    return {
        **row,
        **digests,
        "policy_version": name,
        "prompt_ids": list(turn.prompt_ids),
        "response_ids": list(turn.response_ids),
        "logprobs": list(turn.logprobs),
        "response_tokens": len(turn.response_ids),
        "propensity": known.statuses[row["turn_index"]].value,
    }


def settled_talk(row: Row, known: Settled | Doubt, *, name: str) -> Row:
    """A conversation's row, likewise."""
    if isinstance(known, Doubt):
        return {**row, "policy_version": _speaker(row, known, name)}
    tokens = sum(len(turn.response_ids) for turn in known.turns)
    return {**row, "policy_version": name, "assistant_tokens": tokens}


def _speaker(row: Row, doubt: Doubt, name: str) -> str:
    """Who spoke: the version also where it cannot be weighed, so that curation says which it was."""
    is_stranger = doubt in (Doubt.UNNAMED, Doubt.OTHER_VERSION)
    return str(row["policy_version"]) if is_stranger else name


def _stranger(row: Row, name: str) -> Doubt | None:
    claimed = claimed_version(str(row["policy_version"]))
    if claimed is None:
        return Doubt.UNNAMED
    return None if claimed == name else Doubt.OTHER_VERSION


def _talk(row: Row, turns: Sequence[Row]) -> LoggedTalk:
    first = turns[0]
    return LoggedTalk(
        messages=messages_from_json(str(row["messages_json"])),
        turns=tuple(map(_turn, turns)),
        temperature=first["temperature"],
        top_p=first["top_p"],
        tokenizer_digest=first["tokenizer_digest"],
    )


def _turn(row: Row) -> LoggedTurn:
    return LoggedTurn(
        text=row["suggested_text"],
        sent=row["sent_text"],
        was_cut=row["finish_reason"] == FinishReason.LENGTH,
        token_ids=tuple(row["response_ids"]),
        logprobs=tuple(row["logprobs"]),
    )
