"""Whether a store keeps its word on conditional writes, found out by racing writers against it.

A server that ignores the conditions answers "written" to everybody: two runs would then both believe that
they own a shard. The race is run once per lake; its passing is noted in the lake, and each process only asks
whether creating that note again is refused.
"""

import functools
import logging
import time
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from types import MappingProxyType
from typing import Literal, Protocol

from storage.errors import ObjectMissing, UnsafeStore
from storage.manifests import encode_object
from storage.objects import LakeStore

PROBES = "_probe/"
PASSED = f"{PROBES}conditional-writes-1.json"
WRITERS = 4
ROUNDS = 4

CommitMode = Literal["conditional", "single_writer"]


class ProbedStore(LakeStore, Protocol):
    """A store that can be named in a message and told from others."""

    def __hash__(self) -> int: ...

    @property
    def address(self) -> str:
        """Where it is, without credentials."""
        ...


Guard = Callable[[ProbedStore], None]


def no_guard(store: ProbedStore) -> None:
    """Writes need no permission: for the probe's own writes, and stores that were looked at otherwise."""


def require_conditional_writes(store: ProbedStore) -> None:
    """UnsafeStore unless conditional writes are honoured; asks the store once per process."""
    _find_honoured(store)


def warn_of_single_writer(store: ProbedStore) -> None:
    """Say loudly, once per process and store, that nothing stops a second writer."""
    _warn(store)


@functools.cache
def _find_honoured(store: ProbedStore) -> None:
    try:
        store.get(PASSED)
    except ObjectMissing:
        race(store)
        store.create(PASSED, _verdict())
    if store.create(PASSED, _verdict()):
        raise _unsafe(store, f"it let {PASSED!r} be created twice")


@functools.cache
def _warn(store: ProbedStore) -> None:
    logging.getLogger(__name__).warning(
        "SINGLE-WRITER MODE: %s is written without conditional writes, as lake.commit_mode says. Exactly one "
        "process at a time may write to it: no schedule beside a command line, no second experiment. Two "
        "writers WILL overwrite each other.",
        store.address,
    )


GUARDS: Mapping[CommitMode, Guard] = MappingProxyType(
    {"conditional": require_conditional_writes, "single_writer": warn_of_single_writer}
)


def race(store: ProbedStore) -> None:
    """UnsafeStore unless the conditions are honoured, alone and by racing writers; leaves nothing behind."""
    keys = [f"{PROBES}race-{uuid.uuid4().hex}" for _ in range(ROUNDS)]
    try:
        for key in keys:
            _one_winner(store, "creations", lambda body, key=key: store.create(key, body))
            _refuses_what_is_stale(store, key)
            tag = store.get_tagged(key).tag
            _one_winner(
                store, "replacements", lambda body, key=key, tag=tag: store.replace(key, body, tag=tag)
            )
    finally:
        for key in keys:
            store.delete(key)


def _refuses_what_is_stale(store: ProbedStore, key: str) -> None:
    if store.create(key, _body()):
        raise _unsafe(store, f"it let {key!r} be created twice (If-None-Match is ignored)")
    if store.replace(key, _body(), tag='"00000000000000000000000000000000"'):
        raise _unsafe(store, f"it replaced {key!r} under a wrong tag (If-Match is ignored)")


def _one_winner(store: ProbedStore, what: str, write: Callable[[bytes], bool]) -> None:
    bodies = [_body() for _ in range(WRITERS)]
    with ThreadPoolExecutor(WRITERS) as pool:
        winners = list(pool.map(write, bodies)).count(True)
    if winners != 1:
        raise _unsafe(store, f"of {WRITERS} racing {what} of one key {winners} succeeded")


def _body() -> bytes:
    # Never twice the same: equal bytes have equal tags, and two writers of them would both rightly win.
    return uuid.uuid4().bytes


def _verdict() -> bytes:
    passed = {"conditional_writes": "honoured", "rounds": ROUNDS, "writers": WRITERS, "passed_s": time.time()}
    return encode_object(passed)  # under a checksum, as every object of the lake


def _unsafe(store: ProbedStore, did: str) -> UnsafeStore:
    return UnsafeStore(
        f"the store at {store.address} is refused: {did}, so two writers could both believe that they own "
        "one result. Use a server that honours conditional writes (docs/s3.md), or set lake.commit_mode = "
        '"single_writer" and see to it that only one process at a time writes'
    )
