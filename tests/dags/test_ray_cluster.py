"""Hooks that make and remove a cluster: what they run, when they fail, and where the DAG has them."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from airflow.dag_processing.dagbag import DagBag

from dags.ray_cluster import HOOKS, ByCommands, ClusterFailed
from dags.ray_jobs import RayHead
from storage.paths import repository_root
from tasks.config_ray import Ray
from tests.dags.fake_ray_head import FakeHead, fake_head

STAGES = {"collect", "warm_start", "fit_reward", "fit_q", "train_policy"}


@pytest.fixture
def fake() -> Iterator[FakeHead]:
    with fake_head() as head:
        yield head


def noted(path: Path, text: str) -> tuple[str, ...]:
    """A command that appends a word to a file."""
    return (sys.executable, "-c", f"open({str(path)!r}, 'a').write({text!r})")


def hooks(fake: FakeHead, **commands: tuple[tuple[str, ...], ...]) -> ByCommands:
    settings = Ray(address=fake.address, up_timeout_s=10.0, **commands)
    made = HOOKS["commands"](settings)
    assert isinstance(made, ByCommands)
    return made


def test_commands_run_in_order_and_the_head_is_waited_for(fake: FakeHead, tmp_path: Path) -> None:
    path = tmp_path / "said"

    hooks(fake, up=(noted(path, "one "), noted(path, "two"))).up()

    assert path.read_text() == "one two"
    assert fake.asked == ["GET /api/version"]


def test_a_command_that_fails_ends_the_set_up_with_its_words(fake: FakeHead) -> None:
    failing = (sys.executable, "-c", "import sys; sys.exit('no quota')")

    with pytest.raises(ClusterFailed, match="ended with 1: no quota"):
        hooks(fake, up=(failing,)).up()
    with pytest.raises(ClusterFailed, match="no-such-program"):
        hooks(fake, up=(("no-such-program",),)).up()
    assert fake.asked == []


def test_removal_goes_on_behind_a_failure_and_still_says_it(fake: FakeHead, tmp_path: Path) -> None:
    path = tmp_path / "said"

    with pytest.raises(ClusterFailed, match="no-such-program"):
        hooks(fake, down=(("no-such-program",), noted(path, "removed"))).down()
    assert path.read_text() == "removed"


def test_a_head_that_never_answers_ends_the_set_up() -> None:
    began = time.monotonic()
    nobody = ByCommands(RayHead("http://127.0.0.1:1"), (), (), timeout_s=0.5)

    with pytest.raises(ClusterFailed, match="no Ray head answers"):
        nobody.up()
    assert time.monotonic() - began < 5.0


def test_a_standing_cluster_is_left_alone(fake: FakeHead) -> None:
    standing = HOOKS["none"](Ray(address=fake.address, up=(("no-such-program",),)))

    standing.up()
    standing.down()

    assert fake.asked == []


def test_the_dag_has_the_cluster_around_the_stages_that_may_need_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ITPO_RAY_HOOKS", "commands")

    bag = DagBag(repository_root() / "dags")

    dag = bag.dags["itpo_iteration"]
    up, down = dag.get_task("cluster_up"), dag.get_task("cluster_down")
    assert bag.import_errors == {}
    assert (up.is_setup, down.is_teardown) == (True, True)
    assert (up.upstream_task_ids, up.downstream_task_ids) == (set(), {"plan", "cluster_down"})
    assert down.upstream_task_ids == STAGES | {"cluster_up"}


def test_a_hook_that_nobody_knows_is_an_import_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ITPO_RAY_HOOKS", "magic")

    (error,) = DagBag(repository_root() / "dags").import_errors.values()

    assert "use one of none, commands" in error


def test_the_shipped_values_pin_the_ray_that_the_project_pins() -> None:
    text = (repository_root() / "deploy/kuberay.values.yaml").read_text()

    values = yaml.safe_load(text)

    assert values["head"]["rayVersion"] == "2.55.0"
    assert "ray[default]==2.55.0" in (repository_root() / "pyproject.toml").read_text()
    assert values["worker"]["envFrom"] == values["head"]["envFrom"]
