"""Import: log files, or scripted logs where none are named, become the committed rollouts of iteration 0."""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from itpo_core.logs.users import DEFAULT_USER_COLUMN
from storage import commits
from storage.digests import file_sha256
from tasks import build
from tasks.config import Config, ConfigError
from tasks.context import Context, Figures, StageResult, finished
from tasks.from_logs import is_bare
from tasks.import_counts import ImportCounts, listed
from tasks.log_columns import check_outcome_column, doubts
from tasks.log_detection import Found, formats_of, summary
from tasks.log_intake import SpooledLogs, source_names, spool_files
from tasks.log_privacy import privacy_of
from tasks.logged_rows import Place
from tasks.scenario_files import file_inputs
from tasks.scripted_logs import write_scripted_logs

if TYPE_CHECKING:
    from storage.spool import Spool

# What decides which personal data are found; without a look for them, nothing does.
SEARCHED = ("personal_data", "phone_regions", "ip_addresses")


def run(context: Context) -> StageResult:
    """Import the configured files, or scripted logs when none are named, as iteration 0."""
    paths = [Path(path) for path in context.config.logs.paths]
    found = formats_of(context.config.logs.format, _files(paths))
    inputs = import_inputs(context.config, paths, found=found)
    # What was joined to it since is beside it: see tasks.late_outcomes.
    key = context.first_key("rollouts")
    existing = commits.find(context.store, key)
    if existing is not None:
        commits.check_inputs(existing, parents={}, inputs=inputs)
        return finished("import", existing, resumed=True)
    scratch = context.work_folder("import")
    scratch.mkdir(parents=True, exist_ok=True)
    # A folder of its own for each attempt: two of them may run at the same time.
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        logs = spool_files(
            paths or [_scripted(context)],
            Path(folder),
            log_format=[each.format for each in found] or "openai",  # as the scripted logs are written
            outcome_column=context.config.logs.outcome_column,
            user_column=context.config.logs.user_column,
            privacy=privacy_of(context.config.logs),
            place=Place(context.experiment, context.iteration),
            domain=None if is_bare(context.config) else build.domain(context.config),
            workers=None if context.config.logs.workers == "auto" else context.config.logs.workers,
        )
        check_outcome_column(context.config, logs.counts, paths=paths, found=found)
        commit = commits.commit(
            context.store,
            key,
            tables=_committed(logs, named=bool(paths)),
            parents={},
            inputs=inputs,
            attempt=context.attempt,
        )
    said = {
        **({"format": summary(found)} if found else {}),
        **doubts(logs.counts),
        **_misnamed(context, commit),
    }
    return finished("import", commit, resumed=False, figures={**figures(logs.counts), **said})


def _committed(logs: SpooledLogs, *, named: bool) -> "dict[str, Spool]":
    """The tables of the commit. Ids of the log where there are some, and not of scripted ones: their commits
    stay what they always were."""
    with_ids = named and logs.tables["logged_ids"].rows > 0
    return {name: spool for name, spool in logs.tables.items() if name != "logged_ids" or with_ids}


def import_inputs(
    config: Config, paths: Sequence[Path], *, found: Sequence[Found] | None = None
) -> dict[str, str]:
    """Everything that decides the rows: the files by content, never by where they lie.

    A format that was found counts as if it had been named, so that either way the import is the same.
    """
    if not paths:
        return {**config.section("logs", "domain"), "seed": str(config.seed)}
    formats = [each.format for each in found or formats_of(config.logs.format, paths)]
    hashes = {name: file_sha256(path) for path, name in zip(paths, source_names(paths), strict=True)}
    logs = config.logs.committed()
    return {
        **config.section("domain"),
        **file_inputs(config),
        "format": formats[0] if len(set(formats)) == 1 else json.dumps(formats),
        "outcome_column": config.logs.outcome_column,
        # Later keys: at their defaults they are no inputs, so that imports from before them are gone on with.
        **({"user_column": config.logs.user_column} if "user_column" in logs else {}),
        **({name: json.dumps(logs[name]) for name in SEARCHED if name in logs} if _looks(config) else {}),
        "files": json.dumps(hashes, sort_keys=True),
    }


def _looks(config: Config) -> bool:
    return config.logs.personal_data != "keep"


def figures(counts: ImportCounts) -> Figures:
    """The summary line of an import."""
    numbers = ("read", "accepted", "quarantined", "duplicate", "conversations", "turns")
    values = (
        counts.read,
        counts.accepted,
        counts.quarantined,
        counts.duplicate,
        counts.conversations,
        counts.turns,
    )
    texts = {
        "because": counts.reasons,
        "unscored": counts.unscored,
        "noted": counts.notes,
        "personal_data": counts.personal,
    }
    said = {name: f"({listed(counted)})" for name, counted in texts.items() if counted}
    return {**dict(zip(numbers, values, strict=True)), **said}


def _misnamed(context: Context, commit: commits.Commit) -> dict[str, str]:
    """A user column that was asked for and in which nobody is named, most likely misspelt."""
    column = context.config.logs.user_column
    if column == DEFAULT_USER_COLUMN or _has_users(context, commit):
        return {}
    said = f"no conversation names its user in {column!r}"
    return {"user_column": f"({said}: import under another name with one that is there)"}


def _has_users(context: Context, commit: commits.Commit) -> bool:
    from storage.forget_search import read_columns

    files = [entry for entry in commit.files if entry.table == "conversations"]
    found = (read_columns(context.store, entry, columns=["user_id"]) for entry in files)
    return any(table["user_id"].null_count < table.num_rows for table in found if table is not None)


def _scripted(context: Context) -> Path:
    """The scripted logs of the domain, as the ordinary log file that they would be."""
    logs = context.config.logs
    return write_scripted_logs(
        context.work_folder("logs"),
        build.domain(context.config),
        conversations=logs.scripted_conversations,
        requests=logs.scripted_requests,
        seed=context.config.seed,
    )


def _files(paths: Sequence[Path]) -> Sequence[Path]:
    for path in paths:
        if not path.is_file():
            what = "a folder, no log file" if path.is_dir() else "no such log file"
            raise ConfigError(f"{path}: {what}; give the path of a JSONL, JSON or Parquet file")
    return paths
