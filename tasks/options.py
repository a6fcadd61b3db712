"""Command-line options become a configuration: the file, then the named options, then `--set`."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from storage.paths import repository_root
from tasks import config as configuration
from tasks.config import Algorithm, Config, ConfigError


@dataclass(frozen=True, slots=True)
class Options:
    """A configuration file and what overrides it, by dotted key."""

    config_path: Path
    overrides: Mapping[str, Any]  # Any: JSON values, checked when the configuration is loaded

    def load(self) -> Config:
        """The checked configuration."""
        return configuration.load(self.config_path, overrides=dict(self.overrides))

    def with_experiment(self, name: str) -> "Options":
        """The same options for another experiment of the lake."""
        return replace(self, overrides={**self.overrides, "experiment": name})

    def with_section(self, name: str, values: Mapping[str, Any]) -> "Options":  # Any: JSON values
        """The same options with one section's keys overridden."""
        return replace(
            self, overrides={**self.overrides, **{f"{name}.{key}": value for key, value in values.items()}}
        )


def options_of(
    config: Path,
    *,
    experiment: str | None = None,
    lake: str | None = None,
    seed: int | None = None,
    algorithm: Algorithm | None = None,
    advantage: str | None = None,
    settings: list[str] | None = None,
) -> Options:
    """Collect what was given; what was not given leaves the file's value."""
    named = {
        "experiment": experiment,
        "lake.root": lake,
        "seed": seed,
        "credit.algorithm": None if algorithm is None else algorithm.value,
        "credit.advantage": advantage,
    }
    given = {key: value for key, value in named.items() if value is not None}
    return Options(_found(config), {**given, **dict(map(_setting, settings or []))})


def _found(config: Path) -> Path:
    """The file as it was named, or where nothing lies there the one of the checkout with that name."""
    beside = repository_root() / config
    return beside if not config.exists() and beside.is_file() else config


def _setting(text: str) -> tuple[str, Any]:  # Any: a JSON value
    key, found, value = text.partition("=")
    if not found or not key:
        raise ConfigError(f"--set {text!r}: write KEY=VALUE, for example train.epochs=2")
    try:
        return key, json.loads(value)
    except json.JSONDecodeError:
        return key, value  # a bare word is a string
