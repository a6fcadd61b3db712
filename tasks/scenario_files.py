"""`domain.scenarios`: the user's own file of problems, articles or cases in the place of drawn scenarios."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from itpo_core.envs.catalogue import Domain
from itpo_core.envs.file_scenarios import FILE_KINDS, FileEnvironment
from itpo_core.envs.personas import PERSONAS
from itpo_core.types import Split
from storage.digests import file_sha256
from tasks.config import Config, ConfigError

NumberedRow = tuple[int, Mapping[str, object]]


def file_inputs(config: Config) -> dict[str, str]:
    """The file as an input of commits: its bytes, never where it lies; nothing where none is named."""
    return {} if config.domain.scenarios is None else {"scenarios": file_sha256(named_file(config))}


def file_domain(config: Config, *, max_turns: int) -> Domain:
    """The domain over the scenarios of the file: open language, without rules for users, truths and logs.

    Raises ConfigError that names file, row, key, value and remedy for a row that is none, and for a file with
    fewer scenarios than the configuration asks for at a time.
    """
    path, kind = named_file(config), FILE_KINDS[config.domain.name]
    try:
        scenarios = kind.read(numbered_rows(path))
    except ValueError as error:
        raise ConfigError(f"domain.scenarios {path}: {error}") from None
    environment = FileEnvironment(kind, scenarios, max_turns=max_turns)
    fault = shortage(config, {split: environment.count(split) for split in Split})
    if fault is not None:
        raise ConfigError(f"domain.scenarios {path}: {fault}")
    return Domain(
        environment=environment,
        oracle=None,
        logging_policy=None,
        vocabulary=(),
        personas=tuple(PERSONAS),
    )


def shortage(config: Config, counts: Mapping[Split, int]) -> str | None:
    """Which key asks for more scenarios than there are; None where there are enough. None is met twice in one
    iteration: a scenario that came again would count as two."""
    groups = config.collect.conversations // config.collect.group_size
    asked = (
        ("collect.conversations / collect.group_size", groups, Split.SEEN),
        ("evaluate.seen_scenarios", config.evaluate.seen_scenarios, Split.SEEN),
        ("evaluate.unseen_scenarios", config.evaluate.unseen_scenarios, Split.UNSEEN),
    )
    for key, count, split in asked:
        if count > counts[split]:
            return (
                f"{key} asks for {count} {split} scenarios and the file has {counts[split]}: ask for fewer, "
                "or bring a larger file (about a fifth of it is unseen)"
            )
    return None


def named_file(config: Config) -> Path:
    """The configured file. Raises ConfigError where it is not there."""
    path = Path(str(config.domain.scenarios))
    if not path.is_file():
        raise ConfigError(
            f"domain.scenarios {path}: no such file; give the path of a JSONL, JSON or Parquet file"
        )
    return path


def numbered_rows(path: Path) -> Iterator[NumberedRow]:
    """The rows of the file with their numbers (in JSONL the line). Raises ValueError for one that is damaged:
    scenarios are few and wanted, so that none is left out silently."""
    from storage.json_rows import BadRow
    from storage.log_files import read_rows

    for number, item in read_rows(path):
        if isinstance(item, BadRow):
            shown = f", {item.raw[:60]!r}" if item.raw else ""
            raise ValueError(f"row {number}: {item.reason}{shown}; mend the row or take it out")
        yield number, item
