"""docker-compose.yml as local processes: its variables filled in, its hosts, ports and folders made local.

Nothing is started here; what `make stack` runs is what the file says.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from dags.local_settings import HOST, ROOT

COMPOSE = ROOT / "docker-compose.yml"
# What a container listens on, by the key that names it when another port is wanted here.
PORTS = {
    "postgres": (5432, 25432),
    "api": (8080, 28080),
    "scheduler_health": (8974, 28974),
    "s3": (8333, 28333),
    "ray_dashboard": (8265, 28265),
    "ray_gcs": (6379, 26379),
    "ray_client": (10001, 21001),
    "ray_agent": (52365, 28365),
}
# What an image runs in front of a command that comes without an entrypoint.
ENTRYPOINTS = {"itpo-airflow": ("airflow",)}
_VARIABLE = re.compile(r"\$(?:\$|\{(?P<name>\w+)(?:(?P<how>:[-?])(?P<rest>[^{}]*))?\})")
_NUMBER = re.compile(r"(?<![\w.-])\d{4,5}(?![\w.-])")
Yaml = Any  # Any: a parsed YAML file


class StackFailed(RuntimeError):
    """The stack cannot be described, started or gone on with; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Service:
    """One service of the file as it runs here. `waits` holds the condition by service."""

    name: str
    image: str
    argv: tuple[str, ...]
    environment: dict[str, str]
    health: tuple[str, ...]
    waits: dict[str, str]
    is_one_shot: bool


@dataclass(frozen=True, slots=True)
class Locally:
    """Where a container's things lie on this machine: ports by key, folders by folder of a container."""

    ports: Mapping[str, int]
    folders: Mapping[str, str]
    hosts: frozenset[str]

    def text(self, value: str) -> str:
        """A value of the file with its hosts, ports and folders replaced."""
        theirs = {str(PORTS[key][0]): str(port) for key, port in self.ports.items()}
        hosts = "|".join(re.escape(host) for host in sorted(self.hosts | {"localhost"}))
        value = re.sub(rf"(?<=[/@=])(?:{hosts})(?=:\d)", HOST, value)
        value = re.sub(r"(?:(?<=^)|(?<==))0\.0\.0\.0(?=$|\s)", HOST, value)
        value = _NUMBER.sub(lambda found: theirs.get(found[0], found[0]), value)
        return self._moved(value)

    def _moved(self, value: str) -> str:
        longest_first = sorted(self.folders, key=len, reverse=True)
        anywhere = "|".join(re.escape(folder) for folder in longest_first)
        pattern = rf"(?<![\w./-])(?:{anywhere})(?![\w-])"
        return re.sub(pattern, lambda found: self.folders[found[0]], value)


def read_services(
    text: str, given: Mapping[str, str], *, profiles: Iterable[str], locally: Locally
) -> dict[str, Service]:
    """The services that these profiles start, as they run here. `given` are the variables of the shell.

    Raises StackFailed for a variable that the file demands and nobody gave.
    """
    chosen = set(profiles)
    found = {
        name: body
        for name, body in parsed(text)["services"].items()
        if not body.get("profiles") or chosen & set(body["profiles"])
    }
    return {
        name: _service(name, body, given, locally=locally, known=set(found)) for name, body in found.items()
    }


def parsed(text: str) -> Yaml:
    """The file with its anchors resolved."""
    return yaml.safe_load(text)


def filled(value: str, given: Mapping[str, str]) -> str:
    """`${NAME}`, `${NAME:-default}` and `${NAME:?message}` replaced; `$$` is a dollar.

    Raises StackFailed where a demanded variable is missing, and for any other use of a dollar.
    """
    rest = _VARIABLE.sub("", value)
    if "$" in rest:
        raise StackFailed(f"docker-compose.yml: {value!r} holds a dollar that is no variable: write $$")
    return _VARIABLE.sub(lambda found: _value_of(found, given), value)


def _value_of(found: re.Match[str], given: Mapping[str, str]) -> str:
    if found[0] == "$$":
        return "$"
    value = given.get(found["name"], "")
    if value or found["how"] is None:
        return value
    if found["how"] == ":-":
        return found["rest"]
    raise StackFailed(f"{found['name']} is not set: {found['rest']}")


def _service(
    name: str, body: Yaml, given: Mapping[str, str], *, locally: Locally, known: set[str]
) -> Service:
    def local(value: str) -> str:
        return locally.text(filled(value, given))

    usual = ENTRYPOINTS.get(body["image"].partition(":")[0], ())
    words = [*_words(body.get("entrypoint", list(usual))), *_words(body.get("command"))]
    return Service(
        name=name,
        image=body["image"],
        argv=tuple(local(word) for word in words),
        environment={
            key: local(str(value)) for key, value in _environment(body.get("environment", {}), given).items()
        },
        health=tuple(local(word) for word in body.get("healthcheck", {}).get("test", ())),
        waits={
            other: how["condition"] for other, how in body.get("depends_on", {}).items() if other in known
        },
        is_one_shot=body.get("restart") == "no",
    )


def _environment(variables: Mapping[str, Yaml], given: Mapping[str, str]) -> dict[str, Yaml]:
    """A name without a value is handed on from the shell, where it has one."""
    handed = {name: given[name].replace("$", "$$") for name in variables if name in given}
    return {
        name: handed[name] if value is None else value
        for name, value in variables.items()
        if value is not None or name in handed
    }


def _words(command: Yaml) -> list[str]:
    if command is None:
        return []
    if isinstance(command, str):
        raise StackFailed(f"docker-compose.yml: write the command {command!r} as a list of words")
    return [str(word) for word in command]
