"""What a stack without containers is given: folder, ports, secrets, and what only a container has.

`python -m dags.stack_settings` writes `.env` for `docker compose`, with secrets of its own.
"""

import base64
import os
import secrets
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dags.local_settings import HOST, ROOT
from dags.stack_compose import COMPOSE, PORTS, Locally, StackFailed, parsed

MARK = "ITPO_STACK"  # in the environment of every process of a stack; its value is the stack's folder
PROFILE = "s3"


@dataclass(frozen=True, slots=True)
class StackPlace:
    """Where one stack lives. `temp` is short: Ray makes sockets in it, whose paths may not be long."""

    folder: Path
    temp: Path
    ports: Mapping[str, int]

    @property
    def home(self) -> Path:
        """AIRFLOW_HOME; the logs of all parts are in its `logs`."""
        return self.folder / "airflow"

    @property
    def locally(self) -> Locally:
        """How the file's hosts, ports and folders read here."""
        folders = {
            "/opt/itpo": str(ROOT),
            "/opt/itpo/.venv": sys.prefix,
            "/opt/itpo/lake": str(self.folder / "lake"),
            "/opt/itpo/.work": str(self.folder / "work"),
            "/opt/itpo/reports": str(self.folder / "reports"),
            "/opt/airflow": str(self.home),
            "/data": str(self.folder / "bucket"),
            "/var/lib/postgresql/data": str(self.folder / "postgres"),
            "/tmp/ray": str(self.temp),
        }
        return Locally(self.ports, folders, frozenset(parsed(COMPOSE.read_text())["services"]))


def chosen_ports(words: list[str]) -> dict[str, int]:
    """The usual ports with `key=port` replaced; StackFailed for a key or a port that cannot be."""
    ports = {key: usual for key, (_, usual) in PORTS.items()}
    for word in words:
        key, _, number = word.partition("=")
        if key not in ports or not number.isdecimal() or not 0 < int(number) < 65536:
            raise StackFailed(f"port {word!r}: write KEY=PORT with a KEY of {', '.join(ports)}")
        ports[key] = int(number)
    twice = sorted(key for key, port in ports.items() if list(ports.values()).count(port) > 1)
    if twice:
        raise StackFailed(f"{' and '.join(twice)} have the same port {ports[twice[0]]}: choose another")
    return ports


def check_ports(ports: Mapping[str, int]) -> None:
    """StackFailed naming the first port that somebody listens on already, with its key."""
    for key, port in ports.items():
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError as problem:
                raise StackFailed(
                    f"port {port} ({key}) of {HOST} cannot be had ({problem.strerror}): stop what listens "
                    f"there, or choose another with PORTS='{key}={port + 1}'"
                ) from problem


def fresh_variables() -> dict[str, str]:
    """What `.env` holds: secrets drawn now, and a lake in the bucket of the profile `s3`."""
    return {
        "COMPOSE_PROFILES": PROFILE,
        "POSTGRES_PASSWORD": secrets.token_hex(16),
        "ITPO_ADMIN_PASSWORD": secrets.token_hex(8),
        "ITPO_JWT_SECRET": secrets.token_hex(32),
        "ITPO_API_SECRET": secrets.token_hex(32),
        "ITPO_FERNET_KEY": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        "ITPO_VLLM_API_KEY": secrets.token_hex(16),
        "ITPO_LAKE": "s3://lake/itpo",
        "AWS_ENDPOINT_URL": "http://seaweedfs:8333",
        "AWS_ACCESS_KEY_ID": "itpo",
        "AWS_SECRET_ACCESS_KEY": secrets.token_hex(20),
        "AWS_REGION": "us-east-1",
    }


def kept_variables(path: Path) -> dict[str, str]:
    """The variables of this file; one that is missing is made first, for its owner's eyes only."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        text = "".join(f"{name}={value}\n" for name, value in fresh_variables().items())
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)
    lines = [line.split("=", 1) for line in path.read_text().splitlines() if "=" in line]
    return {name: value for name, value in lines if not name.startswith("#")}


def surroundings(place: StackPlace) -> dict[str, str]:
    """All that is not in the file: what a container has of its image and of its network."""
    return {
        "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath))),
        "HOME": str(place.folder / "home"),
        "LANG": "C.UTF-8",
        "HOSTNAME": _own_name(),
        "PYTHONPATH": str(ROOT),
        "AIRFLOW_HOME": str(place.home),
        MARK: str(place.folder),
    }


def _own_name() -> str:
    """What Airflow's processes call this machine; socket.getfqdn may say localhost where they do not."""
    name = socket.gethostname()
    try:
        found = socket.getaddrinfo(name, None, 0, socket.SOCK_DGRAM, 0, socket.AI_CANONNAME)
    except OSError:
        return name
    return next((canonical for *_, canonical, _ in found if canonical), name)


def main(arguments: list[str]) -> int:
    """Write the named file, `.env` of the checkout by default, unless it is there."""
    path = Path(arguments[0]) if arguments else ROOT / ".env"
    was_there = path.exists()
    kept_variables(path)
    print(
        f"{path} {'was there already' if was_there else 'is made; the login is admin, its password is in it'}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
