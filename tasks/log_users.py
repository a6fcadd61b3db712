"""The domain of an experiment that is its log files: users with the goals of logged ones."""

from collections.abc import Sequence
from functools import partial

from itpo_core.envs.catalogue import Domain
from itpo_core.envs.logged import LoggedEnvironment, LoggedTalk
from itpo_core.envs.personas import PERSONAS
from itpo_core.types import Split
from storage import commits
from tasks.config import Config, ConfigError
from tasks.context import Context
from tasks.records import messages_from_json

MAX_TURNS = 8


def logged_domain(config: Config) -> Domain:
    """Its conversations are read from the lake when scenarios are asked for."""
    turns = config.domain.max_turns or MAX_TURNS
    return Domain(
        environment=LoggedEnvironment(partial(logged_talks, config), turns),
        oracle=None,
        logging_policy=None,
        vocabulary=(),
        personas=tuple(PERSONAS),
    )


def check_enough(config: Config) -> None:
    """Raises ConfigError where evaluation or rollouts ask for more users than the file has."""
    environment, wanted = LoggedEnvironment(partial(logged_talks, config), 1), config.evaluate
    groups = config.collect.conversations // config.collect.group_size
    asked = (
        (Split.UNSEEN, "evaluate.unseen_scenarios", wanted.unseen_scenarios),
        (Split.SEEN, "evaluate.seen_scenarios", wanted.seen_scenarios),
        (Split.SEEN, "collect.conversations by collect.group_size", groups),
    )
    for split, key, count in asked:
        there = environment.count(split)
        if count > there:
            raise ConfigError(
                f"{key} asks for {count} users, and {there} logged conversations of {split.value} tasks "
                "begin with one: ask for fewer, or bring more logs (curate.heldout_permille says how many "
                "tasks are unseen; who says word for word what somebody of a seen task says is not unseen)"
            )


def logged_talks(config: Config) -> Sequence[LoggedTalk]:
    """Every logged conversation that curation kept, in the order of ids. MissingCommit before curation."""
    context = Context(config, 0)
    curated = commits.read_table(context.store, context.read("curated"), table="curated").to_pylist()
    fold = {row["conversation_id"]: row["fold"] for row in curated if row["kept"]}
    rows = commits.read_table(context.store, context.read("rollouts"), table="conversations").to_pylist()
    return [
        LoggedTalk(row["scenario_id"], messages_from_json(row["messages_json"]), fold[name] != "train")
        for row in sorted(rows, key=lambda row: row["conversation_id"])
        if (name := row["conversation_id"]) in fold
    ]
