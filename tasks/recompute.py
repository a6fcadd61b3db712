"""Recompute: conversations that our own version held elsewhere become the rollouts of an iteration.

An import keeps what the log says of its speaker; here that is held against the version itself. What a policy
step may weigh comes out as `exact` or `recomputed`; the rest stays as logged, is counted under one reason,
and is left out by curation.
"""

from itertools import groupby
from typing import TYPE_CHECKING

from itpo_core.propensity import UnknownPropensityError
from storage import commits
from storage.commits import Commit
from storage.registry import PolicyVersion
from storage.rows import Table, to_table
from storage.warehouse import run_checks
from tasks.collect import row_counts, sealed_policy
from tasks.config import ConfigError
from tasks.context import Context, Figures, StageResult, finished

if TYPE_CHECKING:
    from itpo_core.logged_draws import Version

IMPORTED = "imported"  # the parent by which such rollouts are known


class NothingToWeigh(UnknownPropensityError, ConfigError):
    """Not one imported conversation can be weighed by a step of the current version; nothing is committed."""


def is_asked(context: Context) -> bool:
    """Whether this iteration's rollouts are, or are to be, an import: nobody has to talk for them."""
    existing = None if context.iteration == 0 else context.find("rollouts")
    if existing is not None:
        return IMPORTED in existing.parents
    return context.config.collect.imported is not None


def run(context: Context) -> StageResult:
    """Commit the imported conversations as the iteration's rollouts, in the place of collected ones.

    Raises ConfigError without an import, and UnknownPropensityError when no conversation can be weighed.
    """
    existing = context.find("rollouts")
    _check_place(context, existing)
    if existing is not None and context.config.collect.imported is None:
        return finished("collect", existing, resumed=True)
    policy = sealed_policy(context, existing)
    source = source_commit(context)
    parents = {IMPORTED: source.digest, "policy": context.read("policy", policy.iteration).digest}
    inputs = recompute_inputs(context, policy)
    if existing is not None:
        commits.check_inputs(existing, parents=parents, inputs=inputs, store=context.store)
        return finished("collect", existing, resumed=True)
    tables, said = rollout_tables(context, source, policy=policy)
    commit = commits.commit(
        context.store,
        context.key("rollouts"),
        tables=tables,
        parents=parents,
        inputs=inputs,
        attempt=context.attempt,
    )
    return finished("collect", commit, resumed=False, figures={**row_counts(commit.files), **said})


def source_commit(context: Context) -> Commit:
    """The import that the configuration names, with the outcomes that were joined to it since."""
    name = context.config.collect.imported
    if name is None:
        raise ConfigError("collect.imported names no experiment: say whose imported conversations are meant")
    there = Context(context.config.model_copy(update={"experiment": name}), 0)
    return there.read("rollouts")


def recompute_inputs(context: Context, policy: PolicyVersion) -> dict[str, str]:
    """Everything besides the parents that decides the rows."""
    from itpo_core.logged_draws import LARGEST_GAP

    return {
        **context.config.section("sampling"),
        "largest_gap": str(LARGEST_GAP),
        "policy_version": policy.name,
        "policy_digest": policy.commit_digest,
    }


def rollout_tables(
    context: Context, source: Commit, *, policy: PolicyVersion
) -> tuple[dict[str, Table], Figures]:
    """Both tables after the lake's checks, and how many conversations came out how."""
    from tasks.settled_talks import figures, name_of, settled, settled_talk, settled_turn

    talks = commits.read_table(context.store, source, table="conversations").to_pylist()
    rows = commits.read_table(context.store, source, table="turns").to_pylist()
    version = version_of(context, policy)
    turns = {name: list(each) for name, each in groupby(rows, key=name_of)}
    found = settled({name_of(row): row for row in talks}, turns, version=version, name=policy.name)
    said = figures(found)
    if said["unknown"] == len(found):
        raise NothingToWeigh(
            f"none of {len(found)} conversations of {source.key.text} can be weighed {said['because']}: "
            f"a log has to name {policy.name}, the current version, as its policy_version, with temperature "
            "and top_p (docs/propensity.md); without them use it where nothing is weighed, as iteration 0"
        )
    digests = {
        "tokenizer_digest": version.chat.tokenizer_digest,
        "chat_template_digest": version.chat.template_digest,
    }
    place = {"experiment": context.experiment, "iteration": context.iteration, "shard": 0}
    spoken = [
        {**settled_turn(row, found[name_of(row)], name=policy.name, digests=digests), **place} for row in rows
    ]
    held = [{**settled_talk(row, found[name_of(row)], name=policy.name), **place} for row in talks]
    tables = {"conversations": to_table("conversations", held), "turns": to_table("turns", spoken)}
    run_checks(tables, settings=context.duck)
    return tables, said


def version_of(context: Context, policy: PolicyVersion) -> "Version":
    """The policy with its weights."""
    from itpo_core.logged_draws import Version
    from itpo_core.tiny_policy import load_policy, suppressed_ids
    from itpo_core.tokens import ChatFormat

    model, tokenizer = load_policy(context.policy_folder(policy))
    chat = ChatFormat.from_tokenizer(tokenizer, suppressed_ids(model))
    return Version(model, chat, context.config.sampling.max_new_tokens)


def _check_place(context: Context, existing: Commit | None) -> None:
    if context.iteration == 0:
        raise ConfigError(
            "iteration 0 is an import itself: recompute into a later iteration; the version that spoke "
            f"comes of iteration 0 of {context.experiment} (`itpo run`)"
        )
    if existing is not None and IMPORTED not in existing.parents:
        raise ConfigError(f"{existing.key.text} holds collected conversations: take another iteration")
