"""The viewer's conversations: who said what, which credit belongs to which turn, and why it stopped."""

import json

from itpo_core.types import Message, Role
from tasks.records import messages_json
from tasks.report_talks import credits_of, lines, methods_shown, talks, wanted

CALL = '[{"function": {"name": "find_order"}}]'
MESSAGES = (
    Message(Role.SYSTEM, "be kind"),
    Message(Role.USER, "hi"),
    Message(Role.ASSISTANT, "", CALL),
    Message(Role.TOOL, "order 7"),
    Message(Role.ASSISTANT, "it is on its way"),
    Message(Role.USER, "thanks"),
)


def turn(index: int, **values: object) -> dict[str, object]:
    common = {"conversation_id": "c" * 32, "outcome": 1.0, "outcome_reason": None, "stop_reason": "user_left"}
    texts = {"latent_json": "{}", "messages_json": messages_json(MESSAGES), "turn_kind": "ask"}
    return {**common, **texts, "turn_index": index, **values}


def test_each_turn_stands_where_it_was_said_and_the_system_message_nowhere() -> None:
    said = lines(MESSAGES, [turn(0), turn(1)])

    assert [each.speaker for each in said] == ["user", "assistant", "tool", "assistant", "user"]
    assert (said[1].tools, said[3].tools) == ("find_order", "")
    assert said[-1].text == "thanks"


def test_the_second_turn_has_the_credit_of_the_second_row() -> None:
    rows = [turn(0, credit_itpo=0.25), turn(1, credit_itpo=0.75)]

    said = [each for each in lines(MESSAGES, rows) if each.speaker == "assistant"]

    assert [json.loads(each.credits)["credit"]["itpo"] for each in said] == [0.25, 0.75]


def test_what_was_suggested_stands_beside_what_a_person_sent() -> None:
    same = turn(0, suggested_text="", acceptance="verbatim")
    other = turn(1, suggested_text="no idea", acceptance="ignored")

    said = [each for each in lines(MESSAGES, [same, other]) if each.speaker == "assistant"]

    assert [each.text for each in said] == ["", "it is on its way"]
    assert [each.suggested for each in said] == ["", "ignored suggestion: no idea"]


def test_credit_stands_under_its_own_method_and_quantity() -> None:
    row = turn(0, credit_itpo=0.1, credit_outcome=0.2, advantage_itpo=-1.0, advantage_outcome=2.0)

    assert credits_of(row) == {
        "advantage": {"itpo": -1.0, "outcome": 2.0},
        "credit": {"itpo": 0.1, "outcome": 0.2},
    }


def test_unknown_credit_is_left_out_and_never_zero() -> None:
    assert credits_of(turn(0, credit_itpo=None)) == {"advantage": {}, "credit": {}}


def test_scores_of_foreign_logs_are_shown_where_nothing_else_is() -> None:
    rows = [turn(0, score=0.5), turn(1, score=None)]

    assert methods_shown(rows) == {"score": "implicit reward of the turn"}
    assert credits_of(rows[0])["credit"] == {"score": 0.5}
    assert credits_of(rows[1])["credit"] == {}


def test_only_methods_with_a_value_can_be_picked() -> None:
    assert list(methods_shown([turn(0, credit_itpo=None, credit_outcome=0.0)])) == ["outcome"]
    assert methods_shown([turn(0)]) == {}


def test_a_conversation_says_how_it_went_and_why_it_stopped() -> None:
    good, bad, unknown = (
        talks([turn(0, outcome=outcome, outcome_reason="no outcome column")])[0]
        for outcome in (1.0, 0.0, None)
    )

    assert (good.verdict, good.outcome, good.ending) == ("good", "outcome 1", "the user left")
    assert (bad.verdict, bad.outcome) == ("bad", "outcome 0")
    assert (unknown.verdict, unknown.outcome) == ("unknown", "no outcome: no outcome column")


def test_rows_are_gathered_by_conversation() -> None:
    rows = [turn(0), turn(1), turn(0, conversation_id="d" * 32)]

    assert [(talk.name, talk.length) for talk in talks(rows)] == [("c" * 12, "2 turns"), ("d" * 12, "1 turn")]


def test_what_the_user_wanted_is_said_in_words() -> None:
    assert (
        wanted('{"product":"bike","values":{"color":"red","size":"large"}}') == "bike: color red, size large"
    )
    assert wanted('{"instruction":"cancel it","user_id":"u7"}') == "cancel it"
    assert wanted("") == ""
    assert wanted("not json") == "not json"
