"""docker-compose.yml keeps to the Compose specification and to rules of our own."""

import copy
import os
import re
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any  # a parsed YAML file

import pytest
import ray
import yaml
from botocore.configprovider import BOTOCORE_DEFAUT_SESSION_VARIABLES as SESSION
from botocore.credentials import EnvProvider

from dags.stack_settings import fresh_variables
from storage.paths import repository_root
from tests.quality import compose as rules

COMPOSE = repository_root() / "docker-compose.yml"
OPTIONS = """
import json
from airflow.configuration import conf
sections = conf.configuration_description.items()
print(json.dumps({name: sorted(section["options"]) for name, section in sections}))
"""
# Read by programs that are not installed here, or by libraries in C.
LITERALS = {
    "POSTGRES_": {"POSTGRES_USER", "POSTGRES_PASSWORD", "POSTGRES_DB"},
    "VLLM_": {"VLLM_API_KEY", "VLLM_NO_USAGE_STATS"},
    "": {"OMP_NUM_THREADS", "OMP_WAIT_POLICY", "CUDA_VISIBLE_DEVICES", "HF_HUB_OFFLINE"},
}
OF_A_SCRIPT = {"ITPO_ADMIN_PASSWORD"}  # read by the command of airflow-init
RAY_SOURCES = ("_private/*.py", "dashboard/consts.py", "_common/usage/*.py")


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


@pytest.fixture(scope="module")
def known() -> dict[str, Collection[str]]:
    """Names that somebody reads: Ray's and the AWS client's by what is installed, ours by our sources."""
    installed, root = Path(ray.__file__).parent, repository_root()
    ours = [path for layer in ("tasks", "storage", "dags") for path in (root / layer).rglob("*.py")]
    settings = {str(name) for _, name, *_ in SESSION.values() if name is not None}
    keys = {EnvProvider.ACCESS_KEY, EnvProvider.SECRET_KEY, *EnvProvider.TOKENS}
    return LITERALS | {
        "ITPO_": names_in(ours, "ITPO_") | OF_A_SCRIPT,
        "RAY_": names_in([path for where in RAY_SOURCES for path in installed.glob(where)], "RAY_"),
        "AWS_": settings | keys | names_in(ours, "AWS_"),
    }


def names_in(paths: Collection[Path], start: str) -> set[str]:
    """Quoted names that begin so."""
    texts = [path.read_text(encoding="utf-8") for path in paths]
    return {name for text in texts for name in re.findall(rf'"({start}[A-Z0-9_]+)"', text)}


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

    assert [name for name, service in services.items() if service.get("profiles") == ["s3"]] == [
        "seaweedfs", "make-bucket",
    ]  # fmt: skip
    # Without a value: handed on when the shell has one, and not there at all otherwise.
    assert all(service["environment"][name] is None for service in airflow for name in led)


def test_a_mistyped_condition_breaks_the_specification(tmp_path: Path) -> None:
    (tmp_path / "compose.yml").write_text(COMPOSE.read_text().replace("service_healthy", "service_heathly"))

    assert validate(tmp_path / "compose.yml") == 1


def test_our_rules_hold(compose: dict[str, Any]) -> None:
    assert rules.image_faults(compose) == []
    assert rules.build_faults(compose, repository_root()) == []
    assert rules.dependency_faults(compose) == []
    assert rules.health_faults(compose) == []
    assert rules.shared_secret_faults(compose) == []
    assert rules.port_faults(compose) == []
    assert rules.mount_faults(compose, repository_root()) == []
    assert rules.secret_faults(compose) == []
    assert rules.address_faults(compose) == []
    assert rules.gpu_faults(compose) == []


def test_every_name_in_an_environment_is_read_by_somebody(
    compose: dict[str, Any], known: dict[str, Collection[str]]
) -> None:
    assert rules.name_faults(compose, known) == []


def test_every_variable_that_is_asked_for_is_explained(compose: dict[str, Any]) -> None:
    explained = (repository_root() / "docs" / "deployment.md").read_text(encoding="utf-8")

    assert {name for name in rules.asked_variables(compose) if f"`{name}" not in explained} == set()


def test_what_is_written_into_env_is_what_the_file_asks_for(compose: dict[str, Any]) -> None:
    asked = rules.asked_variables(compose)

    assert {name for name in fresh_variables() if name not in asked} == {"COMPOSE_PROFILES"}


@pytest.mark.parametrize("recipe", ["Dockerfile", "Dockerfile.cluster"])
def test_a_recipe_is_pinned_and_takes_what_is_hashed_in_a_lock(recipe: str) -> None:
    text = (repository_root() / recipe).read_text()
    locks = re.findall(r"-r (\S+)", text)

    assert all(
        re.search(r":\d+\.\d+\.\d+", image) for image in re.findall(r"^FROM (\S+)", text, re.MULTILINE)
    )
    assert locks
    assert all((repository_root() / lock).is_file() for lock in locks)
    assert {lock for lock in locks if not is_hashed(repository_root() / lock)} <= {"requirements/torch.txt"}


def is_hashed(lock: Path) -> bool:
    return "--hash=sha256:" in lock.read_text()


def test_both_images_have_the_same_ray() -> None:
    locks = [(repository_root() / "requirements" / name).read_text() for name in ("lock.txt", "gpu.txt")]
    found = [re.findall(r"^ray==(\S+)", text, re.MULTILINE) for text in locks]

    assert found[0] == found[1] == ["2.55.0"]


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


def test_a_name_that_nobody_reads_is_found(
    compose: dict[str, Any], known: dict[str, Collection[str]]
) -> None:
    compose["services"]["ray-head"]["environment"] = {"RAY_USAGE_STATS": "0", "ITPO_LAKES": "/x", "TYPO": "1"}

    assert rules.name_faults(compose, known) == [
        "ray-head: nobody reads RAY_USAGE_STATS",
        "ray-head: nobody reads ITPO_LAKES",
        "ray-head: nobody reads TYPO",
    ]


def test_a_secret_in_the_file_is_found(compose: dict[str, Any]) -> None:
    compose["services"]["postgres"]["environment"]["POSTGRES_PASSWORD"] = "airflow"

    assert rules.secret_faults(compose) == ["postgres: POSTGRES_PASSWORD is written in the file"]


@pytest.mark.parametrize("value", ["${ITPO_API_SECRET:-known-to-all}", "${ITPO_API_SECRET}"])
def test_a_secret_that_may_be_left_out_is_found(compose: dict[str, Any], value: str) -> None:
    compose["services"]["airflow-apiserver"]["environment"]["AIRFLOW__API__SECRET_KEY"] = value

    assert rules.secret_faults(compose) == ["ITPO_API_SECRET has a default or may be empty"]


def test_an_address_of_nobody_is_found(compose: dict[str, Any]) -> None:
    compose["services"]["ray-worker-gpu"]["entrypoint"] = ["ray", "start", "--address=ray_head:6379"]

    assert rules.address_faults(compose) == ["ray-worker-gpu speaks to ray_head, which is no service"]


def test_a_gpu_outside_of_its_profile_is_found(compose: dict[str, Any]) -> None:
    del compose["services"]["vllm"]["profiles"]

    assert rules.gpu_faults(compose) == ["vllm: a GPU and the profile gpu go together"]


def test_needing_what_a_profile_takes_away_is_found(compose: dict[str, Any]) -> None:
    compose["services"]["airflow-scheduler"]["depends_on"] = {"vllm": {"condition": "service_healthy"}}

    assert rules.dependency_faults(compose) == [
        "airflow-scheduler needs vllm, which is there only with ['gpu']"
    ]


def test_waiting_for_the_end_of_what_goes_on_is_found(compose: dict[str, Any]) -> None:
    how = {"condition": "service_completed_successfully"}
    compose["services"]["airflow-scheduler"]["depends_on"] = {"airflow-triggerer": how}

    assert rules.dependency_faults(compose) == [
        "airflow-scheduler waits for the end of airflow-triggerer, which never ends"
    ]


def test_a_recipe_that_is_not_there_is_found(compose: dict[str, Any]) -> None:
    compose["services"]["vllm"]["build"] = {"context": ".", "dockerfile": "Dockerfile.gpu"}

    assert rules.build_faults(compose, repository_root()) == [
        "vllm is built from Dockerfile.gpu, which does not exist",
        "itpo-train:0.1.0 has two recipes",
    ]
