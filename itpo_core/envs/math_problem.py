"""One user's problem, which he keeps to himself: drawing it, writing it down, and which are held out."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import product as product_of
from random import Random
from types import MappingProxyType

from itpo_core.envs.dice import pick
from itpo_core.envs.math_reckoning import steps
from itpo_core.envs.math_school import Kind, School
from itpo_core.envs.scenarios import UNSEEN_SHARE, check_domain, ranked_by_hash, simulated_scenario
from itpo_core.identifiers import stable_id
from itpo_core.types import Scenario, Split

DOMAIN = "math"


@dataclass(frozen=True, slots=True)
class Problem:
    """The hidden facts: the kind, the number of every quantity, the quantities told at once."""

    kind: Kind
    values: Mapping[str, int]
    volunteered: tuple[str, ...] = ()

    @property
    def numbers(self) -> tuple[int, ...]:
        """In the order of the kind."""
        return tuple(self.values[name] for name in self.kind.quantities)

    @property
    def answer(self) -> int:
        """What the problem asks for."""
        return steps(self.kind.operations, self.numbers)[-1]


def draw_problem(school: School, random: Random) -> Problem:
    """Kind and numbers uniform; all quantities but one, picked first, are told at once with their chance."""
    kind = pick(random, school.kinds)
    values = {
        name: pick(random, options)
        for name, options in zip(kind.quantities, school.values_of(kind), strict=True)
    }
    hidden = pick(random, kind.quantities)
    told = [name for name in kind.quantities if random.random() < school.habits.tells and name != hidden]
    return Problem(kind, MappingProxyType(values), tuple(sorted(told, key=lambda _: random.random())))


def draw_problem_of(school: School, split: Split, *, random: Random) -> Problem:
    """A problem of the split: draws until one falls there."""
    while True:
        problem = draw_problem(school, random)
        if split_of(problem, school) is split:
            return problem


def split_of(problem: Problem, school: School) -> Split:
    """Where the kind with these numbers belongs; it is the same everywhere, always."""
    key = (problem.kind.name, *problem.numbers)
    return Split.UNSEEN if key in unseen_problems(school) else Split.SEEN


@cache
def unseen_problems(school: School) -> frozenset[tuple[str | int, ...]]:
    """Of each kind the fifth of all problems (kind, a number a quantity) whose hashes are the lowest.

    Where several kinds are reckoned alike, the same numbers are held out of one of them at most: what the
    answer to a held-out problem is can be learnt from the others.
    """
    unseen: list[tuple[str | int, ...]] = []
    for kind in school.kinds:
        alike = [each.name for each in school.kinds if each.operations == kind.operations]
        every = list(product_of(*school.values_of(kind)))
        own = [numbers for numbers in every if alike[_place(numbers) % len(alike)] == kind.name]
        ranked = ranked_by_hash(DOMAIN, ((kind.name, *each) for each in own))
        unseen += ranked[: round(UNSEEN_SHARE * len(every))]
    return frozenset(unseen)


def _place(numbers: tuple[int, ...]) -> int:
    return int(stable_id(DOMAIN, "alike", *numbers), 16)


def first_message(problem: Problem, school: School, *, random: Random) -> str:
    """The kind of problem, and what is told at once."""
    sentences = [pick(random, school.phrases.opening).format(kind=problem.kind.name)]
    for name in problem.volunteered:
        sentences.append(fact(problem.values[name], name, school=school, random=random))
    return " ".join(sentences)


def fact(number: int, name: str, *, school: School, random: Random) -> str:
    """One way to say how much it is of something."""
    return pick(random, school.phrases.fact).format(number=number, name=name)


def scenario_of(problem: Problem, school: School, *, opening: str) -> Scenario:
    """The scenario of a problem; its id depends on preset, problem and opening alone."""
    return simulated_scenario(
        DOMAIN,
        school.preset,
        topic=problem.kind.name,
        split=split_of(problem, school),
        opening=opening,
        latent_json=problem_to_json(problem),
    )


def problem_to_json(problem: Problem) -> str:
    """Canonical JSON: sorted keys, no spaces."""
    latent = {
        "answer": problem.answer,
        "kind": problem.kind.name,
        "values": dict(problem.values),
        "volunteered": list(problem.volunteered),
    }
    return json.dumps(latent, sort_keys=True, separators=(",", ":"))


def problem_of(scenario: Scenario, school: School) -> Problem:
    """The hidden facts of a scenario. Raises ValueError when they are not of this school."""
    check_domain(scenario, DOMAIN)
    return _problem_from_json(scenario.latent_json, school)


@lru_cache(maxsize=4096)
def _problem_from_json(latent_json: str, school: School) -> Problem:
    """Siblings share a scenario, and each asks for its problem twice."""
    latent = json.loads(latent_json)
    kinds = {kind.name: kind for kind in school.kinds}
    kind = kinds.get(latent.get("kind"))
    values = latent.get("values", {})
    if kind is None or values.keys() != set(kind.quantities):
        raise ValueError(
            f"a scenario is not of preset {school.preset!r}: kind {latent.get('kind')!r} with numbers for "
            f"{sorted(values)}; use the environment and the preset that made it"
        )
    return Problem(kind, MappingProxyType(values), tuple(latent["volunteered"]))
