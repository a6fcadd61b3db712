"""The few calls of Airflow's REST API that the demo, the web start and the tests need."""

from dataclasses import dataclass, field
from typing import Any

import httpx

API = "/api/v2"


class AirflowRefused(RuntimeError):
    """Airflow answered with an error; the message is its own."""


@dataclass(slots=True)
class AirflowClient:
    """A logged-in caller of one Airflow. `timeout_s` is per request."""

    url: str
    user: str
    password: str
    timeout_s: float = 30.0
    _http: httpx.Client = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._http = httpx.Client(base_url=self.url, timeout=self.timeout_s)

    def log_in(self) -> None:
        """Fetch a token; every later call carries it."""
        answer = self._http.post("/auth/token", json={"username": self.user, "password": self.password})
        self._http.headers["Authorization"] = f"Bearer {_checked(answer)['access_token']}"

    def health(self) -> dict[str, str | None]:
        """Status by part; an empty dict while nobody answers."""
        try:
            answer = self._http.get(f"{API}/monitor/health")
        except httpx.TransportError:
            return {}
        parts = answer.json() if answer.is_success else {}
        return {name: part["status"] for name, part in parts.items() if part}

    def warm_up(self) -> None:
        """Ask the tasks' side of the server anything: its first answer takes seconds; no task should wait."""
        _checked(self._http.get("/execution/health", timeout=120.0))

    def has_dag(self, dag_id: str) -> bool:
        """Whether the DAG has been parsed and stored."""
        return self._http.get(f"{API}/dags/{dag_id}").is_success

    def import_errors(self) -> list[str]:
        """Tracebacks of DAG files that do not import."""
        return [
            error["stack_trace"] for error in _checked(self._http.get(f"{API}/importErrors"))["import_errors"]
        ]

    def make_pool(self, name: str, *, slots: int) -> None:
        """Create the pool, or set its slots."""
        body = {"name": name, "slots": slots, "description": "one at a time", "include_deferred": True}
        if self._http.post(f"{API}/pools", json=body).status_code == httpx.codes.CONFLICT:
            _checked(self._http.patch(f"{API}/pools/{name}", json=body))

    def unpause(self, dag_id: str) -> None:
        """Let the scheduler run it."""
        _checked(self._http.patch(f"{API}/dags/{dag_id}", json={"is_paused": False}))

    def answer(self, task: dict[str, Any], choice: str) -> None:  # Any: JSON values
        """Give a person's answer to a task that waits for one."""
        run = f"{API}/dags/{task['dag_id']}/dagRuns/{task['dag_run_id']}"
        path = f"{run}/taskInstances/{task['task_id']}/{task['map_index']}/hitlDetails"
        _checked(self._http.patch(path, json={"chosen_options": [choice], "params_input": {}}))

    def trigger(
        self, dag_id: str, *, run_id: str, conf: dict[str, Any]
    ) -> dict[str, Any]:  # Any: JSON values
        """Start a run under this id; AirflowRefused when the Params do not fit or the id is taken."""
        body = {"dag_run_id": run_id, "logical_date": None, "conf": conf}
        return _checked(self._http.post(f"{API}/dags/{dag_id}/dagRuns", json=body))

    def runs(self, dag_id: str) -> list[dict[str, Any]]:  # Any: JSON values
        """Every run, oldest first."""
        answer = self._http.get(f"{API}/dags/{dag_id}/dagRuns", params={"order_by": "id", "limit": 200})
        return _checked(answer)["dag_runs"]

    def task_instances(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:  # Any: JSON values
        """Every task of a run, mapped ones one by one."""
        answer = self._http.get(f"{API}/dags/{dag_id}/dagRuns/{run_id}/taskInstances", params={"limit": 200})
        return _checked(answer)["task_instances"]

    def xcom(self, task: dict[str, Any], key: str = "return_value") -> Any:  # Any: JSON values
        """What a task instance left under a key; None when it left nothing."""
        run = f"{API}/dags/{task['dag_id']}/dagRuns/{task['dag_run_id']}"
        path = f"{run}/taskInstances/{task['task_id']}/xcomEntries/{key}"
        answer = self._http.get(path, params={"map_index": task["map_index"], "deserialize": True})
        return None if answer.status_code == httpx.codes.NOT_FOUND else _checked(answer)["value"]


def _checked(answer: httpx.Response) -> dict[str, Any]:  # Any: JSON values
    if answer.is_success:
        return answer.json()
    raise AirflowRefused(
        f"{answer.request.method} {answer.request.url.path}: {answer.status_code} {answer.text}"
    )
