"""How the time of a run of runs divides: stage work on one side, Airflow and imports on the other."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Interval:
    """A stretch of work of one stage, in seconds since the epoch."""

    stage: str
    began_s: float
    ended_s: float


@dataclass(frozen=True, slots=True)
class Division:
    """Wall-clock seconds: all, those before the first trigger, and those with a stage at work."""

    total_s: float
    start_s: float
    work_s: float

    @property
    def overhead_share(self) -> float:
        """Fraction of the wall clock during which no stage worked."""
        return 1.0 - self.work_s / self.total_s


def covered_s(intervals: Iterable[Interval]) -> float:
    """Length of the union: shards that work side by side are counted once."""
    covered, reached = 0.0, float("-inf")
    for interval in sorted(intervals, key=lambda each: each.began_s):
        covered += max(0.0, interval.ended_s - max(interval.began_s, reached))
        reached = max(reached, interval.ended_s)
    return covered


def seconds_by_stage(intervals: Iterable[Interval]) -> dict[str, float]:
    """Work of each stage, shards added up, the longest first."""
    sums: dict[str, float] = {}
    for interval in intervals:
        sums[interval.stage] = sums.get(interval.stage, 0.0) + interval.ended_s - interval.began_s
    return dict(sorted(sums.items(), key=lambda item: -item[1]))


def divide(intervals: Iterable[Interval], *, began_s: float, triggered_s: float, ended_s: float) -> Division:
    """Divide the time from `began_s` to `ended_s`; the start lasted until `triggered_s`."""
    return Division(ended_s - began_s, triggered_s - began_s, covered_s(intervals))
