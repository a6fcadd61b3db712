"""What a look at a bucket finds: who asks, from where, with what clock, and whether writes are safe."""

import time
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime

import botocore.session

from storage.probe import no_guard, race
from storage.s3 import S3Store
from storage.s3_address import find_place

PATIENCE_S = 10.0


@dataclass(frozen=True, slots=True)
class BucketLook:
    """Facts for a person: `credentials` is their source only, `skew_s` is the server's clock minus ours."""

    endpoint: str
    region: str
    credentials: str
    skew_s: float


def open_for_a_look(uri: str) -> S3Store:
    """The store, which gives up soon and is asked no questions before it writes; raises StoreUnavailable."""
    return S3Store(find_place(uri), deadline_s=PATIENCE_S, guard=no_guard)


def look(store: S3Store) -> BucketLook:
    """Ask the bucket once; raises StoreUnavailable, BadCredentials or StoreTimeout."""
    headers = store.head_bucket()
    skew_s = parsedate_to_datetime(headers["date"]).timestamp() - time.time() if "date" in headers else 0.0
    found = botocore.session.Session().get_credentials()
    return BucketLook(
        endpoint=store.place.endpoint or "AWS",
        region=store.place.region or headers.get("x-amz-bucket-region", "unknown"),
        credentials="none" if found is None else str(found.method),
        skew_s=skew_s,
    )


def race_writers(store: S3Store) -> None:
    """UnsafeStore unless conditional writes are honoured now, whatever an earlier probe has noted."""
    race(replace(store, guard=no_guard))
