"""docker-compose.yml keeps to the Compose specification and to rules of our own."""

import copy
import os
import subprocess
import sys
from pathlib import Path
from typing import Any  # a parsed YAML file

import pytest
import yaml

from storage.paths import repository_root
from tests.quality import compose as rules

COMPOSE = repository_root() / "docker-compose.yml"
OPTIONS = """
import json
from airflow.configuration import conf
sections = conf.configuration_description.items()
print(json.dumps({name: sorted(section["options"]) for name, section in sections}))
"""


@pytest.fixture
def compose() -> dict[str, Any]:
    """The file, with its anchors resolved and nothing shared between services."""
    return {key: copy.deepcopy(value) for key, value in yaml.safe_load(COMPOSE.read_text()).items()}


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """Airflow's options by section, asked for in a process of its own so that this one stays light."""
    home = {"AIRFLOW_HOME": str(tmp_path_factory.mktemp("airflow"))}
    answer = subprocess.check_output([sys.executable, "-c", OPTIONS], env=os.environ | home, text=True)
    described = yaml.safe_load(answer.splitlines()[-1])
    return {section: set(names) for section, names in described.items()}


def validate(path: Path) -> int:
    """The exit status of the check against the Compose specification that ships with check-jsonschema."""
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(path)]
    return subprocess.run(command, capture_output=True, check=False).returncode


def test_the_file_keeps_to_the_specification() -> None:
    assert validate(COMPOSE) == 0


def test_a_bucket_starts_only_when_asked_for_and_every_airflow_service_can_be_led_to_it(
    compose: dict[str, Any],
) -> None:
    services = compose["services"]
    airflow = [service for name, service in services.items() if name.startswith("airflow-")]
    led = {"ITPO_LAKE", "AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"}

    assert [name for name, service in services.items() if "profiles" in service] == ["seaweedfs"]
    # Without a value: handed on when the shell has one, and not there at all otherwise.
    assert all(service["environment"][name] is None for service in airflow for name in led)


def test_a_mistyped_condition_breaks_the_specification(tmp_path: Path) -> None:
    (tmp_path / "compose.yml").write_text(COMPOSE.read_text().replace("service_healthy", "service_heathly"))

    assert validate(tmp_path / "compose.yml") == 1


def test_our_rules_hold(compose: dict[str, Any]) -> None:
    assert rules.image_faults(compose) == []
    assert rules.dependency_faults(compose) == []
    assert rules.health_faults(compose) == []
    assert rules.shared_secret_faults(compose) == []
    assert rules.port_faults(compose) == []
    assert rules.mount_faults(compose, repository_root()) == []


@pytest.mark.slow
def test_every_airflow_key_is_an_option_of_this_release(
    compose: dict[str, Any], options: dict[str, set[str]]
) -> None:
    assert rules.option_faults(compose, options) == []


def test_a_mistyped_airflow_key_is_found(compose: dict[str, Any]) -> None:
    options = {"core": {"executor"}}
    named = {
        "services": {"a": {"environment": {"AIRFLOW__CORE__EXECUTER": "x", "AIRFLOW__CORE__EXECUTOR": "x"}}}
    }

    assert rules.option_faults(named, options) == ["a: AIRFLOW__CORE__EXECUTER is no option of Airflow"]


@pytest.mark.parametrize("image", ["postgres", "postgres:latest", "postgres:16", ""])
def test_a_moving_image_is_found(compose: dict[str, Any], image: str) -> None:
    compose["services"]["postgres"]["image"] = image

    assert rules.image_faults(compose) == [f"postgres: image {image!r} is not pinned"]


def test_a_dependency_on_nothing_is_found(compose: dict[str, Any]) -> None:
    compose["services"]["airflow-init"]["depends_on"] = {"mysql": {"condition": "service_healthy"}}

    assert rules.dependency_faults(compose) == ["airflow-init depends on mysql, which is no service"]


def test_waiting_for_a_health_check_that_is_not_there_is_found(compose: dict[str, Any]) -> None:
    del compose["services"]["airflow-apiserver"]["healthcheck"]

    assert len(rules.dependency_faults(compose)) == 1
    assert rules.health_faults(compose) == ["airflow-apiserver has no healthcheck"]


def test_a_mount_of_nothing_is_found(compose: dict[str, Any]) -> None:
    compose["services"]["postgres"]["volumes"] = ["./no-such-folder:/a", "no-such-volume:/b"]

    assert len(rules.mount_faults(compose, repository_root())) == 2


def test_a_secret_of_its_own_is_found(compose: dict[str, Any]) -> None:
    compose["services"]["airflow-scheduler"]["environment"] = {"AIRFLOW__API_AUTH__JWT_SECRET": "another"}

    assert "AIRFLOW__API_AUTH__JWT_SECRET differs or is absent" in rules.shared_secret_faults(compose)


def test_a_port_open_to_the_network_is_found(compose: dict[str, Any]) -> None:
    compose["services"]["airflow-apiserver"]["ports"] = ["8080:8080"]

    assert len(rules.port_faults(compose)) == 1
