"""What stands in for an image where there are no containers. Everything else is run as the file says."""

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from dags.local_settings import HOST
from dags.stack_compose import Service
from dags.stack_postgres import database_user, find_programs
from dags.stack_settings import StackPlace


@dataclass(frozen=True, slots=True)
class Part:
    """A service ready to run: its command, all of its variables, who runs it (None: whoever starts it)."""

    service: Service
    argv: tuple[str, ...]
    environment: dict[str, str]
    user: str | None = None


Making = Callable[[Service, StackPlace, dict[str, str]], Part]


def part_of(service: Service, place: StackPlace, *, surroundings: Mapping[str, str]) -> Part:
    """The service with the variables of the file on top of what an image would bring.

    Raises StackFailed where what stands in for the image is not installed.
    """
    image = service.image.partition(":")[0]
    making = STAND_INS.get(service.name) or STAND_INS.get(image) or _as_written
    return making(service, place, {**surroundings, **service.environment})


def database_folder(place: StackPlace) -> Path:
    """Where PostgreSQL keeps its data."""
    return Path(place.locally.folders["/var/lib/postgresql/data"])


def _as_written(service: Service, place: StackPlace, environment: dict[str, str]) -> Part:
    return Part(service, service.argv, environment)


def _postgres(service: Service, place: StackPlace, environment: dict[str, str]) -> Part:
    # Where none is installed, the first start says so.
    path = os.pathsep.join((environment["PATH"], str(find_programs() or "")))
    options = (f"listen_addresses={HOST}", f"port={place.ports['postgres']}", "unix_socket_directories=")
    argv = ("postgres", "-D", str(database_folder(place)))
    argv += tuple(word for option in options for word in ("-c", option))
    return Part(service, argv, environment | {"PATH": path}, database_user())


def _bucket_server(service: Service, place: StackPlace, environment: dict[str, str]) -> Part:
    port = str(place.ports["s3"])
    settings = {
        "BIND_HOST": HOST, "GATEWAY_PORT": port, "SERVICES": "s3", "LOG_LEVEL": "WARNING",
        "S3_PERSIST": "1", "IOT_MTLS_ENABLED": "0", "S3_DATA_DIR": place.locally.folders["/data"],
    }  # fmt: skip
    answers = ("CMD", "curl", f"http://{HOST}:{port}/_ministack/health")
    argv = (sys.executable, "-m", "ministack")
    return Part(replace(service, health=answers), argv, environment | settings)


def _folders(service: Service, place: StackPlace, environment: dict[str, str]) -> Part:
    # No volume has to be handed over: whoever starts the stack owns what it writes.
    return Part(service, ("true",), environment)


STAND_INS: dict[str, Making] = {
    "postgres": _postgres,
    "chrislusf/seaweedfs": _bucket_server,
    "volumes-init": _folders,
}
