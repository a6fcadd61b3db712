"""What a Compose file must keep to beyond the schema: pins, targets, health, names, mounts, secrets, GPUs."""

import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any  # a parsed YAML file

# A tag that says a release: latest, main and a bare major version move.
PINNED = re.compile(r"^[\w./-]+:\d+\.\d+[\w.-]*$|@sha256:[0-9a-f]{64}$")
# `${NAME}`, `${NAME:-default}`, `${NAME:?message}`; `$$` is a dollar.
VARIABLE = re.compile(r"(?<!\$)\$\{(\w+)(?:(:?[-?+])([^{}]*))?\}")
SECRET = re.compile(r"PASSWORD$|SECRET|_KEY$|TOKEN")  # not ..._PASSWORDS_FILE, nor a key's id
Compose = Mapping[str, Any]


def image_faults(compose: Compose) -> list[str]:
    """Services whose image is absent or may change under its tag."""
    images = {name: service.get("image", "") for name, service in compose["services"].items()}
    return [
        f"{name}: image {image!r} is not pinned" for name, image in images.items() if not PINNED.search(image)
    ]


def build_faults(compose: Compose, root: Path) -> list[str]:
    """Images of ours whose recipe is not in the repository, or that are built from two recipes."""
    built = [(n, s["image"], s["build"]) for n, s in compose["services"].items() if "build" in s]
    recipes = {(image, build.get("dockerfile", "Dockerfile")) for _, image, build in built}
    absent = [
        f"{name} is built from {place}, which does not exist"
        for name, _, build in built
        if not (root / (place := build.get("dockerfile", "Dockerfile"))).is_file()
    ]
    images = [image for image, _ in recipes]
    return absent + sorted({f"{image} has two recipes" for image in images if images.count(image) > 1})


def dependency_faults(compose: Compose) -> list[str]:
    """`depends_on` that names no service, or waits for the health of one without a health check."""
    services = compose["services"]
    edges = [(n, t, how) for n, s in services.items() for t, how in s.get("depends_on", {}).items()]
    unknown = [
        f"{name} depends on {target}, which is no service"
        for name, target, _ in edges
        if target not in services
    ]
    unhealthy = [
        f"{name} waits for the health of {target}, which has no health check"
        for name, target, how in edges
        if target in services
        and how["condition"] == "service_healthy"
        and "healthcheck" not in services[target]
    ]
    endless = [
        f"{name} waits for the end of {target}, which never ends"
        for name, target, how in edges
        if target in services
        and how["condition"] == "service_completed_successfully"
        and services[target].get("restart") != "no"
    ]
    return unknown + unhealthy + endless + _absent_by_profile(services, edges)


def _absent_by_profile(services: Compose, edges: list[tuple[str, str, Any]]) -> list[str]:
    """A profile that is off takes its services away: whoever needs one must be able to do without it."""
    return [
        f"{name} needs {target}, which is there only with {services[target]['profiles']}"
        for name, target, how in edges
        if target in services
        and "profiles" in services[target]
        and how.get("required", True)
        and not set(services[name].get("profiles", ())) & set(services[target]["profiles"])
    ]


def health_faults(compose: Compose) -> list[str]:
    """Services that keep running without a health check or a restart policy."""
    lasting = {n: s for n, s in compose["services"].items() if s.get("restart") != "no"}
    return [
        f"{name} has no {wanted}"
        for name, service in lasting.items()
        for wanted in ("healthcheck", "restart")
        if wanted not in service
    ]


def option_faults(compose: Compose, options: Mapping[str, set[str]]) -> list[str]:
    """Environment keys that name no option of Airflow; `options` are the known ones by section."""
    return [
        f"{name}: {key} is no option of Airflow"
        for name, service in compose["services"].items()
        for key in service.get("environment", {})
        if key.startswith("AIRFLOW__") and not _is_option(key, options)
    ]


def _is_option(key: str, options: Mapping[str, set[str]]) -> bool:
    parts = key.lower().split("__", maxsplit=2)
    return len(parts) == 3 and parts[2] in options.get(parts[1], set())


def mount_faults(compose: Compose, root: Path) -> list[str]:
    """Mounts of a path that does not exist, or of a volume that is not declared."""
    declared = compose.get("volumes", {})
    return [
        f"{name} mounts {source}, which does not exist"
        for name, source in _mounts(compose)
        if not ((root / source).exists() if source.startswith((".", "/")) else source in declared)
    ]


def _mounts(compose: Compose) -> Iterator[tuple[str, str]]:
    for name, service in compose["services"].items():
        for volume in service.get("volumes", []):
            yield name, volume.split(":", maxsplit=1)[0]


def shared_secret_faults(compose: Compose) -> list[str]:
    """Airflow services whose token secrets differ: tasks would be refused by the api-server."""
    airflow = [s["environment"] for name, s in compose["services"].items() if name.startswith("airflow-")]
    keys = ("AIRFLOW__API_AUTH__JWT_SECRET", "AIRFLOW__API__SECRET_KEY", "AIRFLOW__CORE__FERNET_KEY")
    return [f"{key} differs or is absent" for key in keys if len({str(e.get(key)) for e in airflow}) != 1]


def port_faults(compose: Compose) -> list[str]:
    """Ports that are published to more than this machine: the login is a development one."""
    return [
        f"{name} publishes {port} beyond loopback"
        for name, service in compose["services"].items()
        for port in service.get("ports", [])
        if not str(port).startswith("127.0.0.1:")
    ]


def name_faults(compose: Compose, known: Mapping[str, Collection[str]]) -> list[str]:
    """Environment names that nobody reads. `known` holds names by their beginning; under "" the others."""
    return [
        f"{name}: nobody reads {key}"
        for name, service in compose["services"].items()
        for key in service.get("environment", {})
        if not key.startswith("AIRFLOW__") and key not in _family(key, known)
    ]


def _family(key: str, known: Mapping[str, Collection[str]]) -> Collection[str]:
    return known[max((start for start in known if key.startswith(start)), key=len)]


def asked_variables(compose: Compose) -> set[str]:
    """Names of all variables that the file takes from whoever runs it."""
    handed = {
        key
        for service in compose["services"].values()
        for key, value in service.get("environment", {}).items()
        if value is None
    }
    return handed | {found[1] for text in _texts(compose) for found in VARIABLE.finditer(text)}


def _texts(value: Any) -> Iterator[str]:  # Any: a parsed YAML file
    if isinstance(value, Mapping):
        for each in value.values():
            yield from _texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from _texts(each)
    elif isinstance(value, str):
        yield value


def secret_faults(compose: Compose) -> list[str]:
    """Secrets that are written in the file, or that have a default: they come from the environment alone."""
    written = [
        f"{name}: {key} is written in the file"
        for name, service in compose["services"].items()
        for key, value in service.get("environment", {}).items()
        if SECRET.search(key) and value is not None and not VARIABLE.fullmatch(str(value))
    ]
    lax = sorted(
        {
            f"{found[1]} has a default or may be empty"
            for text in _texts(compose)
            for found in VARIABLE.finditer(text)
            if SECRET.search(found[1]) and found[2] != ":?"
        }
    )
    return written + lax


def address_faults(compose: Compose) -> list[str]:
    """Hosts in variables, commands and checks that are no service of the file."""
    known = {*compose["services"], "localhost", "127.0.0.1", "0.0.0.0"}
    return [
        f"{name} speaks to {host}, which is no service"
        for name, service in compose["services"].items()
        for text in _texts(
            [service.get(part) for part in ("environment", "command", "entrypoint", "healthcheck")]
        )
        for host in re.findall(r"(?:://|@|--address=)(?:[^/@\s]*@)?([\w.-]+):\d", VARIABLE.sub("x", text))
        if host not in known
    ]


def gpu_faults(compose: Compose) -> list[str]:
    """Services that ask for a GPU outside of the profile `gpu`, or that are in it and ask for none."""
    asking = {
        name: "devices" in service.get("deploy", {}).get("resources", {}).get("reservations", {})
        for name, service in compose["services"].items()
    }
    inside = {name: "gpu" in s.get("profiles", ()) for name, s in compose["services"].items()}
    return [
        f"{name}: a GPU and the profile gpu go together" for name in asking if asking[name] != inside[name]
    ]
