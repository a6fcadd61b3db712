"""Whole iterations whose users and judge are models behind a server, run in process and looked at."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from itpo_core.envs.llm_judge import ABSTAINED
from storage import commits
from tasks import pipeline
from tasks.context import Context
from tests.llm_server import Deed, LlmServer, Words
from tests.loop.tiny import tiny_config

Settings = dict[str, Any]  # Any: JSON values by key
SMALL: Settings = {
    "logs__scripted_conversations": 64,
    "logs__scripted_requests": 64,
    "warm_start__steps": 20,
    "sampling__max_new_tokens": 8,
    "collect__conversations": 48,
    "collect__group_size": 6,
    "collect__shards": 2,
    "collect__batch": 12,
    "credit__algorithm": "outcome",
    "credit__advantage": "rloo",
    "evaluate__unseen_scenarios": 8,
    "evaluate__seen_scenarios": 8,
    "evaluate__bootstrap": 50,
    "user__kind": "llm",
    "judge__kind": "llm",
    "judge__prompt_usd": 1.0,
    "judge__completion_usd": 2.0,
}
SMALLER: Settings = {
    "logs__scripted_conversations": 48,
    "logs__scripted_requests": 48,
    "collect__conversations": 24,
    "collect__group_size": 4,
    "evaluate__unseen_scenarios": 4,
    "evaluate__seen_scenarios": 2,
}
KINDS = ("rollouts", "curated", "reward", "credit", "policy", "evaluation")
WORDS = Words(text_key="message", end_key="wants_to_stop")
# What passes when it is asked again, what does not, and what only code can see: three of ten requests.
MISDEEDS = {
    Deed.BUSY: 0.06,
    Deed.DOWN: 0.06,
    Deed.RESET: 0.03,
    Deed.FENCED: 0.02,
    Deed.HALF: 0.02,
    Deed.EMPTY: 0.02,
    Deed.WRONG_KEYS: 0.02,
    Deed.COPIES: 0.02,
    Deed.LEAVES_ROLE: 0.02,
    Deed.REFUSAL: 0.01,
    Deed.QUOTA: 0.02,
}


def context_of(lake: Path, iteration: int, settings: Settings) -> Context:
    return Context(tiny_config(lake, **{**SMALL, **settings}), iteration)


def run_iteration(lake: Path, iteration: int, settings: Settings) -> dict[str, Mapping[str, Any]]:
    """Every stage but the report in process, and the figures that each told."""
    context = context_of(lake, iteration, settings)
    stages = [stage for stage in pipeline.stages_of(iteration, context.config) if stage != "report"]
    return {stage: pipeline.run_named(context, stage)["figures"] for stage in stages}


def rows_of(context: Context, kind: str, *, table: str) -> dict[str, dict[str, Any]]:
    """Rows by conversation; of several the last."""
    rows = commits.read_table(context.store, context.read(kind), table=table).to_pylist()
    return {row["conversation_id"]: row for row in rows}


def digests(lake: Path) -> dict[str, str]:
    context = context_of(lake, 1, {})
    return {kind: context.read(kind).digest for kind in KINDS}


def leave_one_out(rewards: Mapping[str, float], groups: Mapping[str, str]) -> dict[str, float]:
    """By conversation: its reward less the mean of its siblings'."""
    sums, counts = Counter[str](), Counter(groups[name] for name in rewards)
    for name, reward in rewards.items():
        sums[groups[name]] += reward
    return {
        name: reward - (sums[groups[name]] - reward) / (counts[groups[name]] - 1)
        for name, reward in rewards.items()
        if counts[groups[name]] > 1
    }


def check_valid_rows(clean_run: Context, run: Context) -> int:
    """Whether the rows that were scored in `run` are those of the clean run, with the advantages that the
    clean rewards give them; how many were not, each of which says why."""
    clean, faulty = (rows_of(each, "rollouts", table="conversations") for each in (clean_run, run))
    scored = sorted(name for name, row in faulty.items() if row["outcome"] is not None)
    same = ("messages_json", "outcome", "stop_reason")
    assert [[faulty[name][key] for key in same] for name in scored] == [
        [clean[name][key] for key in same] for name in scored
    ]
    clean_rewards = rows_of(clean_run, "curated", table="curated")
    expected = leave_one_out(
        {name: clean_rewards[name]["reward"] for name in scored},
        {name: row["group_id"] for name, row in clean.items()},
    )
    kept = {name for name, row in rows_of(run, "curated", table="curated").items() if row["kept"]}
    found = {name: row["advantage"] for name, row in rows_of(run, "credit", table="credits").items()}
    assert kept == found.keys() > set()
    assert found == pytest.approx({name: expected[name] for name in kept})
    others = [row for name, row in faulty.items() if name not in scored]
    assert all(row["failure_kind"] or row["outcome_reason"] == ABSTAINED for row in others)
    assert all(row["failure_cause"] for row in others if row["status"] == "failed")
    return len(others)


def places_of(server: LlmServer) -> Settings:
    """User and judge behind the same server."""
    return {"user__address": server.address, "judge__address": server.address}
