"""Rows of MATH-style files: what becomes a scenario, what is refused, and which answers are the same."""

import json
from collections.abc import Iterable
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from itpo_core.envs.math_answers import final_answer, same_answer
from itpo_core.envs.math_problems import Row, read_problems, split_of_problem
from itpo_core.types import Scenario, Split

# A small file of ours, a line a row.
FILE = r"""
{"problem": "What is $2+3$?", "level": "Level 1", "type": "Prealgebra", "solution": "It is $\\boxed{5}$."}
{"problem": "Halve $\\frac{3}{2}$.", "solution": "So $\\frac34=\\boxed{\\frac{3}{4}}$.", "subject": "else"}
{"problem": "How many days has a week?", "answer": 7, "level": 1, "type": null}
{"problem": "What is $2+3$?", "answer": "5.0"}
"""
ROWS = [json.loads(line) for line in FILE.strip().splitlines()]


def read(rows: Iterable[Row]) -> list[Scenario]:
    return read_problems(enumerate(rows, start=1))


def latent(row: int) -> dict[str, str]:
    return json.loads(read(ROWS)[row].latent_json)


def test_rows_become_scenarios_that_keep_problem_and_answer() -> None:
    assert len(read(ROWS)) == 3
    assert latent(0) == ROWS[0] | {"answer": "5"}
    assert latent(1)["answer"] == r"\frac{3}{4}"
    assert latent(2) == {"problem": "How many days has a week?", "answer": "7", "level": "1"}


def test_a_user_names_the_kind_of_problem_and_no_more() -> None:
    openings = [scenario.opening[-1].content for scenario in read(ROWS)]

    assert openings[0] == "Hi, can you help me with my prealgebra problem?"
    assert openings[1] == "Hi, can you help me with my math problem?"


def test_a_fifth_is_held_out_by_the_text_alone() -> None:
    problems = [f"What is {number} + 1?" for number in range(1000)]
    rows = [{"problem": problem, "answer": "1"} for problem in problems]

    scenarios = read(rows)

    assert [each.split for each in scenarios] == [split_of_problem(problem) for problem in problems]
    assert 160 < sum(each.split is Split.UNSEEN for each in scenarios) < 240
    assert len({each.scenario_id for each in scenarios}) == 1000
    assert read(reversed(rows)) == scenarios[::-1]


def test_no_rows_are_no_scenarios() -> None:
    assert read([]) == []


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"answer": "5"}, "row 2: key 'problem' is missing"),
        ({"problem": None, "answer": "5"}, "row 2: key 'problem' is missing"),
        ({"problem": " ", "answer": "5"}, "row 2: key 'problem' is an empty text"),
        ({"problem": 5, "answer": "5"}, "row 2: key 'problem' is 5, a int; write a text"),
        ({"problem": "Why?"}, "row 2: key 'answer' is missing, and so is 'solution'"),
        ({"problem": "Why?", "answer": True}, "row 2: key 'answer' is True, a bool"),
        ({"problem": "Why?", "answer": ["5"]}, r"row 2: key 'answer' is \['5'\], a list"),
        ({"problem": "Why?", "solution": "five"}, r"row 2: key 'solution' has no \\boxed"),
        ({"problem": "Why?", "solution": r"\boxed{5"}, r"row 2: key 'solution' has no \\boxed"),
        ({"problem": "Why?", "answer": "5", "type": 3}, "row 2: key 'type' is 3, a int"),
        ({"problem": "What is $2+3$?", "answer": "6"}, "row 2: key 'answer' is '6', but row 1 has the same"),
    ],
)
def test_a_row_that_is_none_is_named_with_its_key(row: Row, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read([ROWS[0], row])


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"so $x=\boxed{\frac{1}{\sqrt{2}}}$.", r"\frac{1}{\sqrt{2}}"),
        (r"first \boxed{1}, then \boxed{2}", "2"),
        (r"first \boxed{1}, then \fbox{2}", "2"),
        (r"\boxed{\{1,2\}}", r"\{1,2\}"),
        (r"the old way: \boxed 7.", "7"),
        (r"\boxed{}", None),
        (r"\boxed{never closed", None),
        ("the answer is 5", None),
    ],
)
def test_the_last_box_holds_the_final_answer(text: str, answer: str | None) -> None:
    assert final_answer(text) == answer


@pytest.mark.parametrize(
    ("given_answer", "right"),
    [
        ("5.0", "5"),
        ("1,234", "1234"),
        (r"\dfrac12", "0.5"),
        (r"-\frac{3}{6}", "-1/2"),
        (r"\left( 1, 2 \right)", "(1,2)"),
        (r"90^\circ", "90"),
        (r"50\%", "50"),
        (r"\text{Tuesday}", "Tuesday"),
        ("$12$.", "12"),
    ],
)
def test_answers_are_the_same_in_other_words(given_answer: str, right: str) -> None:
    assert same_answer(given_answer, right)


@pytest.mark.parametrize(
    ("given_answer", "right"),
    [
        ("5", "6"),
        ("", ""),
        ("1/0", "2/0"),
        ("(1,2)", "(2,1)"),
        ("1,2", "12"),
        ("x+1", "1+x"),
        ("9" * 5000, "8"),
    ],
)
def test_other_answers_are_not_the_same(given_answer: str, right: str) -> None:
    assert not same_answer(given_answer, right)


@given(number=st.fractions(max_denominator=1000))
def test_a_fraction_is_itself_however_it_is_written(number: Fraction) -> None:
    above, below = number.numerator, number.denominator

    assert same_answer(f"\\frac{{{above}}}{{{below}}}", f"{2 * above}/{2 * below}")


@given(text=st.text(alphabet="\\boxed{}$ 1./,", max_size=60))
def test_no_text_is_too_odd_to_be_read(text: str) -> None:
    answer = final_answer(text)

    assert answer is None or answer.strip()
    assert not same_answer(text, "never this")


def collapsed(reference: str, **changes: object) -> Row:
    kwargs = {"name": "math", "single_turn_prompt": "What is 3 + 4 ?", "task_desc": "question answering"}
    prompt = [{"role": "user", "content": "I am stuck on a sum ."}]
    given = {"prompt": prompt, "ground_truth": reference, "extra_info": {"interaction_kwargs": kwargs}}
    return {**given, **changes}


@pytest.mark.parametrize("reference", ["7", r"Three and four more are \boxed{7} ."])
def test_a_collapsed_row_is_a_problem_with_an_opening_of_its_own(reference: str) -> None:
    (scenario,) = read([collapsed(reference)])

    assert json.loads(scenario.latent_json) == {"problem": "What is 3 + 4 ?", "answer": "7"}
    assert [message.content for message in scenario.opening] == ["I am stuck on a sum ."]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (collapsed("word " * 13), "row 2, key 'ground_truth': 13 words without"),
        (collapsed(" "), "row 2, key 'ground_truth': ' ' is a str"),
        (collapsed("7", extra_info=None), "row 2, key 'extra_info': it is missing or null"),
    ],
)
def test_a_collapsed_row_without_an_answer_is_refused_with_row_and_key(row: Row, message: str) -> None:
    with pytest.raises(ValueError, match="^" + message):
        read([ROWS[0], row])
