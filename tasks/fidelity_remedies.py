"""What to do about each thing that is wrong with simulated users, by rules or played by a model. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

MODEL = "llm"


@dataclass(frozen=True, slots=True)
class Remedy:
    """What moves a feature: of users who follow rules, and of those whom a language model plays."""

    rules: str
    model: str


NO_RULE = 'no persona changes it: try another domain.preset, or let a model play them (user.kind = "llm")'
ANOTHER = Remedy(NO_RULE, "try another user.model; the prompts are the program's own")
LEAVES_LATE = Remedy(
    'deal "impatient" users', 'deal "impatient" users, and let them leave earlier (user.earliest_leave)'
)
LEAVES_EARLY = Remedy(
    'deal "cooperative" users and fewer "impatient" ones',
    'let them leave later (user.earliest_leave), or deal "cooperative" users',
)
SAYS_AGAIN = Remedy(NO_RULE, "raise user.temperature, or try another user.model")
SAYS_NEW = Remedy('deal "vague" users, who are asked again', "lower user.temperature")
REMEDIES: Mapping[str, Remedy] = {
    "stays too long": LEAVES_LATE,
    "stops too seldom": LEAVES_LATE,
    "never stops": LEAVES_LATE,
    "goes on after a confirmation": LEAVES_LATE,
    "leaves too soon": LEAVES_EARLY,
    "stops too soon": LEAVES_EARLY,
    "stops on confirm": LEAVES_EARLY,
    "long-winded": Remedy(
        'deal fewer "verbose" users', 'deal fewer "verbose" users, or try another user.model'
    ),
    "too terse": Remedy('deal "verbose" users', 'deal "verbose" users, or try another user.model'),
    "asks too often": ANOTHER,
    "asks too seldom": ANOTHER,
    "too contrary": Remedy(
        'deal "cooperative" users and fewer "vague" ones', 'deal "cooperative" users, or another user.model'
    ),
    "too agreeable": Remedy('deal "vague" users', 'deal "vague" and "mistaken" users, or another user.model'),
    "copies the assistant": SAYS_AGAIN,
    "does not take up the assistant's words": ANOTHER,
    "answers as the assistant": Remedy(NO_RULE, "try another user.model: this one falls out of its role"),
    "speaks too unlike the assistant": ANOTHER,
    "repeats its opening": SAYS_AGAIN,
    "repeats itself": SAYS_AGAIN,
    "repeats its opening too seldom": SAYS_NEW,
    "repeats itself too seldom": SAYS_NEW,
    "answers in other ways": Remedy(
        'deal the personas that the logs show ("vague" evades, "mistaken" errs, "verbose" rambles)',
        "kinds are told by the words of rule-based users, so that free speech is mostly of the kind other: "
        "go by the other features",
    ),
}
DEALT = (
    "users are dealt by collect.personas and evaluate.personas; whether it helped says "
    "`itpo fidelity --iteration N` on rollouts that were collected with them"
)
UNTIL_THEN = (
    "until nothing is named, believe a gain only where other users confirm it: evaluate.second_family, "
    'and decide.second_family = "required"'
)


def remedies(faults: Sequence[str], *, users: str) -> list[str]:
    """A line per fault, what the lines mean, and what holds until then; nothing where nothing is wrong."""
    if not faults:
        return []
    lines = [f"{fault}: {_of(fault, users=users)}" for fault in faults]
    dealt = [DEALT] if any("deal " in line for line in lines) else []
    return [*lines, *dealt, UNTIL_THEN]


def _of(fault: str, *, users: str) -> str:
    found = REMEDIES.get(fault, ANOTHER)
    return found.model if users == MODEL else found.rules
