"""What a Compose file must keep to beyond the schema: pins, targets, health, options, mounts."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any  # a parsed YAML file

# A tag that says a release: latest, main and a bare major version move.
PINNED = re.compile(r"^[\w./-]+:\d+\.\d+[\w.-]*$|@sha256:[0-9a-f]{64}$")
Compose = Mapping[str, Any]


def image_faults(compose: Compose) -> list[str]:
    """Services whose image is absent or may change under its tag."""
    images = {name: service.get("image", "") for name, service in compose["services"].items()}
    return [
        f"{name}: image {image!r} is not pinned" for name, image in images.items() if not PINNED.search(image)
    ]


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
    return unknown + unhealthy


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
    airflow = [s["environment"] for s in compose["services"].values() if "airflow" in s.get("image", "")]
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
