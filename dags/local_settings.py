"""The settings of a local Airflow: plain values in, environment variables out. Nothing is started here."""

import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HOST = "127.0.0.1"
USER = "admin"


@dataclass(frozen=True, slots=True)
class Place:
    """Where one local Airflow lives: its folder, its port on loopback, and the folder of DAG files."""

    home: Path
    port: int
    dags_folder: Path = ROOT / "dags"

    @property
    def url(self) -> str:
        """Address of the web pages and of the REST API."""
        return f"http://{HOST}:{self.port}"

    @property
    def logs(self) -> Path:
        """One file per part, plus the logs of the tasks."""
        return self.home / "logs"

    @property
    def password_file(self) -> Path:
        """Development logins as JSON, name to password."""
        return self.home / "passwords.json"


def environment(place: Place, *, jwt_secret: str, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Everything that Airflow reads, on top of this process's own environment.

    The intervals are short, because a task of this pipeline takes seconds where Airflow's defaults think in
    minutes; a killed process is noticed after half a minute, so that its task is tried again.
    """
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("AIRFLOW_")}
    inherited.pop("PYTHONDONTWRITEBYTECODE", None)
    return inherited | _threads() | _core(place) | _web(place, jwt_secret) | _pace() | dict(extra or {})


def _threads() -> dict[str, str]:
    # One thread a process: processes share the cores, and one thread is deterministic.
    return {
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }


def _core(place: Place) -> dict[str, str]:
    return {
        "AIRFLOW_HOME": str(place.home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(place.dags_folder),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__EXECUTOR": "dags.warm_executor.WarmLocalExecutor",
        # Two more than cores: a finished task may hold its worker for one heartbeat before it is noticed.
        "AIRFLOW__CORE__PARALLELISM": str(min(8, os.cpu_count() or 2) + 2),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{place.home / 'airflow.db'}",
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(place.logs),
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
    }


def _web(place: Place, jwt_secret: str) -> dict[str, str]:
    return {
        "AIRFLOW__API__HOST": HOST,
        "AIRFLOW__API__PORT": str(place.port),
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__API__BASE_URL": place.url,
        "AIRFLOW__API__SECRET_KEY": jwt_secret,
        "AIRFLOW__API_AUTH__JWT_SECRET": jwt_secret,
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{place.url}/execution/",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": f"{USER}:admin",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(place.password_file),
    }


def _pace() -> dict[str, str]:
    return {
        "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.25",
        "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "2",
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "30",
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "5",
        "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "15",
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "60",
        "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "60",
        "AIRFLOW__DAG_PROCESSOR__PARSING_PROCESSES": "1",
    }


def preset_login(place: Place) -> str:
    """Write the development login once, readable by its owner only; returns the password."""
    if not place.password_file.exists():
        _private_file(place.password_file, json.dumps({USER: USER}))
    return json.loads(place.password_file.read_text())[USER]


def kept_secret(place: Place) -> str:
    """A random secret made on first use and kept, so that tokens outlive a restart."""
    path = place.home / "jwt_secret"
    if not path.exists():
        _private_file(path, secrets.token_urlsafe(48))
    return path.read_text()


def _private_file(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
