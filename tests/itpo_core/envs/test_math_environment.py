"""Problems, what is held out of them, and how a finished conversation is scored."""

from collections import Counter
from dataclasses import replace
from random import Random
from types import MappingProxyType

import pytest

from itpo_core.envs.acts import Question, SeveralQuestions, SmallTalk
from itpo_core.envs.math_language import (
    Answer,
    Step,
    parse,
    told_numbers,
)
from itpo_core.envs.math_problem import draw_problem, problem_of, split_of, unseen_problems
from itpo_core.envs.math_reckoning import OPERATIONS
from itpo_core.envs.math_school import SCHOOLS, School, definition_digest, school_of
from itpo_core.envs.math_tutoring import MathEnvironment
from itpo_core.envs.personas import Persona
from itpo_core.types import Scenario, Scored, Split
from tests.itpo_core.envs.math_scenes import HARD, SMALL, packing_scenario, scene

ENVIRONMENT = MathEnvironment("small")


@pytest.mark.parametrize(
    ("text", "act"),
    [
        ("answer : boxes 3 times apples 4 makes 12 .", Answer(12)),
        ("the answer is 12 of course", Answer(12)),
        ("12 is what you may answer", SmallTalk()),
        ("well , boxes 3 times apples 4 makes 12 .", Step(12)),
        ("how many boxes ?", Question("boxes")),
        ("boxes or apples ?", SeveralQuestions()),
        ("the answer is difficult", SmallTalk()),
        ("answer : 1234567890", SmallTalk()),
        ("answer : ١٢", SmallTalk()),
        ("", SmallTalk()),
    ],
)
def test_a_text_means_what_its_words_say(text: str, act: object) -> None:
    assert parse(text, SMALL.names) == act


def test_only_numbers_that_a_user_put_before_a_name_were_told() -> None:
    messages = scene("so 5 boxes ?", "i have 3 boxes .", "apples ?", "4 trees , and apples 4 , not 6 boxes")

    assert told_numbers(messages, ("boxes", "apples")) == {"boxes": 3}


@pytest.mark.parametrize(
    ("said", "value"),
    [
        (("answer : boxes 3 times apples 4 makes 12 .",), 1.0),
        (("answer : 13 .",), 0.0),
        (("answer : 13 .", "", "answer : 12 ."), 0.0),
        (("boxes ?", "i have 3 boxes .", "answer : 12"), 1.0),
        (("it makes 12 .",), 0.0),
        (("boxes ?", "no") * 6 + ("answer : 12",), 0.0),
    ],
)
def test_the_first_answer_in_time_decides(said: tuple[str, ...], value: float) -> None:
    assert ENVIRONMENT.outcome(packing_scenario(), scene(*said)) == Scored(value)


@pytest.mark.parametrize("school", SCHOOLS.values(), ids=lambda school: school.preset)
def test_a_fifth_of_every_kind_is_held_out_and_its_reckoning_is_not(school: School) -> None:
    unseen = unseen_problems(school)

    held_out = Counter(name for name, *_ in unseen)
    for kind in school.kinds:
        size = 1
        for values in school.values_of(kind):
            size *= len(values)
        assert held_out[kind.name] == round(size / 5)
        sisters = [each.name for each in school.kinds if each.operations == kind.operations]
        assert len(sisters) > 1 or len(kind.operations) > 1
        for other in sisters:
            numbers = {tuple(rest) for name, *rest in unseen if name == kind.name}
            assert other == kind.name or not numbers & {
                tuple(rest) for name, *rest in unseen if name == other
            }


@pytest.mark.parametrize("school", SCHOOLS.values(), ids=lambda school: school.preset)
def test_kinds_use_known_quantities_and_no_result_is_negative(school: School) -> None:
    assert len(set(school.names)) == len(school.names)
    for kind in school.kinds:
        assert set(kind.quantities) <= set(school.names)
        assert len(kind.quantities) == len(kind.operations) + 1
        first, *others = school.values_of(kind)
        results = set(first)
        for operation, values in zip(kind.operations, others, strict=True):
            results = {OPERATIONS[operation](left, right) for left in results for right in values}
            assert min(results) >= 0


def test_something_is_always_left_out_at_first() -> None:
    random = Random(0)
    problems = [draw_problem(HARD, random) for _ in range(400)]

    told = [len(problem.volunteered) for problem in problems]

    assert all(len(problem.volunteered) < len(problem.values) for problem in problems)
    assert max(told) >= 2
    assert min(told) == 0
    assert {split_of(problem, HARD) for problem in problems} == set(Split)


def test_a_scenario_tells_its_problem_and_of_which_preset_it_is() -> None:
    (scenario,) = MathEnvironment("hard").scenarios(Split.UNSEEN, count=1, seed=0)
    problem = problem_of(scenario, HARD)

    told = told_numbers(scenario.opening, HARD.names)

    assert told == {name: problem.values[name] for name in problem.volunteered}
    assert problem.kind.name in scenario.opening[0].content.split()


def test_a_scenario_of_another_preset_or_domain_is_refused() -> None:
    library = next(
        each for each in MathEnvironment("hard").scenarios(Split.SEEN, count=50, seed=0)
        if "library" in each.scenario_id
    )  # fmt: skip

    with pytest.raises(ValueError, match="not of preset 'small'"):
        ENVIRONMENT.user(library, seed=0)
    with pytest.raises(ValueError, match="domain 'sales'"):
        ENVIRONMENT.user(_elsewhere(), seed=0)


def _elsewhere() -> Scenario:
    return replace(packing_scenario(), domain="sales")


def test_an_unknown_preset_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="'huge'; choose one of small, hard"):
        school_of("huge")


def test_the_digest_covers_personas_phrases_and_the_version() -> None:
    fewer = MappingProxyType({"default": Persona()})
    other = replace(SMALL, phrases=replace(SMALL.phrases, right_step=("fine .",)))

    digests = {
        definition_digest(SMALL), definition_digest(SMALL, version="0"),
        definition_digest(SMALL, personas=fewer), definition_digest(other),
    }  # fmt: skip

    assert len(digests) == 4
