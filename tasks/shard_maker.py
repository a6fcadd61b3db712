"""A worker that makes shards of an iteration one after another and loads the policy once."""

import os
import socket
from dataclasses import dataclass, field

from storage.errors import (
    ClosedIteration,
    ConflictingCommit,
    CorruptObject,
    FutureSchema,
    InvalidTable,
    MissingPolicy,
    ReadOnlyLake,
    UnsafeStore,
)
from storage.registry import PolicyVersion
from tasks import attempts, collect, threads
from tasks.attempts import Attempt
from tasks.build import Speaker
from tasks.collect import SpeakerOf, fresh_speaker
from tasks.config import Config, ConfigError
from tasks.context import Context
from tasks.shard_work import Cause, Ended

# What another try, or another machine, would meet again.
HOPELESS = (
    ConfigError, ClosedIteration, ConflictingCommit, CorruptObject, FutureSchema, InvalidTable, MissingPolicy,
    ReadOnlyLake, UnsafeStore,
)  # fmt: skip


@dataclass(slots=True)
class ShardMaker:
    """Makes shards as everybody does, under lease and manifest; an error is a counted answer."""

    config: Config
    iteration: int
    load: SpeakerOf = fresh_speaker
    _spoken: tuple[str, Speaker] | None = field(default=None)

    def where(self) -> str:
        """Which process of which machine this is; the answer says that it is ready."""
        threads.limit()
        return f"{socket.gethostname()}, process {os.getpid()}"

    def make(self, shard: int) -> Ended:
        """The shard is in the lake afterwards, or the answer says why not; never raises an error of the work.

        The error itself stays in the lake, with its traceback, as that of every attempt does.
        """
        context = Context(self.config, self.iteration)
        try:
            attempts.perform(
                Attempt(context, "collect", shard),
                lambda: collect.run_shard(context, shard, speaker_of=self._speaker),
            )
        except HOPELESS as problem:
            return Ended(shard, Cause.REFUSED, f"{type(problem).__name__}: {problem}", self.where())
        except Exception as problem:  # counted by the driver, which decides
            return Ended(shard, Cause.FAILED, f"{type(problem).__name__}: {problem}", self.where())
        return Ended(shard, None, "", self.where())

    def _speaker(self, context: Context, policy: PolicyVersion) -> Speaker:
        """The engine of this policy; one at a time is kept, as it fills a GPU."""
        if self._spoken is None or self._spoken[0] != policy.commit_digest:
            self._spoken = None
            self._spoken = (policy.commit_digest, self.load(context, policy))
        return self._spoken[1]
