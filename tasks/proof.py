"""What an experiment has shown: the gain of its current policy, what trained it, and every data digest."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from storage import commits, registry
from storage.commits import CommitKey
from storage.warehouse import ask, open_lake, sql_path
from tasks import config as configuration
from tasks.context import duck_settings, open_lake_store

KINDS = ("rollouts", "curated", "reward", "credit", "policy", "evaluation", "report")
MOST_ITERATIONS = 10_000
GAIN = "gain_over_initial"
SAME = 1e-8  # what trains and what stands beside it are computed apart, and differ by their rounding


@dataclass(frozen=True, slots=True)
class Trained:
    """One trained iteration; see sql/questions/what_trained.sql. `off_share` is None without shares."""

    iteration: int
    algorithm: str
    turns: int
    moved: float
    spread: float
    off_share: float | None


@dataclass(frozen=True, slots=True)
class Proof:
    """Gain of the current version over version 0 in points of held-out success, with its paired interval."""

    version: str
    gain_points: float
    lower_points: float
    upper_points: float
    pairs: int
    trained: tuple[Trained, ...]


def proof_of(config_path: str, overrides: dict[str, Any]) -> Proof:  # Any: JSON values
    """Read it from the lake; raises MissingPolicy when no version is current."""
    config = configuration.load(config_path, overrides=overrides)
    store = open_lake_store(config)
    current = registry.current(store, config.experiment)
    evidence = _evidence(registry.events(store, config.experiment), current)
    statement = sql_path("questions/what_trained.sql").read_text(encoding="utf-8")
    with open_lake(store, config.experiment, settings=duck_settings(config)) as connection:
        rows = ask(connection, statement, rows=MOST_ITERATIONS).rows
    return Proof(
        version=current.name,
        gain_points=100 * float(evidence[GAIN] or 0.0),
        lower_points=100 * float(evidence[f"{GAIN}_lower"] or 0.0),
        upper_points=100 * float(evidence[f"{GAIN}_upper"] or 0.0),
        pairs=int(evidence[f"{GAIN}_pairs"] or 0),
        trained=tuple(_trained(row) for row in rows),
    )


def shortcomings(proof: Proof, *, min_gain_points: float, min_lower_points: float) -> list[str]:
    """Why the experiment does not show that the policy learned from turn shares; empty when it does."""
    found = []
    if proof.gain_points < min_gain_points:
        found.append(
            f"the gain is {proof.gain_points:.1f} points, at least {min_gain_points:.0f} are asked for"
        )
    if proof.lower_points <= min_lower_points:
        found.append(
            f"the interval starts at {proof.lower_points:.1f} points, not above {min_lower_points:.0f}"
        )
    if not any(_from_shares(row) for row in proof.trained):
        found.append("no gradient was made of norm_itpo_share credit")
    found += [
        f"iteration {row.iteration} trained on {row.algorithm}"
        for row in proof.trained
        if row.algorithm != "norm_itpo_share"
    ]
    return found


def data_digests(config_path: str, overrides: dict[str, Any]) -> dict[str, str]:  # Any: JSON values
    """Data digest of every commit of the decided iterations, by key."""
    config = configuration.load(config_path, overrides=overrides)
    store = open_lake_store(config)
    keys = [
        CommitKey(config.experiment, kind, iteration)
        for iteration in range(registry.next_iteration(store, config.experiment))
        for kind in KINDS
    ]
    found = {key.text: commits.find(store, key) for key in keys}
    return {name: commit.digest for name, commit in found.items() if commit is not None}


def _trained(row: Sequence[object]) -> Trained:
    *numbers, off_share = row
    iteration, algorithm, turns, moved, spread = (str(value) for value in numbers)
    off = None if off_share is None else float(str(off_share))
    return Trained(int(iteration), algorithm, int(turns), float(moved), float(spread), off)


def _from_shares(row: Trained) -> bool:
    if row.algorithm != "norm_itpo_share" or row.off_share is None:
        return False
    return row.moved > 0.0 and row.spread > 0.0 and row.off_share <= SAME


def _evidence(events: list[registry.Decision], current: registry.PolicyVersion) -> registry.Evidence:
    """That of the promotion of the current version; version 0 has no gain over itself."""
    for event in reversed(events):
        if event.action == "promote" and event.version == current.name and GAIN in event.evidence:
            return event.evidence
    return {GAIN: 0.0, f"{GAIN}_lower": 0.0, f"{GAIN}_upper": 0.0, f"{GAIN}_pairs": 0.0}
