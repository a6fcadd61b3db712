"""Asking a reward service, from a process that may have nothing but the standard library."""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Any

from itpo_core.rewards.answers import RewardRefusedError, rewards_of


class RewardServiceError(RuntimeError):
    """The service could not be reached or did not answer in time; the message names its address."""


def ask(url: str, queries: Sequence[str], *, prompts: Sequence[str], deadline_s: float) -> list[float]:
    """One reward per query. Raises RewardServiceError, and RewardRefusedError with the service's cause."""
    asked = {"query": list(queries), "prompts": list(prompts)}
    return _asked(url, asked, count=len(queries), deadline_s=deadline_s)


def ask_tokens(
    url: str, histories: Sequence[Sequence[int]], *, replies: Sequence[Sequence[int]], deadline_s: float
) -> list[float]:
    """`ask` for replies as token ids, each to its history."""
    asked = {"histories": [list(row) for row in histories], "replies": [list(row) for row in replies]}
    return _asked(url, asked, count=len(replies), deadline_s=deadline_s)


def health(url: str, *, deadline_s: float = 5.0) -> Mapping[str, Any]:  # Any: JSON
    """What the service at this reward address says of itself. Raises RewardServiceError."""
    address = f"{url.rsplit('/', maxsplit=1)[0]}/health"
    found = _read(urllib.request.Request(address), deadline_s=deadline_s)
    if not isinstance(found, dict) or "version" not in found:
        raise RewardServiceError(
            f"{address} answered {str(found)[:200]!r}: that is no reward service of ours"
        )
    return found


def wait_until_healthy(url: str, version: str, *, deadline_s: float) -> Mapping[str, Any]:  # Any: JSON
    """The health of a service that serves this version. Raises RewardServiceError when none does in time."""
    until = time.monotonic() + deadline_s
    while True:
        try:
            found = health(url)
        except RewardServiceError:
            if time.monotonic() >= until:
                raise
            time.sleep(0.2)
            continue
        if found["version"] != version:
            raise RewardServiceError(f"{url} serves {found['version']!r}, not {version!r}: start it anew")
        return found


def _asked(url: str, asked: Mapping[str, object], *, count: int, deadline_s: float) -> list[float]:
    body = json.dumps(asked).encode()
    request = urllib.request.Request(url, data=body, headers={"Content-Type": "application/json"})
    return rewards_of(_read(request, deadline_s=deadline_s), count=count)


def _read(request: urllib.request.Request, *, deadline_s: float) -> object:
    try:
        with urllib.request.urlopen(request, timeout=deadline_s) as response:
            return json.loads(response.read())
    except urllib.error.HTTPError as error:
        cause = error.read().decode(errors="replace")[:300]
        raise RewardRefusedError(f"{request.full_url} answered {error.code}: {cause}") from None
    except (OSError, json.JSONDecodeError) as error:
        raise RewardServiceError(
            f"{request.full_url} did not answer within {deadline_s} s ({error}): see whether it runs"
        ) from None
