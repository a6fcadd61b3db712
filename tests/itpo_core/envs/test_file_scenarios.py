"""Scenarios of files: met once each, ended by code, told to a model, scored where free text has a rule."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from itpo_core.envs.base import Reply
from itpo_core.envs.file_scenarios import FILE_KINDS, FileEnvironment, TooFewScenarios
from itpo_core.envs.llm_briefs import brief_of
from itpo_core.envs.llm_judge import LlmJudges
from itpo_core.envs.llm_user import LlmUsers, StopContract
from itpo_core.envs.llm_user_checks import LEAKS
from itpo_core.envs.math_answers import stated_answer
from itpo_core.llm.usable import Speaker
from itpo_core.types import Failure, FailureKind, Message, Role, Scored, Split, StopReason, Unscored
from tests.itpo_core.envs.sales_brains import Scripted

PROBLEM = "Ann has 3 apples and finds 4 more on her way home . How many are that ?"
ROWS: dict[str, list[dict[str, Any]]] = {
    "math": [{"problem": f"{PROBLEM} ({number})", "answer": 7} for number in range(40)],
    "document": [{"title": f"Bees {number}", "text": f"Bees dance {number} times ."} for number in range(40)],
    "medical": [
        {
            "self_report": f"my head hurts since {number} days",
            "enhanced_description": "The patient has pain on one side of the head and dislikes light .",
            "diagnosis": "migraine",
            "recommendation": "a dark room",
        }
        for number in range(40)
    ],
}
ENDINGS = {
    "math": ("how many ?", "I think that the answer is simple.", "answer: 7"),
    "document": ("which length ?", "I could draft it now.", "draft: Bees dance ."),
    "medical": ("since when ?", "Was there an earlier diagnosis ?", "Diagnosis: migraine"),
}


def environment_of(domain: str, rows: Sequence[dict[str, Any]] | None = None) -> FileEnvironment:
    kind = FILE_KINDS[domain]
    return FileEnvironment(kind, kind.read(enumerate(rows or ROWS[domain], 1)), max_turns=3)


def said(environment: FileEnvironment, *texts: str) -> list[Message]:
    """The opening of a scenario, then assistant and user in turn."""
    (scenario,) = environment.scenarios(Split.SEEN, count=1, seed=1)
    roles = (Role.ASSISTANT, Role.USER)
    return [*scenario.opening, *(Message(roles[place % 2], text) for place, text in enumerate(texts))]


@pytest.mark.parametrize("domain", sorted(FILE_KINDS))
def test_no_scenario_comes_twice_and_a_longer_list_begins_with_the_shorter(domain: str) -> None:
    environment = environment_of(domain)
    whole = environment.count(Split.SEEN)

    few, all_of_them = (environment.scenarios(Split.SEEN, count=count, seed=5) for count in (3, whole))

    assert few == all_of_them[:3]
    assert len({each.scenario_id for each in all_of_them}) == whole
    assert environment.scenarios(Split.SEEN, count=whole, seed=6) != all_of_them
    assert environment.count(Split.UNSEEN) + whole == 40
    with pytest.raises(TooFewScenarios, match=f"the file has {whole} seen scenarios, {whole + 1} are asked"):
        environment.scenarios(Split.SEEN, count=whole + 1, seed=5)


@pytest.mark.parametrize("domain", sorted(FILE_KINDS))
def test_only_what_is_marked_ends_a_conversation(domain: str) -> None:
    environment, (asks, talks, ends) = environment_of(domain), ENDINGS[domain]
    (scenario,) = environment.scenarios(Split.SEEN, count=1, seed=1)
    user = environment.user(scenario, seed=1)

    replies = [user.reply(said(environment, text)) for text in (asks, talks, ends)]
    late = user.reply(said(environment, asks, "hm", asks, "hm", asks))

    assert [isinstance(each, Failure) for each in replies] == [True, True, False]
    assert replies[2] == Reply(None, StopReason.COMPLETED)
    assert late == Reply(None, StopReason.TURN_LIMIT)
    assert isinstance(replies[0], Failure)
    assert replies[0].kind is FailureKind.USER_ERROR


@pytest.mark.parametrize("domain", sorted(FILE_KINDS))
def test_the_assistant_is_told_what_ends_it_behind_what_he_was_told_already(domain: str) -> None:
    (scenario,) = environment_of(domain).scenarios(Split.SEEN, count=1, seed=1)
    collapsed = {
        "prompt": [{"role": "system", "content": "Ask first."}, {"role": "user", "content": "help me"}],
        "ground_truth": "Bees dance .",
        "extra_info": {"interaction_kwargs": {"name": "a", "single_turn_prompt": "b", "task_desc": "c"}},
    }

    of_own = environment_of("document", [collapsed])
    pool = [each for split in Split for each in of_own.scenarios(split, count=of_own.count(split), seed=1)]

    assert [each.role for each in scenario.opening] == [Role.SYSTEM, Role.USER]
    assert scenario.opening[0].content == FILE_KINDS[domain].instruction
    assert pool[0].opening[0].content.startswith("Ask first.\n\nHelp the user to write")


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"so it is \boxed{\frac12}", r"\frac12"),
        ("Answer: 7.", "7"),
        ("first answer : 3\nno, answer: 4 apples", "4 apples"),
        ("the answer is 7", None),
        ("answer:", None),
    ],
)
def test_an_answer_is_boxed_or_marked(text: str, answer: str | None) -> None:
    assert stated_answer(text) == answer


@pytest.mark.parametrize(
    ("texts", "value"),
    [(["answer: 7.0"], 1.0), (["answer: 8", "no", "answer: 7"], 0.0), (["how many ?"], 0.0)],
)
def test_the_first_stated_answer_counts(texts: list[str], value: float) -> None:
    environment = environment_of("math")
    (scenario,) = environment.scenarios(Split.SEEN, count=1, seed=1)

    assert environment.outcome(scenario, said(environment, *texts)) == Scored(value)


def test_what_is_said_behind_the_turn_limit_does_not_count() -> None:
    environment = environment_of("math")
    (scenario,) = environment.scenarios(Split.SEEN, count=1, seed=1)
    late = said(environment, "a", "b", "a", "b", "a", "b", "answer: 7")

    assert environment.outcome(scenario, late) == Scored(0.0)


def test_a_draft_is_scored_against_the_article_and_a_diagnosis_by_no_rule() -> None:
    document, medical = environment_of("document"), environment_of("medical")
    (article,) = document.scenarios(Split.SEEN, count=1, seed=1)
    (case,) = medical.scenarios(Split.SEEN, count=1, seed=1)
    reference = json.loads(article.latent_json)["reference"]

    whole = document.outcome(article, said(document, f"draft: {reference}"))

    assert isinstance(whole, Scored)
    assert whole.value == pytest.approx(1.0)
    assert isinstance(medical.outcome(case, said(medical, "diagnosis: migraine")), Unscored)


@pytest.mark.parametrize(
    ("domain", "fact"),
    [("math", "Ann has 3 apples"), ("document", "Bees dance"), ("medical", "one side of the head")],
)
def test_a_model_that_plays_the_user_knows_the_facts_and_never_the_answer(domain: str, fact: str) -> None:
    environment = environment_of(domain)
    (scenario,) = environment.scenarios(Split.SEEN, count=1, seed=1)
    model = Scripted(lambda request: {"thought": "", "message": "it hurts .", "wants_to_stop": False})
    speaker = Speaker(model, "m", temperature=0.7, max_tokens=64)
    users = LlmUsers(environment, speaker, contract=StopContract())

    reply = users.user(scenario, seed=1).reply(said(environment, ENDINGS[domain][0]))

    assert isinstance(reply, Reply)
    assert reply.text == "it hurts ."
    prompt = model.asked[0].messages[0].content
    assert fact in prompt
    assert "migraine" not in prompt
    assert not any(name in {"answer", "diagnosis"} for name, _ in brief_of(scenario).facts)


def test_a_user_who_tells_his_whole_problem_at_once_is_asked_again() -> None:
    environment = environment_of("math")
    (scenario,) = environment.scenarios(Split.SEEN, count=1, seed=1)
    told = json.loads(scenario.latent_json)["problem"]
    model = Scripted(lambda request: {"thought": "", "message": told, "wants_to_stop": False})
    users = LlmUsers(
        environment, Speaker(model, "m", temperature=0.7, max_tokens=64), contract=StopContract()
    )

    failed = users.user(scenario, seed=1).reply(said(environment, "how many ?"))

    assert isinstance(failed, Failure)
    assert LEAKS in failed.cause


def test_a_judge_puts_an_article_together_and_code_scores_it_against_the_reference() -> None:
    environment = environment_of("document")
    (scenario,) = environment.scenarios(Split.SEEN, count=1, seed=1)
    reference = json.loads(scenario.latent_json)["reference"]
    model = Scripted(lambda request: {"rationale": "", "cannot_judge": False, "document": reference})
    judges = LlmJudges("document", "small", speaker=Speaker(model, "m", temperature=0.0, max_tokens=64))

    found = judges.judge(scenario, seed=1).score(said(environment, f"here you are . {reference}"))

    assert isinstance(found, Scored)
    assert found.value == pytest.approx(1.0)


def test_another_answer_in_the_file_is_another_simulator() -> None:
    changed = [{**row, "answer": 8} if place == 3 else row for place, row in enumerate(ROWS["math"])]
    same, other = environment_of("math"), environment_of("math", changed)

    assert environment_of("math").digest == same.digest != other.digest
