"""What can go wrong in the lake, one class per failure that a caller treats differently.

Every message names the offending value and what to do about it.
"""


class StorageError(Exception):
    """Any failure of the lake; the message is written for a person."""


class BadKey(StorageError, ValueError):
    """An object key that is absolute, empty, hidden, or leaves the lake."""


class ObjectMissing(StorageError):
    """No object lies under this key."""


class StoreUnavailable(StorageError):
    """The address of the lake names a store that cannot be used here."""


class BadCredentials(StoreUnavailable):
    """The store does not know who asks: credentials are absent, expired or wrong."""


class StoreTimeout(StorageError):
    """The store did not answer as it should until the deadline; what was written is found by a later run."""


class UnsafeStore(StorageError):
    """The store lets two writers both win: nothing may rely on its conditional writes."""


class StorageFull(StorageError):
    """The disk or quota is exhausted; nothing of the object was left behind."""


class ReadOnlyLake(StorageError):
    """The lake may not be written by this user."""


class InvalidTable(StorageError, ValueError):
    """Rows that break the schema or a rule of their dataset."""


class ConflictingCommit(StorageError):
    """The key is committed already, from other inputs."""


class ClosedIteration(StorageError):
    """The iteration was decided: what it does not hold by then is never added."""


class SupersededLogs(StorageError):
    """Outcomes were joined to logs while something was learnt from them as they were."""


class MissingExperiment(StorageError):
    """The lake, or an experiment in it, that somebody asks about is not there."""


class MissingCommit(StorageError):
    """A stage wants a commit that no stage has written yet."""


class MissingShard(StorageError):
    """An iteration cannot be sealed: some of its shards were never published."""


class CorruptObject(StorageError):
    """Stored bytes differ from what their manifest promised, or cannot be decoded."""


class FutureSchema(StorageError):
    """The object was written by a newer version of this program."""


class RefusedFile(StorageError, ValueError):
    """A file that the lake does not take, such as pickled weights."""


class MissingPolicy(StorageError):
    """The experiment has no current policy, or not the version that was named."""


class MissingConversation(StorageError):
    """The experiment holds no conversation with this id, or several whose ids start so."""


class LeaseLost(StorageError):
    """Somebody else took over a lease that was not renewed in time."""


class ConflictingEvent(StorageError):
    """A registry event id was used before for something else."""


class SqlError(StorageError, ValueError):
    """A file of /sql that is missing, holds more than one statement, or got the wrong parameters."""


class CheckFailed(StorageError):
    """A file of sql/checks returned rows."""
