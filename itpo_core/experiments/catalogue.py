"""The experiments that exist, by name: what each asks, in which regime, with which arms."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType

from itpo_core.experiments.loop import run_arm
from itpo_core.experiments.recipes import ARMS, HARD, LARGE, MAIN, MANY, MEDIUM, STARTS, Regime

Row = Mapping[str, float | int | str | None]
Run = Callable[..., list[Row]]  # (*, arm, seed, cache) -> one row of figures per step


@dataclass(frozen=True, slots=True)
class Experiment:
    """One question. `run` makes the rows of one arm and seed; `settings` is all that decides them,
    as text by arm.

    `curves`: every row is an iteration with `success`, compared with arm `baseline`; `oracle` is the arm that
    bounds what credit can gain.
    """

    question: str
    arms: tuple[str, ...]
    run: Run
    settings: Mapping[str, str]
    conversations: int = 0
    curves: bool = True
    baseline: str = "outcome"
    oracle: str = "oracle_pi"
    seeds: int = 5


def compared(question: str, regime: Regime, arms: tuple[str, ...], *, seeds: int = 5) -> Experiment:
    """Arms of the loop side by side in one regime."""

    def run(*, arm: str, seed: int, cache: Path) -> list[Row]:
        outcome = run_arm(ARMS[arm], regime, seed=seed, cache=cache)
        last = {"final_success": outcome.final_success, "start_cpu_seconds": outcome.start_cpu_seconds}
        rows: list[Row] = [asdict(each) for each in outcome.iterations]
        return [*rows[:-1], {**rows[-1], **last}]

    settings = {arm: f"{asdict(regime)} {asdict(ARMS[arm])}" for arm in arms}
    return Experiment(question, arms, run, settings, conversations=regime.conversations, seeds=seeds)


EXPERIMENTS: Mapping[str, Experiment] = MappingProxyType(
    {
        "many-small": compared(
            "F-3: does turn credit learn faster? Many iterations of 128 conversations; credit given online,"
            " and credit that tunes the start on the same logs.",
            MANY,
            MAIN + STARTS,
        ),
        "medium": compared(
            "F-3 with 512 conversations an iteration.",
            MEDIUM,
            ("outcome", "share", "filtered", "turn_weighted", "oracle_pi"),
        ),
        "large": compared(
            "F-3 with 2,048 conversations an iteration: thousands average the noise away.",
            LARGE,
            ("outcome", "share", "turn_weighted", "oracle_pi"),
            seeds=3,
        ),
        "hard": compared(
            "F-3 on the shop with four products and five slots.",
            HARD,
            ("outcome", "share", "turn_weighted", "oracle_pi"),
            seeds=3,
        ),
    }
)
