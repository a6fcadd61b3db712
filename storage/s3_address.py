"""Where an S3 lake lies: its address, and the endpoint and region that the ordinary AWS settings name."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

import botocore.session
from botocore import exceptions as boto

from storage.errors import BadCredentials, BadKey, StoreUnavailable
from storage.objects import check_key

_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]")


@dataclass(frozen=True, slots=True)
class Place:
    """A bucket, what every key in it begins with, and how the server is reached (None: AWS itself)."""

    bucket: str
    prefix: str
    endpoint: str | None
    region: str | None


def find_place(uri: str) -> Place:
    """Read `s3://bucket/prefix` and the AWS settings; the prefix is taken as it stands, nothing is decoded.

    Raises StoreUnavailable for an address that is no such thing; a password in it is never repeated.
    """
    bucket, prefix = split_address(uri)
    session = botocore.session.Session()
    try:
        profile = session.get_scoped_config()
        region = os.environ.get("AWS_REGION") or session.get_config_variable("region")
        services = session.full_config.get("services", {})
    except boto.BotoCoreError as problem:
        kind = type(problem).__name__
    else:
        endpoint = check_endpoint(find_endpoint(os.environ, profile, services=services))
        return Place(bucket, prefix, endpoint, region or ("us-east-1" if endpoint else None))
    raise BadCredentials(f"the AWS settings cannot be read ({kind}): check AWS_PROFILE and AWS_CONFIG_FILE")


def split_address(uri: str) -> tuple[str, str]:
    """Bucket and prefix of `s3://bucket/prefix`."""
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    if "@" in bucket:
        raise StoreUnavailable(
            "lake.root holds a user or a password before '@': write s3://bucket/prefix and give the "
            "credentials in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or a profile"
        )
    if _BUCKET.fullmatch(bucket) is None:
        raise StoreUnavailable(f"lake.root names no bucket: {bucket!r}; write s3://bucket/prefix")
    prefix = prefix.strip("/")
    try:
        return bucket, check_key(prefix) if prefix else ""
    except BadKey as problem:
        raise StoreUnavailable(f"the prefix of lake.root is refused: {problem}") from problem


def find_endpoint(
    environment: Mapping[str, str], profile: Mapping[str, object], *, services: Mapping[str, object]
) -> str | None:
    """The endpoint for S3, in the order of AWS: the environment before the profile, S3 before the rest."""
    if environment.get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "").lower() == "true":
        return None
    service = services.get(str(profile.get("services")))
    of_s3 = service.get("s3") if isinstance(service, Mapping) else None
    named = [
        environment.get("AWS_ENDPOINT_URL_S3"),
        environment.get("AWS_ENDPOINT_URL"),
        of_s3.get("endpoint_url") if isinstance(of_s3, Mapping) else None,
        profile.get("endpoint_url"),
    ]
    return next((str(url) for url in named if url), None)


def check_endpoint(url: str | None) -> str | None:
    """The endpoint itself; StoreUnavailable, without repeating it, unless it is http(s)://host[:port]."""
    if url is None or _is_endpoint(url):
        return url
    raise StoreUnavailable(
        "AWS_ENDPOINT_URL (or the endpoint_url of the profile) is refused: write http(s)://host:port, with "
        "neither a user nor a password; credentials belong into AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    )


def _is_endpoint(url: str) -> bool:
    try:
        parts = urlsplit(url)
        has_host = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and has_host and "@" not in parts.netloc and not parts.query
