"""Labels beside the lake: which conversation a key means, and labels as rows and back."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from itpo_core.logs.labels import Label, Refusal, Refused
from itpo_core.logs.outcomes import look_up
from itpo_core.logs.settling import Disposition
from itpo_core.logs.shapes import name_of
from itpo_core.types import Outcome, Scored, Unscored
from tasks.records import Row, outcome_columns

LOGGED_ID, LAKE_ID = "id", "conversation_id"
METADATA = "metadata."
TOLD = "joined:"  # before who said it, in the place of the judge


@dataclass(slots=True)
class Known:
    """The conversations of a log: by key, and of each how many answers it has, what the log said, and what
    was told since."""

    by_key: dict[str, list[str]] = field(default_factory=dict)
    turns: dict[str, int] = field(default_factory=dict)
    logged: dict[str, Outcome] = field(default_factory=dict)
    labels: dict[str, list[Label]] = field(default_factory=dict)

    def match(self, label: Label, *, key: str) -> str | Refused:
        """The conversation that a label is about; refused where there is none, or no such turn of it."""
        found = self.by_key.get(label.key) or self.by_key.get(label.key.strip(), [])
        if not found:
            return Refused(
                Refusal.UNMATCHED, f"no conversation has this {key!r}; it may be that of other logs"
            )
        if len(found) > 1:
            said = f"{len(found)} conversations have this {key!r}: name them by another key, see --key"
            return Refused(Refusal.AMBIGUOUS_KEY, said)
        turns = self.turns[found[0]]
        if label.turn_index is not None and label.turn_index >= turns:
            said = f"turn {label.turn_index} of a conversation with {turns} answers, which count from 0"
            return Refused(Refusal.NO_SUCH_TURN, said)
        return found[0]


def known_conversations(
    conversations: Sequence[Row], *, logged_ids: Sequence[Row], told: Sequence[Row], key: str
) -> Known:
    """Rows of `conversations` as the log has them, of `logged_ids`, and of the `outcomes` so far."""
    known = Known()
    names = {str(row["conversation_id"]): str(row["logged_id"]) for row in logged_ids}
    for row in conversations:
        conversation = str(row["conversation_id"])
        known.turns[conversation] = int(str(row["n_turns"]))
        known.logged[conversation] = outcome_of_row(row)
        name = _name(row, key, names=names)
        if name is not None:
            known.by_key.setdefault(name, []).append(conversation)
    for row in told:
        known.labels.setdefault(str(row["conversation_id"]), []).append(label_of_row(row))
    return known


def label_row(label: Label, disposition: Disposition) -> Row:
    """The columns of `outcomes` that a label says."""
    return {
        "disposition": disposition.value,
        "turn_index": label.turn_index,
        **outcome_columns(label.outcome),
        "time_s": label.time_s,
        "source": label.source,
    }


def label_of_row(row: Mapping[str, object]) -> Label:
    """The inverse, without the key that was given."""
    turn, time_s = row["turn_index"], row["time_s"]
    return Label(
        key="",
        outcome=outcome_of_row(row),
        turn_index=None if turn is None else int(str(turn)),
        time_s=None if time_s is None else float(str(time_s)),
        source=str(row["source"]),
    )


def outcome_of_row(row: Mapping[str, object]) -> Outcome:
    """What `outcome_columns` was made of."""
    value = row["outcome"]
    return Unscored(str(row["outcome_reason"])) if value is None else Scored(float(str(value)))


def _name(row: Row, key: str, *, names: Mapping[str, str]) -> str | None:
    conversation = str(row["conversation_id"])
    if key in (LOGGED_ID, LAKE_ID):
        return names.get(conversation) if key == LOGGED_ID else conversation
    facts = json.loads(str(row["latent_json"]))
    if not isinstance(facts, Mapping):
        return None
    found, value = look_up(facts, key.removeprefix(METADATA))
    return name_of(value) if found else None
