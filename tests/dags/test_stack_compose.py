"""What a stack without containers would run is what docker-compose.yml says, made local."""

import os
import socket
import stat
from pathlib import Path

import pytest
import yaml

from dags.local_settings import HOST, ROOT
from dags.stack_compose import COMPOSE, PORTS, StackFailed, filled
from dags.stack_parts import Part
from dags.stack_postgres import postgres_programs
from dags.stack_processes import planned
from dags.stack_settings import StackPlace, check_ports, chosen_ports, fresh_variables, kept_variables

VARIABLES = fresh_variables() | {"POSTGRES_PASSWORD": "pass", "ITPO_JWT_SECRET": "jwt"}
# What a container has of its image and its network, and nothing else.
AROUND = {"PATH", "HOME", "LANG", "HOSTNAME", "PYTHONPATH", "AIRFLOW_HOME", "ITPO_STACK"}
OF_MINISTACK = {
    "BIND_HOST", "GATEWAY_PORT", "SERVICES", "LOG_LEVEL", "S3_PERSIST", "S3_DATA_DIR", "IOT_MTLS_ENABLED",
}  # fmt: skip


@pytest.fixture
def place(tmp_path: Path) -> StackPlace:
    return StackPlace(tmp_path, tmp_path / "t", chosen_ports([]))


def parts(place: StackPlace, text: str | None = None) -> dict[str, Part]:
    return planned(place, VARIABLES, text=text)


def test_the_services_that_run_are_those_of_the_file_but_the_ones_for_gpus(place: StackPlace) -> None:
    services = yaml.safe_load(COMPOSE.read_text())["services"]

    assert set(parts(place)) == {name for name, body in services.items() if body.get("profiles") != ["gpu"]}


def test_every_process_has_the_variables_of_its_service_and_those_of_a_container(place: StackPlace) -> None:
    services = yaml.safe_load(COMPOSE.read_text())["services"]

    for name, part in parts(place).items():
        written = {
            key
            for key, value in services[name].get("environment", {}).items()
            if value is not None or key in VARIABLES
        }
        more = OF_MINISTACK if name == "seaweedfs" else set()
        assert set(part.environment) == written | AROUND | more


def test_values_are_those_of_the_file_with_hosts_ports_and_folders_of_this_machine(
    place: StackPlace, tmp_path: Path
) -> None:
    given = parts(place)["airflow-scheduler"].environment

    wanted = {
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": "http://127.0.0.1:28080/execution/",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": "postgresql+psycopg2://airflow:pass@127.0.0.1:25432/airflow",
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": "28080",
        "AIRFLOW__API_AUTH__JWT_SECRET": "jwt",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(tmp_path / "airflow/state/passwords.json"),
        "ITPO_RAY_ADDRESS": "http://127.0.0.1:28265",
        "ITPO_WORK": str(tmp_path / "work"),
        "ITPO_LAKE": "s3://lake/itpo",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:28333",
    }
    assert {name: given[name] for name in wanted} == wanted


def test_nothing_of_a_container_is_left_in_a_command_or_a_variable(place: StackPlace) -> None:
    hosts = set(yaml.safe_load(COMPOSE.read_text())["services"]) - {"vllm"}

    for part in parts(place).values():
        for text in (*part.argv, *part.environment.values(), *part.service.health):
            assert "/opt/" not in text
            assert not any(f"{host}:" in text for host in hosts)
            assert not any(f":{theirs}" in text for theirs, _ in PORTS.values())


def test_commands_are_those_of_the_file(place: StackPlace, tmp_path: Path) -> None:
    found = parts(place)

    assert found["airflow-scheduler"].argv == ("airflow", "scheduler", "--skip-serve-logs")
    assert found["make-bucket"].argv == ("python", "-m", "storage.make_bucket", "s3://lake/itpo")
    assert found["ray-head"].argv[2].startswith("ray start --head --port=26379 --dashboard-host=127.0.0.1 ")
    assert (
        f"--num-cpus=2 --num-gpus=0 --object-store-memory=500000000 --temp-dir={tmp_path / 't'}\n"
        in (found["ray-head"].argv[2])
    )
    assert "/dev/tcp/127.0.0.1/26379" in found["ray-head"].argv[2]
    assert found["airflow-init"].argv[:2] == ("bash", "-euc")
    assert '"${ITPO_ADMIN_PASSWORD}" > ' in found["airflow-init"].argv[2]


def test_a_change_of_the_file_is_a_change_of_what_runs(place: StackPlace) -> None:
    changed = COMPOSE.read_text().replace(
        'AIRFLOW__CORE__PARALLELISM: "4"', 'AIRFLOW__CORE__PARALLELISM: "9"'
    )
    changed = changed.replace("[scheduler, --skip-serve-logs]", "[scheduler]")

    scheduler = parts(place, changed)["airflow-scheduler"]

    assert scheduler.environment["AIRFLOW__CORE__PARALLELISM"] == "9"
    assert scheduler.argv == ("airflow", "scheduler")


def test_waits_and_health_checks_are_those_of_the_file(place: StackPlace) -> None:
    found = parts(place)

    assert found["airflow-scheduler"].service.waits == {
        "postgres": "service_healthy",
        "airflow-init": "service_completed_successfully",
        "make-bucket": "service_completed_successfully",
        "airflow-apiserver": "service_healthy",
    }
    assert found["ray-head"].service.health[-1] == "http://127.0.0.1:28265/api/jobs/"
    assert "--port=25432" in found["postgres"].service.health


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("plain", "plain"),
        ("${A}-${B:-two}", "one-two"),
        ("${A:-three}", "one"),
        ("${A:?needed}", "one"),
        ("${EMPTY:-four}", "four"),
        ("${EMPTY}", ""),
        ('"$${HOSTNAME}"', '"${HOSTNAME}"'),
    ],
)
def test_variables_are_filled_in_as_compose_does(text: str, value: str) -> None:
    assert filled(text, {"A": "one", "EMPTY": ""}) == value


def test_a_demanded_variable_that_is_missing_is_named() -> None:
    with pytest.raises(StackFailed, match="ITPO_JWT_SECRET is not set: make env writes it"):
        filled("${ITPO_JWT_SECRET:?make env writes it}", {})


@pytest.mark.parametrize("text", ["$HOME", "${A:+b}", "${A-b}", "a$"])
def test_a_dollar_that_is_not_understood_is_refused(text: str) -> None:
    with pytest.raises(StackFailed, match="a dollar that is no variable"):
        filled(text, {"A": "one"})


def test_a_port_in_use_is_named_with_its_key() -> None:
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]

        with pytest.raises(StackFailed, match=rf"port {port} \(api\) .* PORTS='api={port + 1}'"):
            check_ports({"api": port})


@pytest.mark.parametrize("word", ["web=8080", "api=many", "api=0", "api=70000", "api"])
def test_a_port_that_cannot_be_is_refused(word: str) -> None:
    with pytest.raises(StackFailed, match="write KEY=PORT with a KEY of postgres, api"):
        chosen_ports([word])


def test_two_keys_with_one_port_are_refused() -> None:
    with pytest.raises(StackFailed, match="api and s3 have the same port 28333"):
        chosen_ports(["api=28333"])


def test_a_missing_database_is_named_with_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(StackFailed, match="apt-get install postgresql"):
        postgres_programs(tmp_path)


def test_the_newest_database_is_taken(tmp_path: Path) -> None:
    for version in ("9.6", "15", "17"):
        (tmp_path / version / "bin").mkdir(parents=True)
        (tmp_path / version / "bin" / "initdb").touch()

    assert postgres_programs(tmp_path) == tmp_path / "17" / "bin"


def test_secrets_are_drawn_once_and_for_their_owner_alone(tmp_path: Path) -> None:
    first = kept_variables(tmp_path / "env")
    again = kept_variables(tmp_path / "env")
    other = kept_variables(tmp_path / "other")

    assert first == again
    assert first["ITPO_JWT_SECRET"] != other["ITPO_JWT_SECRET"]
    assert stat.S_IMODE(os.stat(tmp_path / "env").st_mode) == 0o600
