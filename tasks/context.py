"""What every stage is given: the configuration, its iteration and the lake; and what it gives back."""

import os
import subprocess
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from storage import commits, registry, revisions, stores, weights
from storage.commits import Commit, CommitKey
from storage.duck import DuckSettings
from storage.errors import MissingPolicy
from storage.objects import LakeStore
from storage.paths import repository_root
from tasks.config import Config
from tasks.scratch import Scratch, open_scratch

# The input of a commit whose policy is an adapter: the version whose weights it is added to.
BASE_VERSION = "base_version"
Figures = Mapping[str, float | int | str]


@dataclass(frozen=True, slots=True)
class StageResult:
    """One committed output: commit key, data digest, whether it was there already, and a few figures."""

    stage: str
    commit: str
    digest: str
    resumed: bool
    figures: Figures = field(default_factory=dict)


@dataclass(frozen=True)
class Context:
    """One iteration of one experiment. `attempt` names this try in side facts, never in data."""

    config: Config
    iteration: int
    attempt: str = field(default_factory=lambda: uuid.uuid4().hex)

    @cached_property
    def store(self) -> LakeStore:
        """The lake of the configuration."""
        return open_lake_store(self.config)

    @cached_property
    def _scratch(self) -> Scratch:
        place = work_root() / self.experiment / f"iteration={self.iteration:04d}"
        return open_scratch(place, self.attempt)

    @property
    def duck(self) -> DuckSettings:
        """What DuckDB may use."""
        return duck_settings(self.config)

    @property
    def experiment(self) -> str:
        """The experiment's name, also its folder in the lake."""
        return self.config.experiment

    def key(self, kind: str, iteration: int | None = None) -> CommitKey:
        """The commit of this kind at this (or the given) iteration; of logs with outcomes that were joined
        later the newest revision."""
        first = self.first_key(kind, iteration)
        is_revised = first.iteration == 0 and kind in revisions.REVISED
        return revisions.newest_key(self.store, first) if is_revised else first

    def first_key(self, kind: str, iteration: int | None = None) -> CommitKey:
        """The same as it was before any outcome was joined."""
        return CommitKey(self.experiment, kind, self.iteration if iteration is None else iteration)

    def find(self, kind: str, iteration: int | None = None) -> Commit | None:
        """That commit, or None when it has not been sealed."""
        return commits.find(self.store, self.key(kind, iteration))

    def read(self, kind: str, iteration: int | None = None) -> Commit:
        """That commit; MissingCommit says which stage to run."""
        return commits.read(self.store, self.key(kind, iteration))

    def work_folder(self, *parts: str) -> Path:
        """A scratch folder of this attempt on local disk; all in it can be made again from the lake.

        Two attempts at once on one machine have two. What attempts left that were killed is removed.
        """
        return self._scratch.folder / Path(*parts)

    def policy_folder(self, version: registry.PolicyVersion) -> Path:
        """The weights of a registered version as a local folder that `from_pretrained` reads."""
        return self.artifact_folder(self.read("policy", version.iteration))

    def artifact_folder(self, commit: Commit) -> Path:
        """A commit's artifacts as a local folder, verified; named by digest, so it is fetched once.

        An adapter's folder is linked to that of the version that it belongs to.
        """
        folder = weights.get_folder(
            self.store, commit.artifacts, destination=work_root() / "weights" / commit.digest[:32]
        )
        if BASE_VERSION in commit.inputs:
            self._link_base(folder, commit.inputs[BASE_VERSION])
        return folder

    def _link_base(self, folder: Path, name: str) -> None:
        from itpo_core.adapter_files import link_base

        by_name = {version.name: version for version in registry.versions(self.store, self.experiment)}
        if name not in by_name:
            raise MissingPolicy(f"{folder} is an adapter of {name}, which is not registered in this lake")
        link_base(folder, self.policy_folder(by_name[name]))


def work_root() -> Path:
    """Scratch of this machine: all in it can be made again from the lake."""
    return Path(os.environ.get("ITPO_WORK", repository_root() / ".work"))


def open_lake_store(config: Config) -> LakeStore:
    """The lake of the configuration; relative paths start at the checkout."""
    return stores.open_store(
        lake_address(config), commit_mode=config.lake.commit_mode, cache=work_root() / "cache"
    )


def duck_settings(config: Config) -> DuckSettings:
    """What DuckDB may use in every stage and for every question of a person."""
    lake = config.lake
    return DuckSettings(
        threads=lake.threads,
        memory_limit=lake.memory_limit,
        spill=None if lake.spill is None else Path(lake.spill),
        max_spill=lake.max_spill,
        reader=lake.reader,
    )


def lake_address(config: Config) -> str:
    """Where the lake is, as another process can open it."""
    root = config.lake.root
    return root if "://" in root else str(repository_root() / root)


def finished(stage: str, commit: Commit, *, resumed: bool, figures: Figures | None = None) -> StageResult:
    """The result of a stage whose output is this commit."""
    return StageResult(stage, commit.key.text, commit.digest, resumed, figures or {})


def code_revision() -> str:
    """The checkout's commit id, `-dirty` behind it when files of it were changed, `unknown` outside one.

    A side fact, never part of data.
    """
    try:
        answer = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            cwd=repository_root(),
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return answer.stdout.strip()
