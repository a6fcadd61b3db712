"""The deep walk needs a store's protocols only: on a real S3 server it finds the same."""

import pytest

from storage.deep_verification import verify_deep
from storage.local_store import LocalStore
from storage.stores import open_store
from tests.receipts_lake import make_receipts_lake

pytestmark = pytest.mark.slow


def test_a_lake_in_a_bucket_is_verified_like_a_folder(
    moto_lake: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("receipts")
    make_receipts_lake(folder)
    local, bucket = LocalStore(folder / "lake"), open_store(moto_lake)
    victim = next(key for key in local.list("shop/credit/") if key.endswith(".parquet"))
    for key in local.list("shop/"):
        data = local.get(key)
        bucket.create(key, data[:-1] + b"\0" if key == victim else data)

    found, expected = verify_deep(bucket, "shop"), verify_deep(local, "shop")

    assert found.heads == expected.heads
    assert {sort: found.objects[sort] for sort in ("commits", "table files", "registry events")} == {
        sort: expected.objects[sort] for sort in ("commits", "table files", "registry events")
    }
    assert expected.problems == ()
    (problem,) = found.problems
    assert f"object {victim!r} is corrupt: expected sha256" in problem
