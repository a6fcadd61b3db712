"""Outcomes that came after their conversations, joined by key: a new revision of the rollouts, in one commit.

Nothing that is committed changes: `rollouts` stays as it was imported, `rollouts-0001` is the same
conversations with what was told since, and what is curated from then on is curated from that.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from storage import commits, registry, revisions
from storage.commits import Commit, CommitKey
from storage.digests import file_sha256
from storage.errors import ClosedIteration, ConflictingCommit
from tasks.config import ConfigError, Outcomes
from tasks.context import Context, Figures, StageResult, finished
from tasks.import_counts import listed
from tasks.import_logs import SEARCHED
from tasks.label_intake import Joined, Joining
from tasks.label_rows import known_conversations
from tasks.log_privacy import Privacy, privacy_of
from tasks.records import Row

if TYPE_CHECKING:
    from storage.rows import Table

REMEDIES = {
    "missing_key": "--key-column names where a row holds its key",
    "missing_outcome": "--outcome-column names where a row holds its outcome",
    "bad_outcome": "an outcome is a number from 0 to 1, true or false",
}
ANOTHER_KEY = "--key names what the files hold: id, conversation_id, or a fact such as metadata.order_id"
ELSEWHERE = "import them under another experiment name, with outcomes.paths, to learn from these outcomes"
STAGE, INPUT = "outcomes", "outcomes"  # of the commits: everything that was joined, in order
TABLES = ("conversations", "turns", "quarantine", "logged_ids")
KNOWN = ("conversation_id", "n_turns", "outcome", "outcome_reason", "latent_json")
LEARNERS = ("policy", "reward", "q", "credit", "evaluation")
Files = Mapping[Path, tuple[str, str]]  # each with its name and hash
Told = Mapping[str, object]  # one joining: its files by hash, and how they were read


class NothingJoined(ConfigError):
    """Not one row met a conversation; nothing is committed."""


class AlreadyLearnt(ConfigError):
    """Something was learnt from the logs as they were; nothing is committed."""


@dataclass(frozen=True, slots=True)
class Logs:
    """Imported logs: the commit of the import, and the newest revision, which may be the same."""

    first: Commit
    newest: Commit

    @property
    def following(self) -> CommitKey:
        """The key of the next revision."""
        return revisions.revised(self.newest.key, revisions.revision(self.newest.key) + 1)

    @property
    def parents(self) -> dict[str, str]:
        """Those of the next revision."""
        before = {} if self.newest.key == self.first.key else {"joined": self.newest.digest}
        return {"rollouts": self.first.digest, **before}


@dataclass(frozen=True, slots=True)
class Reading:
    """Files of outcomes that were read, before anything is committed.

    `tables` are those of the import, with the outcomes and the quarantine of the newest revision; `changes`
    the columns of conversations that are others than in the import. `adds` says whether a row tells something
    that was not known: of nobody, of a conversation, or of how to settle what contradicts.
    """

    tables: "Mapping[str, Table]"
    joined: Joined
    changes: Mapping[str, Row]
    adds: bool


def run(context: Context) -> StageResult:
    """Join the configured files; those that were joined before change nothing, nor do rows that say of the
    same conversations what was said before.

    Raises NothingJoined, AlreadyLearnt, ConfigError for what is not there, LogFileError for an unknown kind.
    """
    files = _files(context.config.outcomes)
    while True:
        logs = _logs(context)
        new = {path: file for path, file in files.items() if not _was_joined(context, logs, file=file)}
        if not new:
            return finished(STAGE, logs.newest, resumed=True)
        try:
            result = revise(context, logs, new=new)
        except ClosedIteration as closed:
            raise AlreadyLearnt(
                f"{logs.following.text} is closed: a policy or a reward model is learning from the logs of "
                f"{context.experiment} as they are: {ELSEWHERE}"
            ) from closed
        if result is not None:
            return result


def revise(context: Context, logs: Logs, *, new: Files) -> StageResult | None:
    """Commit the next revision; None where another joining was first and this one has to go on from it.

    The newest is handed back where the files add nothing to it.
    """
    read = _read(context, logs, new=new)
    if not read.adds:
        told = commits.read_table(context.store, logs.newest, table="conversations")
        return finished(STAGE, logs.newest, resumed=True, figures=figures(read.joined, told))
    check_untaught(context)
    # Where somebody wrote the next one and was killed, that one comes first.
    if revisions.finish(context.store, logs.newest.key):
        return None
    tables = _tables(logs, read)
    told = {**_how(context), "files": dict(new.values())}
    inputs = {**logs.first.inputs, INPUT: json.dumps([*history(logs.newest), told], sort_keys=True)}
    try:
        commit = commits.commit(
            context.store,
            logs.following,
            tables=tables,
            parents=logs.parents,
            inputs=inputs,
            attempt=context.attempt,
        )
    except ConflictingCommit:
        is_first = context.key("rollouts", 0) == logs.newest.key
        if is_first and not revisions.finish(context.store, logs.newest.key):
            raise
        return None
    return finished(STAGE, commit, resumed=False, figures=figures(read.joined, tables["conversations"]))


def after_import(context: Context, imported: StageResult) -> StageResult:
    """The same as the end of an import whose configuration names outcomes."""
    joined = run(context)
    told = {f"outcomes_{name}": value for name, value in joined.figures.items()}
    return replace(
        joined,
        stage=imported.stage,
        resumed=imported.resumed and joined.resumed,
        figures={**imported.figures, **told},
    )


def check_untaught(context: Context) -> None:
    """Raise AlreadyLearnt where a policy, reward model or decision was made of the logs as they are."""
    made = [found.key.text for kind in LEARNERS if (found := context.find(kind, 0)) is not None]
    events = registry.events(context.store, context.experiment)
    made += [event.event_id for event in events if event.event_id == "decide/0000"]
    if made:
        raise AlreadyLearnt(
            f"{', '.join(made)} of {context.experiment} came of its logs as they were, and stays so: "
            f"{ELSEWHERE}"
        )


def _files(settings: Outcomes) -> Files:
    """The files, each with its name and hash; of equal ones the first."""
    from tasks.log_intake import source_names

    paths = [Path(path) for path in settings.paths]
    absent = next((path for path in paths if not path.is_file()), None)
    if absent is not None or not paths:
        raise ConfigError(f"{absent or 'outcomes.paths'}: no such outcomes file; give JSONL, CSV or Parquet")
    found: dict[str, tuple[Path, str]] = {}
    for path, name in zip(paths, source_names(paths), strict=True):
        found.setdefault(file_sha256(path), (path, name))
    return {path: (name, sha256) for sha256, (path, name) in found.items()}


def _logs(context: Context) -> Logs:
    first = commits.find(context.store, context.first_key("rollouts", 0))
    if first is None:
        raise ConfigError(
            f"{context.experiment} has no imported logs to join outcomes to: run `itpo import` before"
        )
    return Logs(first, commits.read(context.store, context.key("rollouts", 0)))


def _was_joined(context: Context, logs: Logs, *, file: tuple[str, str]) -> bool:
    how = _how(context)
    same = [each for each in history(logs.newest) if {name: each[name] for name in how} == how]
    return any(file[1] in _hashes(each).values() for each in same)


def history(commit: Commit) -> list[dict[str, object]]:
    """Everything that was joined to the logs up to this revision, in order."""
    return json.loads(commit.inputs.get(INPUT, "[]"))


def _hashes(told: Told) -> Mapping[str, str]:
    files = told["files"]
    return files if isinstance(files, dict) else {}


def _how(context: Context) -> dict[str, object]:
    """How rows are read."""
    how = context.config.outcomes.committed()
    return {name: value for name, value in how.items() if name != "paths"}


def _read(context: Context, logs: Logs, *, new: Files) -> Reading:
    store = context.store
    first = {name: commits.read_table(store, logs.first, table=name) for name in _held(logs.first)}
    known = {name: commits.read_table(store, logs.newest, table=name) for name in ("outcomes", "quarantine")}
    joining = _joining(context, logs, tables={**first, "outcomes": known["outcomes"]})
    before = joining.changes()
    joined = joining.read({path: name for path, (name, _) in new.items()})
    if not joined.told:
        raise NothingJoined(_nothing(context, joined))
    changes = joining.changes()
    adds = (
        changes != before
        or joined.counts["duplicate"] < len(joined.told)
        or (context.config.outcomes.newest_wins and not _newest_wins(logs.newest))
        or not {row["raw"] for row in joined.refused} <= set(known["quarantine"]["raw"].to_pylist())
    )
    return Reading({**first, **known}, joined, changes, adds)


def _tables(logs: Logs, read: Reading) -> "dict[str, Table]":
    from storage.rows import concat, to_table, with_changes

    number = revisions.revision(logs.following)
    place = {"experiment": logs.first.key.experiment, "iteration": 0, "shard": 0, "joined": number}
    rows = [{**place, **row} for row in read.joined.told]
    tables = read.tables
    return {
        **tables,
        "conversations": with_changes("conversations", tables["conversations"], changes=read.changes),
        "quarantine": concat([tables["quarantine"], to_table("quarantine", read.joined.refused)]),
        "outcomes": concat([tables["outcomes"], to_table("outcomes", rows)]),
    }


def _joining(context: Context, logs: Logs, *, tables: "Mapping[str, Table]") -> Joining:
    settings = context.config.outcomes
    known = known_conversations(
        tables["conversations"].select(KNOWN).to_pylist(),
        logged_ids=tables["logged_ids"].to_pylist() if "logged_ids" in tables else [],
        told=tables["outcomes"].to_pylist(),
        key=settings.key,
    )
    # Once the newest was asked for it stays so: nobody's outcome is lost by leaving the flag out later.
    newest_wins = settings.newest_wins or _newest_wins(logs.newest)
    return Joining(known, settings, privacy=_privacy(context, logs.first), newest_wins=newest_wins)


def _newest_wins(commit: Commit) -> bool:
    return any(bool(each["newest_wins"]) for each in history(commit))


def _held(commit: Commit) -> list[str]:
    return [name for name in TABLES if any(entry.table == name for entry in commit.files)]


def _privacy(context: Context, first: Commit) -> Privacy:
    """The policy of the import where that looked for personal data, whatever is configured by now."""
    committed = {name: json.loads(first.inputs[name]) for name in SEARCHED if name in first.inputs}
    return privacy_of(context.config.logs.model_copy(update=committed))


def figures(joined: Joined, conversations: "Table") -> Figures:
    """The summary line: accepted + duplicate + contradicting + unmatched + refused = read."""
    counts = joined.counts
    names = ("accepted", "duplicate", "contradicting", "unmatched", "refused")
    outcomes = conversations.column("outcome")
    said: dict[str, float | int | str] = {
        "read": sum(counts[name] for name in names),
        **{name: counts[name] for name in names},
        "of_turns": counts["of_turns"],
        "scored": len(outcomes) - outcomes.null_count,
        "unscored": outcomes.null_count,
    }
    return {**said, "because": f"({listed(joined.reasons)})"} if joined.reasons else said


def _nothing(context: Context, joined: Joined) -> str:
    settings = context.config.outcomes
    commonest = next((reason for reason, _ in joined.reasons.most_common(1)), "")
    return (
        f"no row of {', '.join(settings.paths)} met a conversation of {context.experiment} by its "
        f"{settings.key!r} in {settings.key_column!r} ({listed(joined.reasons) or 'no rows'}); nothing is "
        f"committed; {REMEDIES.get(commonest, ANOTHER_KEY)}"
    )
