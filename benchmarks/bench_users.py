"""Conversations with users behind a slow API: how much longer than engine or users alone would need.

Run as `python -m benchmarks.run users`.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from benchmarks.bench_rollouts import CONTEXT, PRESET, fresh
from benchmarks.slow_api import slow_api
from itpo_core.engines.transformers import TransformersEngine
from itpo_core.envs.catalogue import Domain, sales
from itpo_core.rollout import RolloutSpec
from itpo_core.types import Conversation, Split
from storage.paths import repository_root
from tasks.config import Config, load
from tasks.holding import Part, hold

CONVERSATIONS = 200
BATCH = 50
LATENCY_S = 0.2
TARGET = 1.3
REPEATS = 3


@dataclass(frozen=True, slots=True)
class Measured:
    """Wall-clock seconds unless a name says CPU; the bound is what engine or users alone would need.

    `cpu_s` is what this process took in the makespan, `engine_cpu_s` what the engine alone takes of it.
    """

    makespan_s: float
    cpu_s: float
    engine_s: float
    engine_cpu_s: float
    turn_s: float
    turns: int
    calls: int
    server_cpu_s: float

    @property
    def bound_s(self) -> float:
        """The longer of the engine's work and of the longest conversation."""
        return max(self.engine_s, self.turns * (LATENCY_S + self.turn_s))

    @property
    def ratio(self) -> float:
        """How much longer it took."""
        return self.makespan_s / self.bound_s

    @property
    def call_cpu_ms(self) -> float:
        """CPU-milliseconds of this process per call, all that is not the engine's."""
        return 1000 * (self.cpu_s - self.engine_cpu_s) / self.calls


def main() -> str:
    """The section of docs/benchmarks.md."""
    torch.set_num_threads(1)
    best = min((measure() for _ in range(REPEATS)), key=lambda each: each.ratio)
    times = (best.makespan_s, best.engine_s, best.turn_s, best.bound_s, best.ratio)
    figures = "{:.2f} | {:.2f} | {:.3f} | {:.2f} | {:.2f}".format(*times)
    cpu = (
        f"The client's process took {best.cpu_s:.2f} CPU-seconds, the engine alone {best.engine_cpu_s:.2f}: "
        f"{best.call_cpu_ms:.1f} ms for each of {best.calls} calls. The server took {best.server_cpu_s:.2f}."
    )
    return "\n".join(
        [
            "## Users behind an API",
            "",
            f"`python -m benchmarks.run users`: {CONVERSATIONS} conversations of the sales domain in batches "
            f"of {BATCH}, a fresh xs policy, users behind an HTTP server of ours that takes {LATENCY_S:g} s "
            f"for every answer; the best of {REPEATS} runs. The bound is max(engine time, turns x (latency + "
            "turn time)): the engine alone with users who answer at once, and one turn of one conversation. "
            "The server is a process of its own on the same machine.",
            "",
            "| makespan (s) | engine alone (s) | one turn (s) | bound (s) | ratio | turns | target |",
            "|---|---|---|---|---|---|---|",
            f"| {figures} | {best.turns} | at most {TARGET} |",
            "",
            cpu,
            "",
        ]
    )


@dataclass(frozen=True, slots=True)
class _Timed:
    conversations: list[Conversation]
    wall_s: float
    cpu_s: float


def measure() -> Measured:
    """One run of each."""
    policy, domain = fresh("xs"), sales(PRESET)
    engine = TransformersEngine(policy.model, policy.chat, max_context_tokens=CONTEXT)

    def held(config: Config, count: int) -> _Timed:
        specs = specs_of(domain, count)
        return _timed(lambda: hold(config, engine, domain=domain, specs=specs, part=Part(0, "bench")))

    alone, one = held(configured(), CONVERSATIONS), held(configured(), 1)
    with slow_api(LATENCY_S) as api:
        waited = held(configured(api.address), CONVERSATIONS)
    calls = [call for each in waited.conversations for call in each.calls]
    found = Measured(
        makespan_s=waited.wall_s,
        cpu_s=waited.cpu_s,
        engine_s=alone.wall_s,
        engine_cpu_s=alone.cpu_s,
        turn_s=one.wall_s / len(one.conversations[0].turns),
        turns=max(len(each.turns) for each in waited.conversations),
        calls=sum(call.tries for call in calls),
        server_cpu_s=api.cpu_s or 0.0,
    )
    print(found, f"ratio {found.ratio:.2f}, {found.call_cpu_ms:.2f} CPU-ms a call", flush=True)
    return found


def _timed(action: Callable[[], list[Conversation]]) -> _Timed:
    begun_s, begun_cpu_s = time.monotonic(), time.process_time()
    conversations = action()
    return _Timed(conversations, time.monotonic() - begun_s, time.process_time() - begun_cpu_s)


def configured(address: str | None = None) -> Config:
    """The shipped shop, with users at an address if one is given."""
    users = (
        {"user.kind": "llm", "user.address": address, "user.concurrency": CONVERSATIONS} if address else {}
    )
    path = repository_root() / "configs" / "sales_small.toml"
    return load(path, overrides={"collect.batch": BATCH, **users})


def specs_of(domain: Domain, count: int) -> list[RolloutSpec]:
    """So many conversations, each on a scenario of its own."""
    scenarios = domain.environment.scenarios(Split.SEEN, count=count, seed=1)
    return [
        RolloutSpec(f"c{place}", f"g{place}", 0, seed=place, scenario=each)
        for place, each in enumerate(scenarios)
    ]
