"""What an import does with personal data: kept without a look, masked, or refused; never said aloud."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from itpo_core.logs.parsed import Note, Parsed, ParsedConversation, Rejected, RejectReason
from itpo_core.logs.personal_data import Search, found_in, unknown_regions
from itpo_core.logs.personal_data_masks import Masks, Walk, masked, without_values
from itpo_core.logs.speakers import without_draws
from tasks.config import ConfigError, Logs
from tasks.import_counts import listed

if TYPE_CHECKING:
    from storage.json_rows import Item

Raw = Callable[["Item"], str]  # the text of a row in quarantine


@dataclass(frozen=True, slots=True)
class Settled:
    """What becomes of a conversation, the places of personal data by kind, and their placeholders if any."""

    parsed: Parsed
    counts: Mapping[str, int] = field(default_factory=dict)
    masks: Masks | None = None


@dataclass(frozen=True, slots=True)
class Privacy:
    """One policy. `hides`: what goes into quarantine, for whatever reason, is masked there too."""

    settle: Callable[[ParsedConversation, Search], Settled]
    hides: bool
    search: Search = field(default_factory=Search)

    def settled(self, parsed: Parsed) -> Settled:
        """A conversation under the policy; rows that were refused anyway stay so."""
        return Settled(parsed) if isinstance(parsed, Rejected) else self.settle(parsed, self.search)

    def detail(self, rejected: Rejected) -> Rejected:
        """Why rows were refused, without stretches of them."""
        return replace(rejected, detail=self.reason(rejected.detail)) if self.hides else rejected

    def reason(self, detail: str) -> str:
        """The same of one reason."""
        return without_values(detail, self.search) if self.hides else detail

    def may_keep(self, text: str) -> bool:
        """Whether a text may stand in the lake as it is."""
        return not self.hides or not found_in(text, self.search)

    def text(self, text: str) -> str:
        """A text as it may be kept."""
        return Masks(self.search, (text,)).text(text) if self.hides else text

    def raw(self, item: "Item", *, masks: Masks | None) -> str:
        """The text of a row in quarantine; `masks` holds what was found in its conversation."""
        if not self.hides:
            return _text(item)
        return _withheld(item.raw) if not isinstance(item, dict) else _masked_row(item, masks, self.search)


def privacy_of(logs: Logs) -> Privacy:
    """The policy that the configuration names. Raises ConfigError for regions that nobody knows."""
    chosen = POLICIES[logs.personal_data]
    if not chosen.hides:
        return chosen
    return replace(chosen, search=Search(_known(logs.phone_regions), logs.ip_addresses))


def _known(regions: Sequence[str]) -> tuple[str, ...]:
    unknown = unknown_regions(regions)
    if unknown:
        raise ConfigError(
            f"logs.phone_regions names {', '.join(unknown)}; take codes of two capital letters, as DE or US"
        )
    return tuple(regions)


def _keep(parsed: ParsedConversation, _: Search) -> Settled:
    return Settled(parsed)


def _mask(parsed: ParsedConversation, search: Search) -> Settled:
    done = masked(parsed, search)
    changed = done.conversation
    kept = changed if changed is parsed or changed.speaker is None else _undrawn(changed)
    return Settled(kept, +done.masks.counts, done.masks)


def _undrawn(changed: ParsedConversation) -> ParsedConversation:
    """Of masked words nobody drew the tokens, and the tokens that were drawn spell what is masked."""
    notes = (*changed.notes, Note.DRAWS_MASKED)
    return replace(changed, speaker=None, draws=(), cut=(), notes=notes)


def _refuse(parsed: ParsedConversation, search: Search) -> Settled:
    done = masked(parsed, search)
    counts = +done.masks.counts
    if not counts:
        return Settled(parsed)
    detail = f"{listed(counts)}; logs.personal_data = mask keeps such conversations, without the values"
    return Settled(Rejected(parsed.rows, RejectReason.PERSONAL_DATA, detail), counts, done.masks)


POLICIES: Mapping[str, Privacy] = MappingProxyType(
    {
        "keep": Privacy(_keep, hides=False),
        "mask": Privacy(_mask, hides=True),
        "quarantine": Privacy(_refuse, hides=True),
    }
)


def _text(item: "Item") -> str:
    """The text of a row, limited in length."""
    from storage.json_rows import BadRow, bad_row

    return item.raw if isinstance(item, BadRow) else bad_row("", json.dumps(item, default=str)).raw


def _masked_row(item: dict[str, object], masks: Masks | None, search: Search) -> str:
    from storage.json_rows import bad_row

    item = without_draws(item)
    known = masks or Masks(search, [_text(item)])
    row = Walk(known, also_known=True).value(item)
    return bad_row("", json.dumps(row, default=str, ensure_ascii=False)).raw


def _withheld(raw: str) -> str:
    """In place of text that cannot be read: half a number at its end would be found by nobody."""
    return f"withheld: {len(raw)} characters; the row stands in its file"
