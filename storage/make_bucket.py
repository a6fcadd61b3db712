"""`python -m storage.make_bucket s3://bucket/prefix`: make the bucket of a deployment and try its promises.

Run once before anything else starts. A lake itself never makes a bucket: what it does not find there may be a
mistake in its address.
"""

import sys

import botocore.session
from botocore import exceptions as boto
from botocore.config import Config

from storage.errors import StorageError
from storage.s3 import S3Store
from storage.s3_address import Place, find_place
from storage.s3_diagnosis import race_writers

# What S3 and its likes answer about a bucket that is there and ours.
THERE = frozenset({"BucketAlreadyOwnedByYou", "BucketAlreadyExists"})


def main(arguments: list[str]) -> int:
    """0 when the bucket is there and safe, or none is wanted; 1 with the reason on standard error."""
    uri = arguments[0] if arguments else ""
    if not uri.startswith("s3://"):
        print(f"no bucket is wanted: ITPO_LAKE is {uri!r}")
        return 0
    try:
        print(ensure(uri))
    except (StorageError, boto.BotoCoreError, boto.ClientError) as problem:
        print(f"{uri}: {problem}", file=sys.stderr)
        return 1
    return 0


def ensure(uri: str) -> str:
    """Make the bucket where it is missing and let writers race in it; what was done, for a person.

    Raises UnsafeStore when the store lets more than one racing writer win, and what botocore raises when it
    may not be made.
    """
    place = find_place(uri)
    made = _make(place)
    race_writers(S3Store(place))
    return f"bucket {place.bucket}: {'made' if made else 'there already'}, conditional writes are honoured"


def _make(place: Place) -> bool:
    client = botocore.session.Session().create_client(
        "s3",
        endpoint_url=place.endpoint,
        region_name=place.region,
        config=Config(
            s3={"addressing_style": "path"} if place.endpoint else {},
            retries={"total_max_attempts": 2, "mode": "standard"},
        ),
    )
    try:
        client.create_bucket(Bucket=place.bucket, **_constraint(place))
    except boto.ClientError as refusal:
        if refusal.response.get("Error", {}).get("Code") not in THERE:
            raise
        return False
    return True


def _constraint(place: Place) -> dict[str, dict[str, str]]:
    # AWS wants the region said, except the first one, which it wants unsaid.
    if place.region in (None, "us-east-1"):
        return {}
    return {"CreateBucketConfiguration": {"LocationConstraint": str(place.region)}}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
