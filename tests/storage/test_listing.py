"""What is not there is said: an empty answer would be taken for a finding."""

from pathlib import Path

import pytest

from storage.errors import MissingExperiment
from storage.listing import require_experiment
from storage.local_store import LocalStore


def test_an_experiment_that_is_not_there_is_refused_with_those_that_are(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.create("demo/registry/000000.json", b"{}")
    store.create("_probe/x.json", b"{}")

    require_experiment(store, "demo")
    require_experiment(store, None)
    with pytest.raises(MissingExperiment, match=r"no experiment sales \(there are: demo; name one with"):
        require_experiment(store, "sales")


def test_a_lake_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingExperiment, match="holds nothing"):
        require_experiment(LocalStore(tmp_path / "typo"), None)
