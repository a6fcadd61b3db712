"""What a refusal of an S3 server means: try again, a lost race, nothing there, or stop with a remedy.

Only codes and status numbers of an answer reach a message, never its text, which may repeat a signature, a
key or the address with its password.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import aiohttp
from botocore import exceptions as boto
from botocore.parsers import ResponseParserError

from storage.errors import BadCredentials, ReadOnlyLake, StorageError, StorageFull, StoreUnavailable

# All that s3fs, botocore and aiohttp raise about a request; anything else is a defect of ours.
REQUEST_ERRORS = (OSError, boto.BotoCoreError, boto.ClientError, aiohttp.ClientError, ResponseParserError)

_REFUSED = frozenset({"PreconditionFailed", "412"})
_ABSENT = frozenset({"NoSuchKey", "NoSuchVersion", "NoSuchUpload", "404"})
_NO_BUCKET = frozenset({"NoSuchBucket", "InvalidBucketName"})
_FULL = frozenset(
    {
        "QuotaExceeded",
        "StorageQuotaExceeded",
        "InsufficientStorage",
        "XMinioStorageFull",
        "StorageFull",
        "507",
    }
)
_CREDENTIALS = frozenset(
    {
        "ExpiredToken",
        "ExpiredTokenException",
        "InvalidAccessKeyId",
        "InvalidToken",
        "InvalidClientTokenId",
        "SignatureDoesNotMatch",
        "TokenRefreshRequired",
        "RequestExpired",
    }
)
_DENIED = frozenset(
    {"AccessDenied", "AllAccessDisabled", "AccountProblem", "InvalidObjectState", "403", "401"}
)
_BARE = frozenset({"401", "403"})  # of an answer without a body, as to a HEAD
_ELSEWHERE = frozenset(
    {"PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "301", "307"}
)
_AGAIN = frozenset(
    {
        "BadDigest",
        "ConditionalRequestConflict",
        "IncompleteBody",
        "InternalError",
        "OperationAborted",
        "RequestLimitExceeded",
        "RequestTimeout",
        "ServiceUnavailable",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "TooManyRequests",
        "XAmzContentSHA256Mismatch",
    }
)
_AGAIN_STATUS = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
_NO_CREDENTIALS = (
    boto.NoCredentialsError,
    boto.PartialCredentialsError,
    boto.CredentialRetrievalError,
    boto.ProfileNotFound,
    boto.TokenRetrievalError,
    boto.SSOError,
    boto.MetadataRetrievalError,
    boto.RefreshWithMFAUnsupportedError,
)
_CODE = re.compile(r"[A-Za-z0-9.]{1,64}")


class TryAgain(Exception):
    """Whether the request was carried out is not known, or it may succeed later; the text says what came."""


class ConditionRefused(Exception):
    """The condition of the write did not hold: 412."""


class NothingThere(Exception):
    """No object lies under the key: 404."""


class OutsideOfObject(Exception):
    """The object ends before the first byte that was asked for: 416."""


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked, for messages: the operation, and `s3://bucket/key` without the endpoint."""

    operation: str
    address: str
    writes: bool


def meaning(error: Exception, request: Request) -> Exception:
    """TryAgain, ConditionRefused, NothingThere, or a StorageError with a remedy; without the error itself."""
    answer = _answer(error)
    if answer is None:
        return _of_the_client(error, request)
    code, status = answer
    if code in _REFUSED or status == 412:
        return ConditionRefused()
    if code in _NO_BUCKET:
        return StoreUnavailable(
            f"{request.address}: there is no such bucket ({code}); create it with a tool of the store (a "
            "lake never creates buckets), or correct lake.root"
        )
    if code in _ABSENT or status == 404:
        return NothingThere()
    if status == 416:
        return OutsideOfObject()
    return _refusal(code, status, request)


def _refusal(code: str, status: int, request: Request) -> Exception:
    what = f"{request.address}: {request.operation} was refused with {status} {code}"
    if code in _FULL or status == 507:
        return StorageFull(
            f"{what}: the quota or the disk of the store is full; free some space or raise the quota, then "
            "run the same command again"
        )
    if code == "RequestTimeTooSkewed":
        return BadCredentials(f"{what}: the clock of this machine is wrong; set it (NTP), then run again")
    if code in _CREDENTIALS:
        return BadCredentials(
            f"{what}: the credentials are expired or not valid; renew AWS_ACCESS_KEY_ID, "
            "AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN or the profile AWS_PROFILE, then run again"
        )
    if code in _ELSEWHERE or status in {301, 307}:
        return StoreUnavailable(f"{what}: the bucket lies in another region; set AWS_REGION to it")
    if code in _DENIED or status in {401, 403}:
        return _denied(what, code, request)
    if code in _AGAIN or status in _AGAIN_STATUS:
        return TryAgain(f"{status} {code}")
    return StoreUnavailable(f"{what}; look the code up in the manual of the store")


def _denied(what: str, code: str, request: Request) -> StorageError:
    if code in _BARE:
        return BadCredentials(
            f"{what}: the store does not say why; either the credentials are not valid (renew "
            "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN or the profile AWS_PROFILE), or "
            "they have no right to the bucket (docs/s3.md lists all permissions)"
        )
    if request.writes:
        return ReadOnlyLake(
            f"{what}: these credentials may not write there; allow s3:PutObject (docs/s3.md lists all "
            "permissions) or use others"
        )
    return StoreUnavailable(
        f"{what}: these credentials may not read there; allow s3:GetObject and s3:ListBucket (docs/s3.md "
        "lists all permissions) or use others"
    )


def _of_the_client(error: Exception, request: Request) -> Exception:
    """What went wrong before an answer came, by its class: its text may hold the endpoint's password."""
    name = type(error).__name__
    if isinstance(error, _NO_CREDENTIALS):
        return BadCredentials(
            f"{request.address}: no usable credentials were found ({name}); set AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
        )
    if isinstance(error, boto.SSLError):
        return StoreUnavailable(
            f"{request.address}: no trusted TLS connection to the endpoint; name its certificates in "
            "AWS_CA_BUNDLE, or correct AWS_ENDPOINT_URL"
        )
    if isinstance(error, boto.ParamValidationError | boto.NoRegionError | boto.InvalidRegionError):
        return StoreUnavailable(f"{request.address}: the request cannot be made ({name}); check AWS_REGION")
    return TryAgain(name)


def _answer(error: Exception) -> tuple[str, int] | None:
    """The code and the status of the server's answer, when there is one."""
    for link in _chain(error):
        if isinstance(link, boto.ClientError):
            code = str(link.response.get("Error", {}).get("Code", ""))
            status = link.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            return (code if _CODE.fullmatch(code) else "unknown code"), int(status)
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__
