"""Real S3 servers on loopback for the tests: started once per test process, a bucket of its own per test.

A plugin, named by tests/conftest.py: every test may ask for `moto_lake`, `ministack_lake` or
`forgetful_lake`, the `s3://bucket/prefix` of an empty lake, with the AWS variables set that lead there.
"""

import contextlib
import functools
import http.client
import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path

import pytest

from storage.probe import PASSED

USER, PASSWORD = "tester", "loopback-only-secret"
AWS_SETTINGS = {
    "AWS_ACCESS_KEY_ID": USER,
    "AWS_SECRET_ACCESS_KEY": PASSWORD,
    "AWS_REGION": "us-east-1",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
}
_NOT_INHERITED = (
    "AWS_PROFILE",
    "AWS_SESSION_TOKEN",
    "AWS_ENDPOINT_URL_S3",
    "http_proxy",
    "https_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
)
# What stands before a moto. moto looks at a condition and then writes, while another thread may write too: on
# a busy machine two racing writers both win, which S3 rules out. So conditional requests go one by one here.
DOOR = """
import sys, threading
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import run_simple

moto, one_by_one = DomainDispatcherApplication(create_backend_app), threading.Lock()

def honest(environ, start_response):
    if not {"HTTP_IF_NONE_MATCH", "HTTP_IF_MATCH"} & set(environ):
        return moto(environ, start_response)
    with one_by_one:
        return list(moto(environ, start_response))

def forgetful(environ, start_response):
    environ.pop("HTTP_IF_NONE_MATCH", None)
    environ.pop("HTTP_IF_MATCH", None)
    return moto(environ, start_response)

doors = {"honest": honest, "forgetful": forgetful}
run_simple("127.0.0.1", int(sys.argv[2]), doors[sys.argv[1]], threaded=True)
"""
_START_S = 60.0


def free_port() -> int:
    """A port of loopback that nobody uses at this moment."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextlib.contextmanager
def moto_server() -> Generator[str]:
    """The endpoint of a moto."""
    port = free_port()
    with _running([sys.executable, "-c", DOOR, "honest", str(port)], port) as url:
        yield url


@contextlib.contextmanager
def forgetful_server() -> Generator[str]:
    """The endpoint of a server that ignores If-None-Match and If-Match."""
    port = free_port()
    with _running([sys.executable, "-c", DOOR, "forgetful", str(port)], port) as url:
        yield url


@contextlib.contextmanager
def ministack_server() -> Generator[str]:
    """The endpoint of a ministack: another implementation, whose errors read differently."""
    port = free_port()
    settings = {"BIND_HOST": "127.0.0.1", "GATEWAY_PORT": str(port), "SERVICES": "s3", "LOG_LEVEL": "WARNING"}
    with _running([sys.executable, "-m", "ministack"], port, settings=settings) as url:
        yield url


def make_bucket(endpoint: str) -> str:
    """A new bucket on the server."""
    name = f"lake-{uuid.uuid4().hex[:12]}"
    client(endpoint).create_bucket(Bucket=name)
    return name


def probed_lake(endpoint: str) -> str:
    """`s3://bucket/lake` in a new bucket of a server known to honour conditions: it was probed before."""
    bucket = make_bucket(endpoint)
    client(endpoint).put_object(Bucket=bucket, Key=f"lake/{PASSED}", Body=b"{}")
    return f"s3://{bucket}/lake"


@functools.cache
def client(endpoint: str):  # boto3 makes its classes while it runs: there is no type to name
    """A boto3 client of the server, for what a lake never does itself."""
    # Imported here: this file is a plugin of every test session.
    import boto3
    from botocore.config import Config

    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id=USER,
        aws_secret_access_key=PASSWORD,
        config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 2}),
    )


@contextlib.contextmanager
def aws_environment(endpoint: str | None) -> Generator[Mapping[str, str]]:
    """The AWS variables for this server, and none of the machine's own; as they were afterwards."""
    settings = AWS_SETTINGS | ({"AWS_ENDPOINT_URL": endpoint} if endpoint else {})
    with pytest.MonkeyPatch.context() as patch:
        for name in (*_NOT_INHERITED, "AWS_ENDPOINT_URL"):
            patch.delenv(name, raising=False)
        for name, value in settings.items():
            patch.setenv(name, value)
        yield settings


@pytest.fixture(scope="session")
def moto_endpoint() -> Iterator[str]:
    """The moto of this test process."""
    with moto_server() as url:
        yield url


@pytest.fixture(scope="session")
def ministack_endpoint() -> Iterator[str]:
    """The ministack of this test process."""
    with ministack_server() as url:
        yield url


@pytest.fixture(scope="session")
def forgetful_endpoint() -> Iterator[str]:
    """The server without conditional writes of this test process."""
    with forgetful_server() as url:
        yield url


@pytest.fixture
def moto_lake(moto_endpoint: str) -> Iterator[str]:
    """`s3://bucket/lake` in a new bucket on moto, with the AWS variables set that lead there."""
    with aws_environment(moto_endpoint):
        yield probed_lake(moto_endpoint)


@pytest.fixture
def ministack_lake(ministack_endpoint: str) -> Iterator[str]:
    """`s3://bucket/lake` in a new bucket on ministack, with the AWS variables set that lead there."""
    with aws_environment(ministack_endpoint):
        yield probed_lake(ministack_endpoint)


@pytest.fixture
def forgetful_lake(forgetful_endpoint: str) -> Iterator[str]:
    """`s3://bucket/lake` on the server that ignores conditions, with the AWS variables set for it."""
    with aws_environment(forgetful_endpoint):
        yield f"s3://{make_bucket(forgetful_endpoint)}/lake"


@pytest.fixture
def unused_endpoint() -> str:
    """An address where nobody listens."""
    return f"http://127.0.0.1:{free_port()}"


@contextlib.contextmanager
def _running(command: list[str], port: int, *, settings: Mapping[str, str] | None = None) -> Generator[str]:
    kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    environment = kept | AWS_SETTINGS | dict(settings or {})
    with subprocess.Popen(
        command,
        env=environment,
        cwd=Path(sys.prefix),  # away from the sources: a server imports nothing of ours
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as server:
        try:
            _wait_until_it_answers(server, port)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()
            try:
                server.wait(5)
            except subprocess.TimeoutExpired:
                server.kill()


def _wait_until_it_answers(server: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise RuntimeError(f"the server {server.args} ended with {server.returncode}")
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/")
            connection.getresponse().read()
        except OSError:
            time.sleep(0.05)
        else:
            return
        finally:
            connection.close()
    raise TimeoutError(f"the server {server.args} did not answer within {_START_S:.0f} s")
