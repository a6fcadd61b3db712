"""What the store in a bucket does when the server, or the way to it, fails: faults on a real socket."""

import functools
import logging
import traceback
from collections.abc import Callable
from dataclasses import replace

import pytest

from storage.errors import (
    BadCredentials,
    ReadOnlyLake,
    StorageError,
    StorageFull,
    StoreTimeout,
    StoreUnavailable,
)
from storage.s3 import S3Store
from storage.stores import open_store
from tests.storage.faulty_proxy import (
    Act,
    Fault,
    FaultyLake,
    answer,
    drop_after,
    flip,
    hang_after,
    truncate,
)
from tests.storage.servers import PASSWORD

TRANSIENT: dict[str, Act] = {
    "500": answer(500, "InternalError"),
    "502": answer(502, "BadGateway"),
    "503": answer(503, "SlowDown"),
    "504": answer(504, "GatewayTimeout"),
    "429": answer(429, "TooManyRequests"),
    "409": answer(409, "ConditionalRequestConflict"),
    "dropped": drop_after,
}
HANGS = pytest.param(hang_after, id="timed_out", marks=pytest.mark.slow)
transient = pytest.mark.parametrize(
    "act", [*(pytest.param(act, id=name) for name, act in TRANSIENT.items()), HANGS]
)


def store_of(lake: FaultyLake, *, deadline_s: float = 3.0) -> S3Store:
    """The lake's store, ready: what it asked so far is not counted."""
    store = open_store(lake.uri)
    assert isinstance(store, S3Store)
    store = replace(store, deadline_s=deadline_s)
    store.create("ready", b"")
    lake.seen.clear()
    return store


def test_reading_and_creating_take_one_request_each(faulty_lake: FaultyLake) -> None:
    store = store_of(faulty_lake)

    store.create("a/x", b"data")
    tag = store.get_tagged("a/x").tag
    store.replace("a/x", b"more", tag=tag)
    store.get("a/x")

    assert [line.split()[0] for line in faulty_lake.seen] == ["PUT", "GET", "PUT", "GET"]


@transient
def test_what_was_created_under_doubt_was_created_by_this_call(faulty_lake: FaultyLake, act: Act) -> None:
    store = store_of(faulty_lake)
    faulty_lake.faults.append(Fault("PUT", "a/x", act))

    assert store.create("a/x", b"data")
    assert store.get("a/x") == b"data"


@transient
def test_what_was_swapped_under_doubt_was_swapped_by_this_call(faulty_lake: FaultyLake, act: Act) -> None:
    store = store_of(faulty_lake)
    store.create("a/x", b"one")
    tag = store.get_tagged("a/x").tag
    faulty_lake.faults.append(Fault("PUT", "a/x", act))

    assert store.replace("a/x", b"two", tag=tag)
    assert store.get("a/x") == b"two"


@pytest.mark.parametrize("act", [drop_after, answer(500, "InternalError")])
def test_in_doubt_the_object_of_another_is_not_taken_for_ones_own(faulty_lake: FaultyLake, act: Act) -> None:
    store = store_of(faulty_lake)
    store.create("a/x", b"same bytes")
    faulty_lake.faults.append(Fault("PUT", "a/x", act))

    assert not store.create("a/x", b"same bytes")


def test_a_request_that_the_http_library_repeats_in_secret_is_known_again(faulty_lake: FaultyLake) -> None:
    store = store_of(faulty_lake)
    faulty_lake.keeps_connections = True
    store.list("")
    faulty_lake.seen.clear()
    faulty_lake.faults.append(Fault("PUT", "a/x", drop_after))

    created = store.create("a/x", b"data")

    # The second PUT is not ours: it was refused, as the first had been carried out.
    assert [line.split()[0] for line in faulty_lake.seen] == ["PUT", "PUT", "HEAD", "GET"]
    assert created


@pytest.mark.parametrize("act", [truncate, flip, answer(503, "SlowDown"), drop_after])
def test_a_body_that_arrives_damaged_is_asked_for_again(faulty_lake: FaultyLake, act: Act) -> None:
    store = store_of(faulty_lake)
    store.create("a/x", bytes(range(256)) * 40)
    faulty_lake.faults.append(Fault("GET", "a/x", act, times=2))

    assert store.get("a/x") == bytes(range(256)) * 40
    assert faulty_lake.counts()["GET"] == 3


def test_a_server_that_never_recovers_is_given_up_with_all_that_is_known(faulty_lake: FaultyLake) -> None:
    store = store_of(faulty_lake, deadline_s=0.5)
    faulty_lake.faults.append(Fault("PUT", "a/x", answer(503, "SlowDown"), times=999))

    with pytest.raises(
        StoreTimeout, match=r"lake/a/x: create failed \d+ times in [01] s.*503 SlowDown.*again"
    ):
        store.create("a/x", b"data")

    faulty_lake.faults.clear()
    assert store.create("a/x", b"data")


def test_nobody_listening_is_said_after_the_deadline(faulty_lake: FaultyLake, unused_endpoint: str) -> None:
    store = store_of(faulty_lake, deadline_s=0.5)
    store = replace(store, place=replace(store.place, endpoint=unused_endpoint))

    with pytest.raises(
        StoreTimeout, match=r"a/x: get failed.*EndpointConnectionError.*check that the endpoint"
    ):
        store.get("a/x")


FINAL = {
    "expired": (answer(400, "ExpiredToken"), BadCredentials, "expired or not valid; renew"),
    "unknown_key": (answer(403, "InvalidAccessKeyId"), BadCredentials, "renew AWS_ACCESS_KEY_ID"),
    "bad_signature": (answer(403, "SignatureDoesNotMatch"), BadCredentials, "renew AWS_ACCESS_KEY_ID"),
    "wrong_clock": (answer(403, "RequestTimeTooSkewed"), BadCredentials, "clock of this machine is wrong"),
    "read_only": (answer(403, "AccessDenied"), ReadOnlyLake, "may not write there; allow s3:PutObject"),
    "full_disk": (answer(507, "InsufficientStorage"), StorageFull, "free some space or raise the quota"),
    "full_quota": (answer(403, "QuotaExceeded"), StorageFull, "free some space or raise the quota"),
    "no_bucket": (answer(404, "NoSuchBucket"), StoreUnavailable, "no such bucket"),
    "unheard_of": (answer(418, "Teapot"), StoreUnavailable, "418 Teapot"),
}


@pytest.mark.parametrize(("act", "error", "remedy"), FINAL.values(), ids=FINAL)
def test_a_final_refusal_is_said_at_once_with_its_remedy(
    faulty_lake: FaultyLake, act: Act, error: type[StorageError], remedy: str
) -> None:
    store = store_of(faulty_lake)
    faulty_lake.faults.append(Fault("PUT", "a/x", act))

    with pytest.raises(error, match=f"s3://.*/lake/a/x.*{remedy}"):
        store.create("a/x", b"data")

    assert faulty_lake.counts() == {"PUT": 1}
    assert store.create("a/x", b"data")


def test_who_may_not_read_is_told_what_to_allow(faulty_lake: FaultyLake) -> None:
    store = store_of(faulty_lake)
    faulty_lake.faults.append(Fault("GET", "a/x", answer(403, "AccessDenied")))

    with pytest.raises(StoreUnavailable, match="may not read there; allow s3:GetObject"):
        store.get("a/x")


def everything_said(call: Callable[[], object], caplog: pytest.LogCaptureFixture) -> str:
    """All that a user could see of a failure: its chain with every context, and the log at every level."""
    with caplog.at_level(logging.DEBUG), pytest.raises(StorageError) as caught:
        call()
    chain: list[str] = []
    error: BaseException | None = caught.value
    while error is not None:
        chain += [repr(error), *traceback.format_exception(error, chain=False)]
        error = error.__cause__ or error.__context__
    ours = [record.getMessage() for record in caplog.records if record.name.startswith(("storage", "tasks"))]
    return "\n".join([*chain, *ours])


@pytest.mark.parametrize("act", [act for act, _, _ in FINAL.values()] + [TRANSIENT["500"], drop_after])
def test_no_secret_is_in_any_message(
    faulty_lake: FaultyLake, act: Act, caplog: pytest.LogCaptureFixture
) -> None:
    store = store_of(faulty_lake, deadline_s=0.3)
    faulty_lake.faults.append(Fault("PUT", "a/x", act, times=999))
    faulty_lake.faults.append(Fault("HEAD", "a/x", act, times=999))

    said = everything_said(functools.partial(store.create, "a/x", b"data"), caplog)

    assert "lake/a/x" in said
    for secret in (PASSWORD, "AKIAPLANTED", "planted-signature", "Signature=", "Credential="):
        assert secret not in said
