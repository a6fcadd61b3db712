"""The view that says what a policy was trained on leaves out what did not train: explored ends, the exam."""

from pathlib import Path

import pytest

from storage import commits, registry
from storage.commits import CommitKey
from storage.local_store import LocalStore
from storage.manifests import Commit
from storage.registry import PolicyVersion
from storage.warehouse import ask, open_lake
from tests.storage.lake_rows import metrics, rows_of

LOGS = '{"supervised_only_personas":["request"]}'


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "lake")


def put(store: LocalStore, kind: str, iteration: int, *, tables: dict, **made_from: object) -> Commit:
    return commits.commit(
        store,
        CommitKey("shop", kind, iteration),
        tables=tables,
        parents={role: of.digest for role, of in made_from.items() if isinstance(of, Commit)},
        inputs={name: text for name, text in made_from.items() if isinstance(text, str)},
        attempt="a",
    )


def register(store: LocalStore, commit: Commit, parent: str | None) -> None:
    iteration = commit.key.iteration
    name = registry.version_name("shop", iteration)
    version = PolicyVersion(name, "shop", iteration, parent, commit.digest, commit.key.text)
    registry.register_candidate(store, version)


def rollouts(iteration: int, said: dict[str, tuple[str, list[float]]]) -> dict:
    """Conversations by id: who the user was, and at which temperature each turn was spoken."""
    place = {"experiment": "shop", "iteration": iteration}
    known = {"status": "valid", "outcome": 1.0, "split": "seen"}
    tokens = {"response_ids": [7], "logprobs": [-0.5], "response_tokens": 1}
    turns = [
        {
            **place,
            **tokens,
            "conversation_id": name,
            "turn_index": index,
            "n_turns": len(each),
            "temperature": t,
        }
        for name, (_, each) in said.items()
        for index, t in enumerate(each)
    ]
    people = [{**place, **known, "conversation_id": n, "persona_id": p} for n, (p, _) in said.items()]
    return {"conversations": rows_of("conversations", people), "turns": rows_of("turns", turns)}


def curated(iteration: int, folds: dict[str, str | None]) -> dict:
    """The fold of every conversation; None where it was dropped."""
    rows = [
        {"experiment": "shop", "iteration": iteration, "conversation_id": name, "fold": fold or "train"}
        | {"kept": fold is not None, "drop_reason": None if fold else "failed", "outcome": 1.0, "reward": 1.0}
        for name, fold in folds.items()
    ]
    return {"curated": rows_of("curated", rows)}


def credits(*names: str) -> dict:
    return {"credits": rows_of("credits", [{"conversation_id": name, "turn_index": 0} for name in names])}


def taught(store: LocalStore, version: str, relation: str) -> list[str]:
    statement = (
        "select conversation_id from policy_conversations "
        f"where policy_version = 'shop/{version}' and relation = '{relation}' order by 1"
    )
    with open_lake(store, "shop") as connection:
        return [str(row[0]) for row in ask(connection, statement, rows=10).rows]


def test_requests_of_the_exam_and_what_was_dropped_taught_the_first_policy_nothing(store: LocalStore) -> None:
    said = {
        "talk": ("any", [1.0]),
        "lesson": ("request", [1.0]),
        "exam": ("request", [1.0]),
        "bad": ("any", [1.0]),
    }
    spoken = put(store, "rollouts", 0, tables=rollouts(0, said), logs=LOGS)
    folds = {"talk": "heldout", "lesson": "train", "exam": "heldout", "bad": None}
    kept = put(store, "curated", 0, tables=curated(0, folds), rollouts=spoken)
    register(store, put(store, "policy", 0, tables={"metrics": metrics(a=1.0)}, curated=kept), None)

    assert taught(store, "v0000", "direct") == ["lesson", "talk"]


def test_a_conversation_whose_last_turn_was_explored_trained_nobody(store: LocalStore) -> None:
    said = {"plain": ("any", [1.0, 1.0]), "early": ("any", [1.5, 1.0]), "late": ("any", [1.0, 1.5])}
    spoken = put(store, "rollouts", 1, tables=rollouts(1, said), sampling='{"temperature":1.0}')
    kept = put(store, "curated", 1, tables=curated(1, dict.fromkeys(said, "train")), rollouts=spoken)
    credit = put(store, "credit", 1, tables=credits(*said), rollouts=spoken, curated=kept)
    register(store, put(store, "policy", 1, tables={"metrics": metrics(a=1.0)}, credit=credit), None)

    assert taught(store, "v0001", "direct") == ["early", "plain"]


def test_requests_taught_no_reward_model(store: LocalStore) -> None:
    said = {"talk": ("any", [1.0]), "lesson": ("request", [1.0])}
    spoken = put(store, "rollouts", 1, tables=rollouts(1, said), logs=LOGS)
    kept = put(store, "curated", 1, tables=curated(1, dict.fromkeys(said, "train")), rollouts=spoken)
    reward = put(store, "reward", 1, tables={"metrics": metrics(a=1.0)}, curated=kept)
    credit = put(store, "credit", 1, tables=credits("talk"), reward=reward, curated=kept)
    register(store, put(store, "policy", 1, tables={"metrics": metrics(a=1.0)}, credit=credit), None)

    assert taught(store, "v0001", "reward") == ["talk"]
