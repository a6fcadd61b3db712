"""Rows of real articles become scenarios, or are refused with row and key."""

import json
from collections.abc import Iterable
from typing import Any

import pytest

from itpo_core.envs.document import DocumentEnvironment
from itpo_core.envs.document_articles import article_outcome, read_articles, reference_text
from itpo_core.types import Message, Role, Scenario, Scored, Split, Unscored

TEXT = "Bees find flowers by colour. They tell each other where, by dancing."
PLAIN = {"title": "How bees talk", "text": TEXT}
COLLAPSED = {
    "prompt": [
        {"role": "system", "content": "Ask before you write."},
        {"role": "user", "content": "help me with a text on bees"},
    ],
    "ground_truth": TEXT,
    "extra_info": {
        "interaction_kwargs": {
            "name": "bees",
            "single_turn_prompt": "write under 500 words about bees",
            "task_desc": "document editing",
        }
    },
}


def read(rows: Iterable[dict[str, Any]]) -> list[Scenario]:
    return read_articles(enumerate(rows, start=1))


def with_kwargs(**changes: Any) -> dict[str, Any]:  # Any: JSON values, some of them wrong on purpose
    given = {**COLLAPSED["extra_info"]["interaction_kwargs"], **changes}
    return {**COLLAPSED, "extra_info": {"interaction_kwargs": given}}


def test_an_article_becomes_a_goal_a_reference_and_an_opening() -> None:
    (scenario,) = read([PLAIN])

    hidden = json.loads(scenario.latent_json)
    assert hidden["goal"] == "write under 500 words about How bees talk"
    assert reference_text(scenario) == TEXT
    assert scenario.opening[-1].role is Role.USER
    assert "How bees talk" in scenario.opening[-1].content
    assert "dancing" not in scenario.opening[-1].content


def test_the_key_article_is_as_good_as_text() -> None:
    assert read([{"title": "How bees talk", "article": TEXT}]) == read([PLAIN])


def test_a_collapsed_row_keeps_its_prompt_goal_and_reference() -> None:
    (scenario,) = read([COLLAPSED])

    assert [message.role for message in scenario.opening] == [Role.SYSTEM, Role.USER]
    assert json.loads(scenario.latent_json) == {
        "goal": "write under 500 words about bees",
        "name": "bees",
        "reference": TEXT,
        "task": "document editing",
    }


def test_a_repeated_row_is_read_once_and_ids_do_not_depend_on_the_order() -> None:
    other = {"title": "Rivers", "text": "Water runs down."}

    assert len(read([PLAIN, other, PLAIN])) == 2
    assert read([other, PLAIN]) == list(reversed(read([PLAIN, other])))


def test_about_a_fifth_is_held_out_and_a_text_is_always_on_one_side() -> None:
    rows = [{"title": f"Tale {index}", "text": f"Text number {index}."} for index in range(400)]

    splits = [each.split for each in read(rows)]
    retitled = [each.split for each in read([{**row, "title": "Another"} for row in rows])]

    assert 0.14 < splits.count(Split.UNSEEN) / 400 < 0.26
    assert retitled == splits


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"title": "Bees"}, "row 2, key 'text': it is missing or null"),
        ({"title": "Bees", "article": "  "}, "row 2, key 'article'"),
        ({"title": 7, "text": TEXT}, "row 2, key 'title': 7 is a int"),
        ({"text": TEXT}, "row 2, key 'title'"),
        ({"title": "Bees", "text": "word " * 500}, "row 2, key 'text': 500 words"),
        ({**COLLAPSED, "prompt": "hello"}, "row 2, key 'prompt'"),
        ({**COLLAPSED, "prompt": COLLAPSED["prompt"][:1]}, "row 2, key 'prompt': the last message"),
        (
            {**COLLAPSED, "prompt": [{"role": "human", "content": "x"}]},
            "row 2, key 'prompt', message 0, key 'role'",
        ),
        ({**COLLAPSED, "ground_truth": None}, "row 2, key 'ground_truth'"),
        ({**COLLAPSED, "extra_info": {}}, "row 2, key 'interaction_kwargs'"),
        ({**COLLAPSED, "extra_info": "{}"}, "row 2, key 'extra_info': '{}' is a str"),
        (with_kwargs(single_turn_prompt=""), "row 2, key 'single_turn_prompt'"),
        (with_kwargs(task_desc=None), "row 2, key 'task_desc'"),
        (with_kwargs(name=3), "row 2, key 'name'"),
    ],
)
def test_a_wrong_row_is_refused_with_row_and_key(row: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match="^" + message.replace("{", r"\{")):
        read([PLAIN, row])


def test_marked_drafts_are_judged_without_a_model_and_questions_are_worth_zero() -> None:
    (scenario,) = read([PLAIN])
    asked = [*scenario.opening, Message(Role.ASSISTANT, "For whom is it?")]
    drafted = [*asked, Message(Role.USER, "children"), Message(Role.ASSISTANT, f"Here:\nDRAFT: {TEXT}")]

    scores = [article_outcome(scenario, messages) for messages in (asked, drafted)]

    assert isinstance(article_outcome(scenario, scenario.opening), Unscored)
    assert [score.value for score in scores if isinstance(score, Scored)] == [0.0, 1.0]


def test_only_scenarios_with_a_reference_have_a_reference_text() -> None:
    (drawn,) = DocumentEnvironment("small").scenarios(Split.SEEN, count=1, seed=0)

    with pytest.raises(ValueError, match="has no reference text"):
        reference_text(drawn)
