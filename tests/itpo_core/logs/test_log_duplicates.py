"""The same conversation twice is a duplicate; two conversations under one id are not; labels must agree."""

from collections.abc import Sequence
from dataclasses import replace

from itpo_core.logs.duplicates import Duplicates, Sourced
from itpo_core.logs.parsed import ParsedConversation, Rejected, RejectReason
from itpo_core.types import Message, Outcome, Role, Scored, Unscored

UNKNOWN = Unscored("null outcome")


def logged(
    row: int,
    *,
    text: str = "booked",
    logged_id: str | None = "c1",
    outcome: Outcome = UNKNOWN,
    source: str = "a",
) -> Sourced:
    """A conversation of one message."""
    messages = (Message(Role.ASSISTANT, text),)
    return Sourced(source, ParsedConversation((row,), messages, outcome, (None,), logged_id=logged_id))


def refusals(found: Sequence[Sourced]) -> list[Rejected | None]:
    """What becomes of each, taken in order."""
    duplicates = Duplicates()
    return [duplicates.take(item.said) for item in found]


def settled(*outcomes: Outcome) -> list[Outcome]:
    """The late outcome of one conversation that is logged with each of these, if it has any."""
    duplicates = Duplicates()
    for row, outcome in enumerate(outcomes):
        duplicates.take(logged(row, outcome=outcome).said)
    return [late.settled for late in duplicates.late_outcomes()]


def test_a_repetition_is_a_duplicate_and_another_body_under_the_id_is_quarantined() -> None:
    first, repeated, clash = refusals([logged(1), logged(2), logged(3, text="no")])

    assert first is None
    assert repeated == Rejected((2,), RejectReason.DUPLICATE, "repeats row 1 of a")
    assert clash is not None
    assert (clash.rows, clash.reason) == ((3,), RejectReason.REUSED_ID)
    assert [found.reason.disposition for found in (repeated, clash)] == ["duplicate", "quarantined"]


def test_the_same_words_under_two_ids_are_two_conversations() -> None:
    assert refusals([logged(1), logged(2, logged_id="c2")]) == [None, None]


def test_without_ids_the_same_words_are_a_duplicate_in_any_file() -> None:
    first, second = refusals([logged(1, logged_id=None), logged(1, logged_id=None, source="b")])

    assert first is None
    assert second is not None
    assert second.detail == "repeats row 1 of a"


def test_ids_that_start_again_in_every_file_do_not_clash() -> None:
    found = [logged(1), logged(1, text="no", source="b")]

    assert refusals([replace(each, id_scope=each.source) for each in found]) == [None, None]
    assert refusals(found)[1] is not None


def test_a_late_label_is_taken_and_contradicting_labels_leave_it_unscored() -> None:
    assert settled(UNKNOWN, Scored(1.0)) == [Scored(1.0)]
    assert settled(Scored(0.0), Scored(1.0)) == [Unscored("contradicting outcomes: 0, 1")]


def test_a_repetition_that_says_nothing_new_changes_no_outcome() -> None:
    assert settled(Scored(1.0), UNKNOWN, Scored(1.0)) == []
    assert settled(UNKNOWN, Unscored("outcome is NaN")) == []


def test_the_body_digest_sees_every_part_but_outcome_and_row() -> None:
    base = logged(1).conversation
    same = replace(base, rows=(9,), outcome=Scored(1.0))
    others = [
        replace(base, messages=(Message(Role.ASSISTANT, "booked", "[]"),)),
        replace(base, persona_id="rude"),
        replace(base, latent_json='{"a":1}'),
        replace(base, seed=1),
    ]

    assert base.body_digest == same.body_digest
    assert len({base.body_digest, *(other.body_digest for other in others)}) == 5
