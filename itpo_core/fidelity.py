"""The fidelity index: whether simulated users lie within what two halves of real logs differ by."""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random

import numpy as np

from itpo_core.fidelity_distances import (
    DISTANCES,
    Floats,
    counted,
    halves,
    part_where_any,
    quantile_edges,
    resampled,
    survivors,
    totals,
)
from itpo_core.fidelity_features import (
    ACTS,
    ACTS_FAULT,
    ACTS_TITLE,
    DISAGREEMENT,
    FEATURES,
    REFUSALS_CHANGE,
    Feature,
    Reference,
    Scale,
    change_of,
    disagrees,
    of_answers,
    reference_of,
)
from itpo_core.fidelity_talks import Exchange, Talk
from itpo_core.identifiers import derive_seed

REFERENCE_SHARE = 0.25  # of the logs teach how both speak; the others are compared
MIN_HALF = 40  # conversations in each half of the logs, and of simulated users
LOGS_NEEDED = math.ceil(2 * MIN_HALF / (1 - REFERENCE_SHARE)) + 1
MIN_ANSWERS = 30  # of which a feature says something, on either side
HARDLY = 0.1  # of the logged level: as good as none
FALSE_ALARMS = 0.05  # chance that faithful users are accused of anything at all
Acts = Callable[[str], str]  # the kind of a user's message, by the domain's own parser


@dataclass(frozen=True, slots=True)
class Finding:
    """One feature: logged and simulated level, distance with its 95 % interval, and the limit of the null.

    `fault` names what is wrong where the distance is beyond the limit; None within it.
    """

    name: str
    title: str
    scale: Scale
    logged: float | None
    simulated: float | None
    distance: float
    lower: float
    upper: float
    limit: float
    fault: str | None


@dataclass(frozen=True, slots=True)
class Unjudged:
    """A feature of which too little was seen, with the reason."""

    name: str
    title: str
    reason: str


@dataclass(frozen=True, slots=True)
class Fidelity:
    """All features of one comparison; the worst first."""

    findings: tuple[Finding, ...]
    unjudged: tuple[Unjudged, ...]
    logged: int
    simulated: int

    @property
    def index(self) -> float:
        """Share of the judged features that lie within what two halves of the logs differ by."""
        return sum(each.fault is None for each in self.findings) / len(self.findings)

    @property
    def worst(self) -> Finding:
        """The feature that is furthest beyond, or nearest to, its limit."""
        return self.findings[0]

    @property
    def faults(self) -> tuple[str, ...]:
        """What is wrong with the simulated users, the worst first; empty when nothing is."""
        return tuple(each.fault for each in self.findings if each.fault is not None)


@dataclass(frozen=True, slots=True)
class TooFew:
    """A refusal to judge, with what would be needed."""

    reason: str


@dataclass(frozen=True, slots=True)
class _Sides:
    """One feature's counts of both sides over common bins, and its mean level.

    `part`, of features of words: the share that it has in a conversation that holds any of it.
    """

    feature: Feature
    logged_CB: Floats
    simulated_CB: Floats
    levels: tuple[float | None, float | None]
    part: float | None


@dataclass(frozen=True, slots=True)
class _Draws:
    """Which conversations are drawn, the same for every feature; `half` is the size of each half."""

    logged_DC: Floats
    simulated_DC: Floats
    halves_DC: tuple[Floats, Floats]
    half: int


def compare(
    logged: Sequence[Talk],
    simulated: Sequence[Talk],
    *,
    acts: Acts | None = None,
    refusing: Collection[str] = (),
    seed: int = 0,
    draws: int = 2000,
) -> Fidelity | TooFew:
    """Hold simulated users against logged ones, feature by feature; TooFew instead of a number on thin data.

    `acts` tells the kind of a user's message, where the domain can; a kind in `refusing` refuses, whatever
    its words are. A quarter of the logs teaches how users and assistants speak and is not compared. The
    limit of a feature is what random halves of the other logs (no larger than the simulated side) stay
    within, all features together in 95 % of cases.
    """
    if len(logged) < LOGS_NEEDED or len(simulated) < MIN_HALF:
        return TooFew(
            f"{len(logged)} logged and {len(simulated)} simulated conversations: "
            f"at least {LOGS_NEEDED} and {MIN_HALF} are needed"
        )
    learnt, held = _parted(logged, seed=seed)
    reference = reference_of(learnt)
    features = _features([*held, *simulated], acts, refusing=refusing)
    sides = {name: _sides(each, held, simulated, reference=reference) for name, each in features.items()}
    judged = {name: each for name, each in sides.items() if isinstance(each, _Sides)}
    draw = _drawn(len(held), len(simulated), draws=draws, seed=seed)
    findings = [
        _finding(name, each, draw, alarms=FALSE_ALARMS / len(judged)) for name, each in judged.items()
    ]
    return Fidelity(
        findings=tuple(sorted(findings, key=lambda each: -each.distance / each.limit)),
        unjudged=tuple(
            Unjudged(name, features[name].title, each)
            for name, each in sides.items()
            if isinstance(each, str)
        ),
        logged=len(held),
        simulated=len(simulated),
    )


def _drawn(logged: int, simulated: int, *, draws: int, seed: int) -> _Draws:
    half = min(logged // 2, simulated)
    return _Draws(
        logged_DC=resampled(logged, draws=draws, seed=derive_seed(seed, "fidelity", "logged")),
        simulated_DC=resampled(simulated, draws=draws, seed=derive_seed(seed, "fidelity", "simulated")),
        halves_DC=halves(logged, half=half, draws=draws, seed=derive_seed(seed, "fidelity", "null")),
        half=half,
    )


def _parted(logged: Sequence[Talk], *, seed: int) -> tuple[list[Talk], list[Talk]]:
    random = Random(derive_seed(seed, "fidelity", "reference"))
    places = sorted(range(len(logged)), key=lambda _: random.random())
    cut = int(REFERENCE_SHARE * len(logged))
    return [logged[place] for place in places[:cut]], [logged[place] for place in places[cut:]]


def _features(talks: Sequence[Talk], acts: Acts | None, *, refusing: Collection[str]) -> dict[str, Feature]:
    if acts is None:
        return dict(FEATURES)
    kinds = sorted({acts(each.said) for talk in talks for each in talk if each.said is not None})

    def kind(exchange: Exchange, _: Reference) -> float | None:
        return None if exchange.said is None else float(kinds.index(acts(exchange.said)))

    def refuses(exchange: Exchange, reference: Reference) -> float | None:
        is_refusal = exchange.said is not None and acts(exchange.said) in refusing
        return 1.0 if is_refusal else disagrees(exchange, reference)

    return {
        **FEATURES,
        DISAGREEMENT: replace(FEATURES[DISAGREEMENT], values=of_answers(refuses)),
        REFUSALS_CHANGE: replace(FEATURES[REFUSALS_CHANGE], values=change_of(refuses)),
        ACTS: Feature(ACTS_TITLE, Scale.JENSEN_SHANNON, of_answers(kind), ACTS_FAULT, ACTS_FAULT),
    }


def _sides(
    feature: Feature, logged: Sequence[Talk], simulated: Sequence[Talk], *, reference: Reference
) -> _Sides | str:
    """Both sides counted; the reason in words where one of them says too little."""
    values = [[feature.values(talk, reference) for talk in side] for side in (logged, simulated)]
    flat = [np.array([value for each in side for value in each]) for side in values]
    if min(map(len, flat)) < MIN_ANSWERS:
        sizes = f"{len(flat[0])} logged and {len(flat[1])} simulated {feature.unit}"
        return f"{sizes}; {MIN_ANSWERS} of each are needed"
    logged_CB, simulated_CB = _tables(feature.scale, values, flat=flat)
    levels = (_level(feature.scale, flat[0], logged_CB), _level(feature.scale, flat[1], simulated_CB))
    is_of_words = feature.scale is Scale.WORDS
    part = part_where_any(np.concatenate([logged_CB, simulated_CB])) if is_of_words else None
    return _Sides(feature, logged_CB, simulated_CB, levels, part)


def _tables(scale: Scale, values: Sequence[list[list[float]]], *, flat: Sequence[Floats]) -> list[Floats]:
    """What each conversation of either side holds, as the distance of the scale takes it."""
    if scale is Scale.CHANGE:
        return [totals(side) for side in values]
    edges = _edges(scale, flat[0], np.concatenate(flat))
    return [counted(side, edges) for side in values]


def _edges(scale: Scale, logged_N: Floats, both_N: Floats) -> Floats:
    """Quantiles of a number; one bin for each value of anything else, in pairs for going on and ending."""
    if scale is Scale.KOLMOGOROV:
        return quantile_edges(logged_N)
    last = 1 if scale in (Scale.SHARES, Scale.WORDS) else int(both_N.max())
    if scale in (Scale.SURVIVAL, Scale.HAZARD):
        last |= 1
    return np.arange(last, dtype=np.float64) + np.float64(0.5)


def _level(scale: Scale, values_N: Floats, counts_CB: Floats) -> float | None:
    total_1B = counts_CB.sum(axis=0, keepdims=True)
    return LEVELS[scale](values_N, total_1B)


def _mean(values_N: Floats, _: Floats) -> float | None:
    return float(values_N.mean())


def _mean_turns(_: Floats, total_1B: Floats) -> float | None:
    return float(1 + survivors(total_1B)[0, :-1].sum())


def _chance_of_ending(_: Floats, total_1B: Floats) -> float | None:
    return float(total_1B[0, 1::2].sum() / total_1B.sum())


def _none(_: Floats, __: Floats) -> float | None:
    return None


LEVELS: Mapping[Scale, Callable[[Floats, Floats], float | None]] = {
    Scale.KOLMOGOROV: _mean,
    Scale.SHARES: _mean,
    Scale.WORDS: _mean,
    Scale.CHANGE: _mean,
    Scale.JENSEN_SHANNON: _none,
    Scale.SURVIVAL: _mean_turns,
    Scale.HAZARD: _chance_of_ending,
}


def _finding(name: str, sides: _Sides, draw: _Draws, *, alarms: float) -> Finding:
    feature, logged_CB, simulated_CB = sides.feature, sides.logged_CB, sides.simulated_CB
    distance = DISTANCES[feature.scale]
    null_D = distance(draw.halves_DC[0] @ logged_CB, draw.halves_DC[1] @ logged_CB)
    limit = max(float(np.quantile(null_D, 1 - alarms)), _unseen(sides.part, alarms=alarms) / draw.half)
    drawn_D = distance(draw.logged_DC @ logged_CB, draw.simulated_DC @ simulated_CB)
    lower, upper = np.quantile(drawn_D, [0.025, 0.975])
    found = float(distance(logged_CB.sum(axis=0)[None], simulated_CB.sum(axis=0)[None])[0])
    return Finding(
        name=name,
        title=feature.title,
        scale=feature.scale,
        logged=sides.levels[0],
        simulated=sides.levels[1],
        distance=found,
        lower=min(float(lower), found),
        upper=max(float(upper), found),
        limit=limit,
        fault=None if found <= limit else _fault(feature, sides.levels),
    )


def _unseen(part: float | None, *, alarms: float) -> float:
    """Of how many conversations something may be that was never seen in them.

    Three (95 %): the rule of three. Slips of the typing are mostly never seen, so by chance they may be as
    seldom as everything else, and of the words of such a conversation they are but a `part`.
    """
    return 3.0 if part is None else -math.log(alarms) * part


def _fault(feature: Feature, levels: tuple[float | None, float | None]) -> str:
    """The name of what is wrong: too much, too little, or hardly any of it."""
    logged, simulated = levels
    if logged is None or simulated is None or simulated >= logged:
        return feature.more
    return feature.none if feature.none and simulated <= HARDLY * logged else feature.less
