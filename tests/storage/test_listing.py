"""What is not there is said: an empty answer would be taken for a finding."""

from pathlib import Path

import pytest

from storage import commits
from storage.commits import CommitKey
from storage.errors import MissingExperiment
from storage.listing import readable_commits, require_experiment
from storage.local_store import LocalStore


def test_an_experiment_that_is_not_there_is_refused_with_those_that_are(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.create("demo/registry/000000.json", b"{}")
    store.create("_probe/x.json", b"{}")

    require_experiment(store, "demo")
    require_experiment(store, None)
    with pytest.raises(MissingExperiment, match=r"no experiment sales \(there are: demo; name one with"):
        require_experiment(store, "sales")


def test_what_refused_attempts_leave_is_no_experiment(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.create("typo/_leases/curate-0000.json", b"{}")
    store.create("typo/_logs/curate-0000-a.json", b"{}")
    store.create("typo/rollouts/iteration=0000/_facts/import-a.json", b"{}")

    with pytest.raises(MissingExperiment, match=r"no experiment typo \(it is empty\)"):
        require_experiment(store, "typo")


def test_a_lake_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingExperiment, match="holds nothing"):
        require_experiment(LocalStore(tmp_path / "typo"), None)


def test_behind_a_commit_that_cannot_be_read_the_others_are_read(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    for iteration in range(3):
        key = CommitKey("demo", "policy", iteration)
        commits.commit(store, key, tables={}, parents={}, inputs={}, attempt="a")
    store.path("demo/policy/iteration=0001/commit.json").write_bytes(b"{half")

    found, problems = readable_commits(store, "demo")

    assert [commit.key.iteration for commit in found] == [0, 2]
    assert len(problems) == 1
    assert "'demo/policy/iteration=0001/commit.json' is not JSON" in problems[0]
