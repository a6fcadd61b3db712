"""The registry of a bucket: events that were read once are not sent again, and are never believed blindly."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from storage import registry
from storage.errors import CorruptObject
from storage.objects import LakeStore
from storage.registry import PolicyVersion
from storage.stores import open_store
from tests.storage.counting import CountingServer, counting_server
from tests.storage.servers import aws_environment, client, probed_lake

ITERATIONS = 5
EVENTS = 2 * ITERATIONS
LOOKING = 3  # what is there, is there one behind the last, and is it really the last


@pytest.fixture
def server() -> Iterator[CountingServer]:
    with counting_server() as found, aws_environment(found.endpoint):
        yield found


@pytest.fixture
def uri(server: CountingServer) -> str:
    """A lake whose registry has two events of every iteration."""
    uri = probed_lake(server.endpoint)
    decide(open_store(uri), range(ITERATIONS))
    return uri


def decide(store: LakeStore, iterations: range, reason: str = "better") -> None:
    for iteration in iterations:
        name = registry.version_name("sales", iteration)
        policy = PolicyVersion(name, "sales", iteration, None, f"digest {iteration}", "key")
        registry.register_candidate(store, policy)
        registry.record_decision(
            store, "sales", event_id=f"decide/{iteration:04d}", action="promote", version=name,
            reason=reason, evidence={},
        )  # fmt: skip


def asked(server: CountingServer, store: LakeStore) -> int:
    """How many requests one reading of the registry takes."""
    before = len(server.requests)
    registry.events(store, "sales")
    return len(server.requests) - before


def test_a_process_reads_each_event_once_and_the_next_process_none(
    server: CountingServer, uri: str, tmp_path: Path
) -> None:
    first = open_store(uri, cache=tmp_path)

    assert asked(server, first) == LOOKING + EVENTS
    assert asked(server, first) == LOOKING
    assert asked(server, open_store(uri, cache=tmp_path)) == LOOKING


def test_a_new_event_is_seen_at_once_and_costs_one_request(
    server: CountingServer, uri: str, tmp_path: Path
) -> None:
    reader = open_store(uri, cache=tmp_path)
    registry.events(reader, "sales")
    policy = PolicyVersion("sales/v9", "sales", 9, None, "digest 9", "key")
    registry.register_candidate(open_store(uri), policy)

    assert asked(server, reader) == LOOKING + 1
    assert registry.versions(reader, "sales")[-1].name == "sales/v9"


def test_a_lake_that_was_made_anew_at_the_same_address_is_read_anew(
    server: CountingServer, uri: str, tmp_path: Path
) -> None:
    reader = open_store(uri, cache=tmp_path)
    registry.events(reader, "sales")
    for key in reader.list("sales/registry/"):
        client(server.endpoint).delete_object(Bucket=uri.split("/")[2], Key=f"lake/{key}")
    decide(open_store(uri), range(1), reason="anew")

    found = registry.events(reader, "sales")

    assert [event.reason for event in found] == ["trained", "anew"]


def test_an_event_that_was_changed_in_the_bucket_is_noticed_although_it_was_read_before(
    server: CountingServer, uri: str, tmp_path: Path
) -> None:
    reader = open_store(uri, cache=tmp_path)
    registry.events(reader, "sales")
    place = {"Bucket": uri.split("/")[2], "Key": "lake/sales/registry/000003.json"}
    data = reader.get("sales/registry/000003.json")
    client(server.endpoint).put_object(**place, Body=data.replace(b"better", b"bettor"))

    with pytest.raises(CorruptObject, match=r"000003\.json"):
        registry.events(reader, "sales")


def test_a_damaged_copy_is_fetched_again(server: CountingServer, uri: str, tmp_path: Path) -> None:
    reader = open_store(uri, cache=tmp_path)
    whole = registry.events(reader, "sales")
    [copy] = tmp_path.rglob("*-000003.json")
    copy.write_bytes(copy.read_bytes()[:-5])

    assert registry.events(reader, "sales") == whole
    assert asked(server, reader) == LOOKING
