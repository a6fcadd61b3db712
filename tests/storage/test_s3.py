"""The store in a bucket: its address, credentials, forks, large objects, old versions and local copies."""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from storage.errors import BadCredentials, ObjectMissing, StoreUnavailable
from storage.s3 import S3Store
from storage.s3_address import Place, find_endpoint, find_place, split_address
from storage.s3_errors import Request, meaning
from storage.s3_requests import Requests
from storage.stores import materialise, open_store
from tests.storage.servers import aws_environment, client

MIB = 1 << 20
CREDENTIALS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")


def opened(uri: str, cache: Path | None = None) -> S3Store:
    store = open_store(uri, cache=cache)
    assert isinstance(store, S3Store)
    return store


@pytest.mark.parametrize(
    ("uri", "bucket", "prefix"),
    [
        ("s3://lake", "lake", ""),
        ("s3://lake/", "lake", ""),
        ("s3://my.lake-1/a/b=1/", "my.lake-1", "a/b=1"),
        ("s3://lake/50%25 off/é?x#y+z", "lake", "50%25 off/é?x#y+z"),
    ],
)
def test_an_address_names_a_bucket_and_a_prefix_as_it_stands(uri: str, bucket: str, prefix: str) -> None:
    assert split_address(uri) == (bucket, prefix)


@pytest.mark.parametrize(
    "uri", ["s3://", "s3:///x", "s3://UPPER case/x", "s3://a/x", "s3://lake/../x", "s3://lake/a//b"]
)
def test_an_address_without_a_usable_bucket_or_prefix_is_refused(uri: str) -> None:
    with pytest.raises(StoreUnavailable, match=r"lake\.root"):
        open_store(uri)


@pytest.mark.parametrize("uri", ["s3://user:hush@lake/x", "s3://hush@lake", "http://user:hush@lake/x"])
def test_a_password_in_an_address_is_refused_and_not_repeated(uri: str) -> None:
    with pytest.raises(StoreUnavailable) as caught:
        open_store(uri)

    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    "endpoint",
    ["http://user:hush@127.0.0.1:1", "ftp://127.0.0.1/hush", "127.0.0.1:9000/hush", "http://h:x/hush"],
)
def test_an_endpoint_that_is_none_or_holds_a_password_is_refused_and_not_repeated(endpoint: str) -> None:
    with aws_environment(endpoint), pytest.raises(StoreUnavailable, match="AWS_ENDPOINT_URL") as caught:
        open_store("s3://lake/x")

    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(("status", "code"), [(301, "301"), (400, "AuthorizationHeaderMalformed")])
def test_a_bucket_in_another_region_is_said(status: int, code: str) -> None:
    answer = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    problem = meaning(ClientError(answer, "GetObject"), Request("get", "s3://lake/x", writes=False))

    assert isinstance(problem, StoreUnavailable)
    assert str(problem).startswith(f"s3://lake/x: get was refused with {status} {code}")
    assert "set AWS_REGION" in str(problem)


PROFILE = {"endpoint_url": "http://profile", "services": "local"}
SERVICES = {"local": {"s3": {"endpoint_url": "http://profile-s3"}}}


@pytest.mark.parametrize(
    ("environment", "profile", "endpoint"),
    [
        ({"AWS_ENDPOINT_URL": "http://all", "AWS_ENDPOINT_URL_S3": "http://s3"}, PROFILE, "http://s3"),
        ({"AWS_ENDPOINT_URL": "http://all"}, PROFILE, "http://all"),
        ({}, PROFILE, "http://profile-s3"),
        ({}, {"endpoint_url": "http://profile"}, "http://profile"),
        ({"AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"}, PROFILE, None),
        ({}, {}, None),
    ],
)
def test_the_endpoint_is_found_in_the_order_of_aws(
    environment: Mapping[str, str], profile: Mapping[str, object], endpoint: str | None
) -> None:
    assert find_endpoint(environment, profile, services=SERVICES) == endpoint


def test_a_profile_may_hold_everything(
    moto_lake: str, moto_endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = f"[profile lab]\nregion = eu-west-1\nendpoint_url = {moto_endpoint}\n"
    (tmp_path / "config").write_text(settings)
    (tmp_path / "credentials").write_text("[lab]\naws_access_key_id = me\naws_secret_access_key = hush\n")
    for name in (
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_ENDPOINT_URL",
        "AWS_REGION",
        "AWS_DEFAULT_REGION",
    ):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_PROFILE", "lab")

    store = opened(moto_lake)

    assert (store.place.endpoint, store.place.region) == (moto_endpoint, "eu-west-1")
    assert store.create("a/x", b"data")


def test_a_profile_that_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody")

    with pytest.raises(BadCredentials, match="check AWS_PROFILE"):
        find_place("s3://lake/x")


def test_without_credentials_the_remedy_is_said_at_once(
    moto_lake: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)

    with pytest.raises(BadCredentials, match=r"no usable credentials were found.*set AWS_ACCESS_KEY_ID"):
        open_store(moto_lake).get("a/x")


def test_a_bucket_that_is_not_there_is_said(moto_lake: str) -> None:
    store = open_store("s3://no-such-bucket-here/lake")

    with pytest.raises(StoreUnavailable, match=r"s3://no-such-bucket-here.*no such bucket"):
        store.create("a/x", b"data")


def test_a_child_forked_after_the_store_was_used_uses_it_too(moto_lake: str) -> None:
    store = open_store(moto_lake)
    store.create("by/parent", b"1")

    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = 0 if store.create("by/child", b"2") and store.get("by/parent") == b"1" else 1
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)

    assert status == 0
    assert store.get("by/child") == b"2"


@pytest.mark.parametrize("writes", [False, True])
def test_a_refusal_that_does_not_say_why_tells_to_look_at_the_credentials_too(writes: bool) -> None:
    answer = {"Error": {"Code": "403"}, "ResponseMetadata": {"HTTPStatusCode": 403}}

    problem = meaning(ClientError(answer, "HeadBucket"), Request("look-up", "s3://lake", writes=writes))

    assert isinstance(problem, BadCredentials)
    assert "renew AWS_ACCESS_KEY_ID" in str(problem)
    assert "no right to the bucket (docs/s3.md" in str(problem)


@pytest.fixture(params=["moto_lake", "ministack_lake"])
def in_parts(request: pytest.FixtureRequest) -> S3Store:
    """A store that writes more than 5 MiB, the smallest part that S3 takes, in parts."""
    return replace(opened(request.getfixturevalue(request.param)), part_bytes=5 * MIB)


@pytest.mark.slow
def test_a_large_object_goes_in_parts_and_is_created_once(in_parts: S3Store) -> None:
    data = os.urandom(6 * MIB)

    assert in_parts.create("a/large", data)
    assert not in_parts.create("a/large", data[::-1])
    assert in_parts.get("a/large") == data
    assert in_parts.get_tagged("a/large").tag.endswith('-2"')  # two parts
    assert in_parts.replace("a/large", data[::-1], tag=in_parts.get_tagged("a/large").tag)
    assert list(in_parts.sweep_unfinished(older_than_s=-60)) == []  # the refused upload was aborted


def test_an_upload_that_was_never_finished_is_swept_when_it_is_old(ministack_lake: str) -> None:
    store = opened(ministack_lake)  # moto tells a made-up age
    s3 = client(str(store.place.endpoint))
    s3.create_multipart_upload(Bucket=store.place.bucket, Key="lake/a/large")

    assert list(store.sweep_unfinished(older_than_s=3600)) == []
    assert list(store.sweep_unfinished(older_than_s=-60)) == ["a/large"]
    assert list(store.sweep_unfinished(older_than_s=-60)) == []


def test_what_a_probe_left_is_swept_only_when_it_is_old(moto_lake: str) -> None:
    store = opened(moto_lake)
    left = {"Bucket": store.place.bucket, "Key": "lake/_probe/race-1"}
    client(str(store.place.endpoint)).put_object(**left, Body=b"1")

    assert list(store.sweep_unfinished(older_than_s=3600)) == []
    assert list(store.sweep_unfinished(older_than_s=-60)) == ["_probe/race-1"]
    assert list(store.sweep_unfinished(older_than_s=-60)) == []


def test_deleting_in_a_bucket_that_keeps_versions_leaves_none(moto_lake: str) -> None:
    store = opened(moto_lake)
    versions = {"Bucket": store.place.bucket, "VersioningConfiguration": {"Status": "Enabled"}}
    s3 = client(str(store.place.endpoint))
    s3.put_bucket_versioning(**versions)
    store.create("a/x", b"one")
    store.replace("a/x", b"two", tag=store.get_tagged("a/x").tag)
    store.create("a/x2", b"stays")

    store.delete("a/x")

    left = s3.list_object_versions(Bucket=store.place.bucket, Prefix="lake/a/")
    assert [version["Key"] for version in left.get("Versions", [])] == ["lake/a/x2"]
    assert left.get("DeleteMarkers", []) == []


def test_files_of_consoles_are_no_objects_of_the_lake(moto_lake: str) -> None:
    store = opened(moto_lake)
    for key in ("lake/folder/", "lake/.hidden", "lake2/x"):
        client(str(store.place.endpoint)).put_object(Bucket=store.place.bucket, Key=key, Body=b"")
    store.create("a/x", b"1")

    assert store.list("") == ["a/x"]


def test_parts_of_objects_are_read_as_far_as_they_go(moto_lake: str) -> None:
    store = opened(moto_lake)
    store.create("a/x", b"0123456789")

    assert store.get_range("a/x", start=2, stop=5) == b"234"
    assert store.get_range("a/x", start=8, stop=99) == b"89"
    assert store.get_range("a/x", start=10, stop=12) == b""
    with pytest.raises(ObjectMissing):
        store.get_range("a/nothing", start=0, stop=1)


def test_a_local_copy_is_fetched_once_and_goes_with_its_object(moto_lake: str, tmp_path: Path) -> None:
    store = opened(moto_lake, cache=tmp_path)
    store.create("a/b=1/x.parquet", b"data")

    (copy,) = materialise(store, ["a/b=1/x.parquet"])

    assert copy.is_relative_to(tmp_path)
    assert copy.read_bytes() == b"data"
    assert materialise(store, ["a/b=1/x.parquet"]) == [copy]
    store.delete("a/b=1/x.parquet")
    assert not copy.exists()


class PagesOfTwo:
    """What is used of s3fs, over a listing that comes in pages of two."""

    loop = None

    def __init__(self, names: list[str]) -> None:
        self.names = names

    def call_s3(self, method: str, **fields: str) -> dict[str, object]:
        start = int(fields.get("ContinuationToken", 0))
        page = [{"Key": name} for name in self.names[start : start + 2]]
        more = start + 2 < len(self.names)
        return {"Contents": page, "IsTruncated": more, "NextContinuationToken": str(start + 2)}


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_all_pages_of_a_listing_are_read(count: int) -> None:
    names = [f"k{number}" for number in range(count)]
    requests = Requests(Place("lake", "", None, None), 1.0, lambda: PagesOfTwo(names))

    found = requests.pages("list_objects_v2", "Contents", prefix="")

    assert [each["Key"] for each in found] == names
