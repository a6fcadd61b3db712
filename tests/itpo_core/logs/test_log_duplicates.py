"""The same conversation twice is a duplicate; two conversations under one id are not; labels must agree."""

from dataclasses import replace

from itpo_core.logs.duplicates import Sourced, settle
from itpo_core.logs.parsed import ParsedConversation, RejectReason
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


def test_a_repetition_is_a_duplicate_and_another_body_under_the_id_is_quarantined() -> None:
    settled = settle([logged(1), logged(2), logged(3, text="no")], ids_span_files=True)

    assert [kept.conversation.rows for kept in settled.kept] == [(1,)]
    assert [(refused.rows, refused.reason) for _, refused in settled.rejected] == [
        ((2,), RejectReason.DUPLICATE),
        ((3,), RejectReason.REUSED_ID),
    ]
    assert [refused.reason.disposition for _, refused in settled.rejected] == ["duplicate", "quarantined"]


def test_the_same_words_under_two_ids_are_two_conversations() -> None:
    assert len(settle([logged(1), logged(2, logged_id="c2")], ids_span_files=True).kept) == 2


def test_without_ids_the_same_words_are_a_duplicate_in_any_file() -> None:
    found = [logged(1, logged_id=None), logged(1, logged_id=None, source="b")]

    settled = settle(found, ids_span_files=True)

    assert len(settled.kept) == 1
    assert settled.rejected[0][1].detail == "repeats row 1 of a"


def test_ids_that_start_again_in_every_file_do_not_clash() -> None:
    found = [logged(1), logged(1, text="no", source="b")]

    assert len(settle(found, ids_span_files=False).kept) == 2
    assert len(settle(found, ids_span_files=True).kept) == 1


def test_a_late_label_is_taken_and_contradicting_labels_leave_it_unscored() -> None:
    late = settle([logged(1), logged(2, outcome=Scored(1.0))], ids_span_files=True)
    torn = settle([logged(1, outcome=Scored(0.0)), logged(2, outcome=Scored(1.0))], ids_span_files=True)

    assert late.kept[0].conversation.outcome == Scored(1.0)
    assert torn.kept[0].conversation.outcome == Unscored("contradicting outcomes: 0, 1")


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
