"""Problems of the user's own files as scenarios for a model as the user.

Two kinds of rows are known by their keys (the schema is in docs/domains.md): the columns of the MATH set, and
a CollabLLM multi-turn row in its collapsed form.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace

from itpo_core.envs.collapsed_rows import collapsed, is_collapsed
from itpo_core.envs.math_answers import final_answer, same_answer
from itpo_core.envs.math_problem import DOMAIN
from itpo_core.envs.scenarios import UNSEEN_SHARE
from itpo_core.identifiers import stable_id
from itpo_core.types import Message, Role, Scenario, Split

Row = Mapping[str, object]
MOST_ANSWER_WORDS = 12  # a longer text is a solution, whose answer has to be marked


def read_problems(rows: Iterable[tuple[int, Row]]) -> list[Scenario]:
    r"""One scenario per problem, in order; `latent_json` holds problem, answer and what else is known.

    A row has `problem` and `answer`, or `solution`, whose last \boxed{…} is the answer; `level` and `type`
    are optional, other keys are not looked at, and None is as good as a key that is not there. Or it is a
    collapsed row, whose `ground_truth` is the answer or a solution with it in a box. A fifth of the
    problems is unseen, by a hash of their text. A problem that comes again with the same answer is kept once.
    Raises ValueError, which names the row by its number and the key, for anything else.
    """
    found: dict[str, tuple[int, str, Scenario]] = {}
    for number, given in rows:
        row, opening = _columns(given, number=number)
        problem = _text(row, "problem", number=number)
        answer = _answer(row, number=number)
        earlier = found.get(problem)
        if earlier is None:
            scenario = _scenario(row, problem, answer=answer, number=number)
            found[problem] = (number, answer, replace(scenario, opening=opening or scenario.opening))
        elif not same_answer(earlier[1], answer):
            raise ValueError(
                f"row {number}: key 'answer' is {answer!r}, but row {earlier[0]} has the same problem with "
                f"{earlier[1]!r}; keep one of the two"
            )
    return [scenario for _, _, scenario in found.values()]


def split_of_problem(problem: str) -> Split:
    """Where a problem belongs; it is the same everywhere, always."""
    place = int(stable_id(DOMAIN, "problem", problem), 16) / 16**32
    return Split.UNSEEN if place < UNSEEN_SHARE else Split.SEEN


def problem_answer(scenario: Scenario) -> str:
    """The right answer of a problem that was read. Raises ValueError for any other scenario."""
    latent = json.loads(scenario.latent_json) if scenario.domain == DOMAIN else {}
    if "problem" not in latent:
        raise ValueError(f"scenario {scenario.scenario_id} is no problem of a file: read it by read_problems")
    return str(latent["answer"])


def _columns(row: Row, *, number: int) -> tuple[Row, tuple[Message, ...]]:
    """A collapsed row in the columns of the MATH set, with the opening that it brings; any other as it is."""
    if "problem" in row or not is_collapsed(row):
        return row, ()
    given = collapsed(row, where=f"row {number}")
    boxed, words = final_answer(given.reference), len(given.reference.split())
    if boxed is None and words > MOST_ANSWER_WORDS:
        raise ValueError(
            f"row {number}, key 'ground_truth': {words} words without \\boxed{{…}}; mark the final answer, "
            "or give it alone"
        )
    return {"problem": given.goal, "answer": boxed or given.reference}, given.prompt


def _answer(row: Row, *, number: int) -> str:
    if row.get("answer") is not None:
        return _text(row, "answer", number=number, numbers=True)
    if row.get("solution") is None:
        raise ValueError(f"row {number}: key 'answer' is missing, and so is 'solution'; give one of them")
    answer = final_answer(_text(row, "solution", number=number))
    if answer is None:
        raise ValueError(
            f"row {number}: key 'solution' has no \\boxed{{…}} with an answer; "
            "mark its final answer, or give the key 'answer'"
        )
    return answer


def _scenario(row: Row, problem: str, *, answer: str, number: int) -> Scenario:
    latent = {"problem": problem, "answer": answer}
    for key in ("solution", "level", "type"):
        if row.get(key) is not None:
            latent[key] = _text(row, key, number=number, numbers=key == "level")
    topic = f"{latent['type'].lower()} problem" if "type" in latent else "math problem"
    return Scenario(
        scenario_id=f"{DOMAIN}-problem-{stable_id(DOMAIN, problem)[:16]}",
        domain=DOMAIN,
        split=split_of_problem(problem),
        opening=(Message(Role.USER, f"Hi, can you help me with my {topic}?"),),
        latent_json=json.dumps(latent, sort_keys=True, separators=(",", ":"), ensure_ascii=False),
    )


def _text(row: Row, key: str, *, number: int, numbers: bool = False) -> str:
    """The text under a key, without space around it; with `numbers` a number may stand there too."""
    value = row.get(key)
    if value is None:
        raise ValueError(f"row {number}: key {key!r} is missing; every row needs it")
    if numbers and isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise ValueError(f"row {number}: key {key!r} is {value!r}, a {type(value).__name__}; write a text")
    if not value.strip():
        raise ValueError(f"row {number}: key {key!r} is an empty text; fill it in or leave out the row")
    return value.strip()
