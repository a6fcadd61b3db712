"""Digests lead from commit to commit, also those that a commit had before rows were forgotten."""

from dataclasses import replace

from storage.lineage import lineage_of
from storage.manifests import Commit, CommitKey, FileEntry, Supersedes
from storage.policy_sources import policy_sources
from storage.registry import PolicyVersion


def made(kind: str, iteration: int, *, digest: str, **parents: str) -> Commit:
    roles = {role.replace("__", "/"): parent for role, parent in parents.items()}
    weights = FileEntry("artifact", "k", f"weights {digest}", 1, 0, "")
    return Commit(CommitKey("shop", kind, iteration), roles, {}, (), {"model.safetensors": weights}, digest)


LOGS = made("rollouts", 0, digest="r0")
CURATED_0 = made("curated", 0, digest="c0", rollouts="r0")
FIRST = made("policy", 0, digest="p0", curated="c0")
REWARD_0 = made("reward", 0, digest="w0", curated__0000="c0", reference="p0")
CURATED_1 = made("curated", 1, digest="c1", rollouts="r1")
REWARD_1 = made("reward", 1, digest="w1", curated__0000="c0", curated__0001="c1", previous="w0")
CREDIT_1 = made("credit", 1, digest="k1", curated="c1", reward="w1")
SECOND = made("policy", 1, digest="p1", credit="k1", policy="p0")
ALL = (LOGS, CURATED_0, FIRST, REWARD_0, CURATED_1, REWARD_1, CREDIT_1, SECOND)
VERSIONS = [
    PolicyVersion(f"shop/v{iteration:04d}", "shop", iteration, None, f"p{iteration}", "")
    for iteration in (0, 1)
]


def test_parents_are_found_by_digest_and_lost_ones_are_said() -> None:
    found = lineage_of(ALL)

    assert [(p.role, p.commit) for p in found.parents(SECOND)] == [("credit", CREDIT_1), ("policy", FIRST)]
    assert [(p.digest, p.commit) for p in found.parents(CURATED_1)] == [("r1", None)]


def test_ancestors_and_descendants_are_each_named_once() -> None:
    found = lineage_of(ALL)

    assert {commit.digest for commit in found.ancestors(SECOND)} == {"k1", "p0", "c1", "w1", "c0", "w0", "r0"}
    assert {commit.digest for commit in found.descendants(CURATED_0)} == {"p0", "w0", "w1", "k1", "p1"}
    assert len(found.ancestors(SECOND)) == 7


def test_an_earlier_digest_leads_to_the_commit_in_its_place() -> None:
    anew = Commit(LOGS.key, {}, {"changed": "yes"}, (), {}, "r0b", (Supersedes("r0", "t1"),))
    found = lineage_of([anew, CURATED_0])

    (parent,) = found.parents(CURATED_0)

    assert (parent.commit, parent.is_earlier) == (anew, True)
    assert found.children(anew) == [CURATED_0]


def test_the_sources_of_a_version_tell_its_own_training_from_the_reward_and_from_what_it_inherits() -> None:
    found = [(s.version[-1], s.relation, s.source.digest) for s in policy_sources(lineage_of(ALL), VERSIONS)]

    assert found == [
        ("0", "direct", "c0"),
        ("1", "direct", "k1"),
        ("1", "reward", "c0"),
        ("1", "reward", "c1"),
        ("1", "inherited", "c0"),
        ("1", "inherited", "c0"),
    ]


def test_a_version_that_was_left_as_its_parent_was_has_learnt_nothing_itself() -> None:
    unchanged = replace(SECOND, artifacts=FIRST.artifacts)

    found = policy_sources(lineage_of([*ALL[:-1], unchanged]), VERSIONS[1:])

    assert [(source.relation, source.source.digest) for source in found] == [("inherited", "c0")]
