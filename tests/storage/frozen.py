"""What is frozen of a schema version: its columns, and what its fixture lake holds and answers."""

import json
from collections.abc import Container, Mapping
from pathlib import Path

import pyarrow as pa

from storage import registry
from storage.listing import list_commits
from storage.local_store import LocalStore
from storage.objects import ObjectStore
from storage.rules import ROW_ORDER
from storage.schemas import SCHEMAS
from storage.warehouse import ask, open_lake
from tests.storage.fixture_lake import EXPERIMENT

FIXTURES = Path(__file__).parent / "fixtures"
Columns = Mapping[str, list[dict[str, object]]]
# Columns of version 1 only, so that every version can answer.
QUESTIONS = {
    "conversations": "select conversation_id, commit_iteration, status, outcome, outcome_reason, seed "
    "from conversations order by all",
    "messages": "select distinct messages_json from conversations order by all",
    "turns": "select conversation_id, turn_index, user_text, tool_names, response_ids, logprobs, turn_kind, "
    "judge_weight from turns order by all",
    "quarantine": "select iteration, source_row, disposition, reason, raw from quarantine order by all",
    "curated": "select conversation_id, kept, drop_reason, group_size, group_kept, fold, reward "
    "from curated order by all",
    "scores": "select iteration, conversation_id, turn_index, score, token_scores "
    "from turn_scores order by all",
    "values": 'select conversation_id, turn_index, "value", log_ratio, q from turn_values order by all',
    "credits": "select user_text, true_contribution, outcome, credit_norm_itpo, advantage, token_advantages "
    "from turn_credits order by conversation_id, turn_index",
    "evaluations": "select policy_version, split, success, turns from evaluation_scores order by all",
    "lab": 'select figure, method, against, turn_index, "value", reason from lab order by all',
    "measurements": 'select arm, seed, step, name, "value", label from measurements order by all',
    "metrics": 'select iteration, stage, name, "value" from metrics order by all',
    "policies": "select seq, action, version, parent, commit_digest, evidence, is_current from policies "
    "order by all",
}


def columns_of(schemas: Mapping[str, pa.Schema] = SCHEMAS) -> dict[str, list[dict[str, object]]]:
    """Name, type and nullability of every column of every stored dataset, in order."""
    return {
        name: [{"name": each.name, "type": str(each.type), "nullable": each.nullable} for each in schema]
        for name, schema in sorted(schemas.items())
        if name in ROW_ORDER
    }


def facts_of(store: ObjectStore, *, without: Container[str] = ()) -> dict[str, object]:
    """Digests of all commits, of their files and of the registry, and what the views answer.

    `without` names questions that are not asked.
    """
    found = list(list_commits(store, EXPERIMENT))
    return {
        "commits": {commit.key.text: commit.digest for commit in found},
        "data_digests": {entry.key: entry.data_digest for commit in found for entry in commit.files},
        "registry": [event.digest for event in registry.events(store, EXPERIMENT)],
        "answers": answers_of(store, without=without),
    }


def answers_of(store: ObjectStore, *, without: Container[str] = ()) -> dict[str, object]:
    """The rows of the questions, as JSON keeps them."""
    asked = {name: text for name, text in QUESTIONS.items() if name not in without}
    with open_lake(store, EXPERIMENT) as connection:
        rows = {name: ask(connection, text, rows=1000).rows for name, text in asked.items()}
    return json.loads(json.dumps(rows))


def versions() -> list[int]:
    """The versions that have a fixture, in order."""
    return sorted(int(folder.name.removeprefix("v")) for folder in FIXTURES.glob("v*"))


def fixture_store(version: int) -> LocalStore:
    """The lake that this version wrote; never write to it."""
    return LocalStore(FIXTURES / f"v{version}" / "lake")


def kept(version: int, name: str) -> dict[str, object]:
    """One of the JSON files of a version: `schemas` or `golden`."""
    return json.loads((FIXTURES / f"v{version}" / f"{name}.json").read_text(encoding="utf-8"))
