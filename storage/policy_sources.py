"""From which datasets a policy version learnt, by itself and through those that it goes back to."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from storage.lineage import Lineage, closure
from storage.manifests import Commit
from storage.registry import PolicyVersion

DIRECT, INHERITED = "direct", "inherited"
EVERYBODY = "*"
_FITS = frozenset({"reward", "q"})


@dataclass(frozen=True, slots=True)
class PolicySource:
    """One dataset that a version learnt from.

    `relation`: direct (the weights were trained on its turns), reward or q (read by the fit that gave them
    credit), inherited (any of these, of a version or fit that this one goes back to). Left out are the
    conversations of `personas_left_out` (`*`: of everybody), of every fold or of `fold_left_out` only, and
    those whose last turn was not spoken at `temperature`, because it was explored.
    """

    version: str
    relation: str
    source: Commit
    personas_left_out: tuple[str, ...]
    fold_left_out: str | None
    temperature: float | None


def policy_sources(lineage: Lineage, versions: Iterable[PolicyVersion]) -> list[PolicySource]:
    """The sources of every version whose commit is in the lineage."""
    known = [(version.name, lineage.by_digest.get(version.commit_digest)) for version in versions]
    return [
        source for name, policy in known if policy is not None for source in _sources(lineage, name, policy)
    ]


def is_unchanged(lineage: Lineage, policy: Commit) -> bool:
    """Whether the weights are the parent's, file by file: no step was taken."""
    parent = parent_policy(lineage, policy)
    return parent is not None and bool(policy.artifacts) and _hashes(policy) == _hashes(parent)


def parent_policy(lineage: Lineage, policy: Commit) -> Commit | None:
    """The policy whose weights this one started from; None for the first, or where it is lost."""
    return lineage.by_digest.get(policy.parents.get("policy", ""))


def _sources(lineage: Lineage, version: str, policy: Commit) -> list[PolicySource]:
    own = [] if is_unchanged(lineage, policy) else _own(lineage, policy)
    found = [each for commit in own for each in _read_by(lineage, version, commit, relation=None)]
    seen = {each.source.key for each in found if each.relation == DIRECT}
    behind = closure(policy, lambda each: _weights_from(lineage, each))
    earlier = [commit for commit in behind if commit not in own]
    inherited = [each for c in earlier for each in _read_by(lineage, version, c, relation=INHERITED)]
    return [*found, *_once(each for each in inherited if each.source.key not in seen)]


def _weights_from(lineage: Lineage, commit: Commit) -> list[Commit]:
    """What a commit was made from; of a policy that no step was taken for, the parent alone."""
    parents = [parent.commit for parent in lineage.parents(commit) if parent.commit is not None]
    is_copy = commit.key.kind == "policy" and is_unchanged(lineage, commit)
    return [each for each in parents if each.key.kind == "policy"] if is_copy else parents


def _own(lineage: Lineage, policy: Commit) -> list[Commit]:
    """The policy and the fits of its own iteration that gave credit to what it was trained on."""
    parents = {parent.role: parent.commit for parent in lineage.parents(policy)}
    credit = parents.get("credit")
    of_credit = [] if credit is None else [parent.commit for parent in lineage.parents(credit)]
    near = {commit.key: commit for commit in (parents.get("q"), *of_credit) if commit is not None}
    return [
        policy,
        *(c for c in near.values() if c.key.kind in _FITS and c.key.iteration == policy.key.iteration),
    ]


def _read_by(lineage: Lineage, version: str, commit: Commit, *, relation: str | None) -> list[PolicySource]:
    """What the training of a policy, or the fit of a reward or a Q, read; nothing of other kinds."""
    parents = {parent.role: parent.commit for parent in lineage.parents(commit)}
    curated = [each for role, each in parents.items() if role.partition("/")[0] == "curated" and each]
    if commit.key.kind == "policy":
        credit = parents.get("credit")
        sources = curated if credit is None else [credit]
        return (
            []
            if is_unchanged(lineage, commit)
            else [
                _whole_fold(commit, _source(lineage, version, each, relation=relation or DIRECT, fit=False))
                for each in sources
            ]
        )
    if commit.key.kind in _FITS:
        return [
            _source(lineage, version, each, relation=relation or commit.key.kind, fit=True)
            for each in curated
        ]
    return []


def _source(lineage: Lineage, version: str, source: Commit, *, relation: str, fit: bool) -> PolicySource:
    rollouts = lineage.find("rollouts", experiment=source.key.experiment, iteration=source.key.iteration)
    logs = lineage.find("rollouts", experiment=source.key.experiment, iteration=0)
    inputs: Mapping[str, str] = {
        **({} if logs is None else logs.inputs),
        **({} if rollouts is None else rollouts.inputs),
    }
    credited = source.key.kind == "credit"
    return PolicySource(
        version=version,
        relation=relation,
        source=source,
        # Requests of scripted logs show how to copy facts: they teach version 0 (all but those of its exam),
        # and no reward and no Q.
        personas_left_out=()
        if credited
        else tuple(json.loads(inputs.get("logs", "{}")).get(_SUPERVISED, ())),
        fold_left_out=None if fit else "heldout",
        temperature=json.loads(inputs.get("sampling", "{}")).get("temperature") if credited else None,
    )


def _whole_fold(policy: Commit, source: PolicySource) -> PolicySource:
    """A version that imitates logs of no domain reads nobody of the held-out fold."""
    is_bare = _IMITATES in policy.inputs
    return replace(source, personas_left_out=(EVERYBODY,)) if is_bare else source


_SUPERVISED = "supervised_only_personas"
_IMITATES = "offline_reading"


def _once(sources: Iterable[PolicySource]) -> Sequence[PolicySource]:
    return list({(each.source.key, each.fold_left_out): each for each in sources}.values())


def _hashes(commit: Commit) -> dict[str, str]:
    return {name: entry.sha256 for name, entry in commit.artifacts.items()}
