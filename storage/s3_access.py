"""Credentials of the ordinary AWS settings as a DuckDB secret, and never in a text that anybody keeps."""

from urllib.parse import urlsplit

import botocore.session
import duckdb
from botocore import exceptions as boto

from storage.errors import BadCredentials
from storage.s3_address import Place
from storage.sql_text import Literal, literal

SECRET = "itpo_lake"
# Loading httpfs copies the AWS variables into settings, which every select may read; a secret shows nothing.
_FORGET_SETTINGS = "set s3_access_key_id = ''; set s3_secret_access_key = ''; set s3_session_token = ''"


def add_secret(connection: duckdb.DuckDBPyConnection, place: Place, *, scope: str) -> None:
    """Let httpfs read below `scope` with this process's credentials; BadCredentials names the cause only."""
    try:
        found = botocore.session.Session().get_credentials()
        frozen = None if found is None else found.get_frozen_credentials()
    except boto.BotoCoreError as problem:
        cause = type(problem).__name__
    else:
        secrets: dict[str, Literal] = {}
        if frozen is not None:
            secrets = {
                "key_id": frozen.access_key,
                "secret": frozen.secret_key,
                "session_token": frozen.token,
            }
        try:
            connection.execute(_FORGET_SETTINGS)
            connection.execute(secret_statement(place, scope=scope, secrets=secrets))
        except duckdb.Error as problem:
            cause = type(problem).__name__
        else:
            return
    # Raised out here so that the error, whose text may hold a secret, is not even its context.
    raise BadCredentials(
        f"the AWS credentials cannot be given to DuckDB ({cause}): check AWS_ACCESS_KEY_ID and "
        'AWS_SECRET_ACCESS_KEY or AWS_PROFILE, or set lake.reader to "s3fs"'
    )


def secret_statement(place: Place, *, scope: str, secrets: dict[str, Literal]) -> str:
    """The statement that makes the secret: what is None is left out, and AWS's own defaults hold."""
    given = {**secrets, "region": place.region, **_endpoint(place), "scope": scope}
    settings = "".join(f", {name} {literal(value)}" for name, value in given.items() if value is not None)
    return f"create or replace secret {SECRET} (type s3{settings})"


def _endpoint(place: Place) -> dict[str, Literal]:
    if place.endpoint is None:
        return {}
    parts = urlsplit(place.endpoint)
    return {"endpoint": parts.netloc, "use_ssl": parts.scheme == "https", "url_style": "path"}


def script_beginning(place: Place, *, scope: str) -> str:
    """What a script for the DuckDB shell needs before it reads the bucket; it names no credentials."""
    secret = secret_statement(place, scope=scope, secrets={"provider": "credential_chain"})
    return (
        "-- `install` fetches the extensions, once. The credentials are those of the ordinary AWS settings\n"
        "-- (AWS_ACCESS_KEY_ID and so on, or AWS_PROFILE) of whoever opens this; it holds none itself.\n"
        "install httpfs; load httpfs; install aws; load aws;\n"
        f"{secret};\n"
    )
