"""A lake of three iterations whose chain is whole, with one object of every sort that a lake can hold.

Iteration 0 comes from logs, 1 is promoted, 2 is held; 2 replays the curation of 1 in its reward model.
"""

from collections.abc import Mapping
from pathlib import Path

from itpo_core.types import StopReason
from storage import commits, leases, registry, run_logs, weights
from storage.commits import Commit
from storage.facts import record_facts
from storage.manifests import encode_object
from storage.processes import this_process
from storage.registry import PolicyVersion
from storage.rows import concat, to_table
from tasks import curate
from tasks.context import Context
from tasks.metrics import metrics_table
from tests import builders
from tests.builders import make_context, make_conversation

REVISION = "a" * 40
LOGS = 4
EMPTY: Mapping[str, str] = {}


def make_receipts_lake(folder: Path) -> Context:
    """The whole lake; the context of its last iteration."""
    first, second, third = (make_context(folder, iteration=iteration) for iteration in range(3))
    _offline(first)
    _online(second, parent="shop/v0000", names=("good", "bad"), action="promote")
    _online(third, parent="shop/v0001", names=("kept", "left"), action="hold")
    _beside(third)
    return third


def _offline(context: Context) -> None:
    rollouts = _imported(context)
    curated = _curated(context)
    policy = _policy(context, parent=None, parents={"curated": curated.digest})
    parents = {"curated/0000": curated.digest, "reference": policy.digest}
    builders.commit_reward(context, parents=parents)
    evaluation = _evaluated(context, {"candidate": "shop/v0000"}, successes={"shop/v0000": 1})
    _decided(context, "promote", "shop/v0000", policy=policy, evaluation=evaluation)
    _facts(context, "rollouts", "import", revision="unknown")
    _report(context, {"rollouts": rollouts.digest})


def _online(context: Context, *, parent: str, names: tuple[str, str], action: str) -> None:
    before = context.read("policy", int(parent[-4:]))
    rollouts = _collected(context, names, parent=parent, digest=before.digest)
    curated = _curated(context)
    reward = builders.commit_reward(context, parents=_reward_parents(context, curated))
    sources = {"rollouts": rollouts.digest, "curated": curated.digest, "reward": reward.digest}
    credit = builders.commit_credit(context, parents=sources)
    parents = {"credit": credit.digest, "policy": before.digest}
    policy = _policy(context, parent=parent, parents=parents)
    candidate = registry.version_name(context.experiment, context.iteration)
    roles = {"candidate": candidate, "incumbent": parent, "initial": "shop/v0000"}
    evaluation = _evaluated(context, roles, successes={candidate: 2, parent: 1})
    speaks = candidate if action == "promote" else parent
    _decided(context, action, speaks, policy=policy, evaluation=evaluation, gain=0.5)
    for stage, kind in (("collect", "rollouts"), ("credit", "credit"), ("train_policy", "policy")):
        _facts(context, kind, stage, revision=REVISION)
    _report(context, {"rollouts": rollouts.digest})


def _imported(context: Context) -> Commit:
    spoken = [make_conversation(f"log{index}") for index in range(LOGS)]
    tables = builders.tables_of(context, spoken, speaker="logs:shop")
    rows = [
        {**row, "source_file": "shop.jsonl", "source_row": number}
        for number, row in enumerate(tables["conversations"].to_pylist(), start=1)
    ]
    bad = {"source_file": "shop.jsonl", "source_row": 9, "disposition": "quarantined", "reason": "not JSON"}
    tables = {
        "conversations": to_table("conversations", rows),
        "turns": tables["turns"],
        "quarantine": to_table("quarantine", [{**bad, "raw": "{"}]),
    }
    return builders.commit(
        context, "rollouts", tables, inputs={"format": "openai", "files": '{"shop.jsonl":"5"}'}
    )


def _collected(context: Context, names: tuple[str, str], *, parent: str, digest: str) -> Commit:
    inputs = {
        **context.config.section("domain", "sampling", "collect"),
        "seed": "0",
        "policy_version": parent,
        "policy_digest": digest,
    }
    spoken = [
        make_conversation(names[0]),
        make_conversation(names[1], outcome=0.0, stop=StopReason.USER_LEFT),
    ]
    for shard, conversation in enumerate(spoken):
        commits.publish_shard(
            context.store,
            context.key("rollouts"),
            shard=shard,
            tables=builders.tables_of(context, [conversation], speaker=parent),
            inputs=inputs,
            attempt=context.attempt,
        )
    return commits.seal(
        context.store, context.key("rollouts"), shards=2, parents={"policy": digest}, inputs=inputs
    )


def _curated(context: Context) -> Commit:
    curate.run(context)
    return context.read("curated")


def _reward_parents(context: Context, curated: Commit) -> dict[str, str]:
    before = context.iteration - 1
    return {
        f"curated/{before:04d}": context.read("curated", before).digest,
        f"curated/{context.iteration:04d}": curated.digest,
        "previous": context.read("reward", before).digest,
        "reference": context.read("policy", 0).digest,
    }


def _policy(context: Context, *, parent: str | None, parents: Mapping[str, str]) -> Commit:
    stage, key = ("train_policy" if parent else "warm_start"), context.key("policy")
    figures = {**builders.TRAINED, **({} if parent else {"copy_accuracy": 1.0})}
    model = f"weights {context.iteration}".encode()
    made = commits.commit(
        context.store,
        key,
        tables={"metrics": metrics_table(stage, summary=figures)},
        parents=parents,
        inputs={"train" if parent else "warm_start": '{"epochs":1}', "seed": "0"}
        | ({"parent": parent} if parent else EMPTY),
        artifacts={
            "model.safetensors": weights.put_bytes(context.store, key, name="model.safetensors", data=model)
        },
        attempt=context.attempt,
    )
    name = registry.version_name(context.experiment, context.iteration)
    registry.register_candidate(
        context.store,
        PolicyVersion(name, context.experiment, context.iteration, parent, made.digest, made.key.text),
    )
    return made


def _evaluated(context: Context, roles: Mapping[str, str], *, successes: Mapping[str, int]) -> Commit:
    parents = {role: context.read("policy", int(version[-4:])).digest for role, version in roles.items()}
    return builders.commit_evaluation(context, roles, successes=successes, parents=parents)


def _decided(
    context: Context, action: str, version: str, *, policy: Commit, evaluation: Commit, gain: float = 0.0
) -> None:
    event_id = f"decide/{context.iteration:04d}"
    registry.record_decision(
        context.store,
        context.experiment,
        event_id=event_id,
        action=action,
        version=version,
        reason=f"{action} by hand",
        evidence={"gain": gain, "evaluation_digest": evaluation.digest, "policy_digest": policy.digest},
    )
    commits.close(context.store, context.key("q"), by=event_id)


def _report(context: Context, parents: Mapping[str, str]) -> None:
    key = context.key("report")
    event = registry.events(context.store, context.experiment)[-1]
    page = weights.put_bytes(context.store, key, name="index.html", data=b"<p>a page</p>")
    commits.commit(
        context.store,
        key,
        tables={},
        parents={**parents, "registry": event.digest},
        inputs={},
        artifacts={"index.html": page},
        attempt=context.attempt,
    )


def _facts(context: Context, kind: str, stage: str, *, revision: str) -> None:
    facts = {"stage": stage, "shard": -1, "seconds": 1.5, "code_revision": revision}
    record_facts(context.store, context.key(kind), attempt=f"{context.attempt}-{stage}", facts=facts)


def _beside(context: Context) -> None:
    """What is no dataset: a claim, a lease, a log, a probe's verdict, a tombstone, and what nothing names."""
    store = context.store
    registry.claim_run(store, context.experiment, run_id="shop-0003")
    place = leases.lease_place(context.experiment, "collect-0003-000")
    holder = leases.Holder("a", this_process())
    leases.acquire(store, place, holder=holder, patience=leases.Patience(), on_wait=print)
    run_logs.keep(store, context.experiment, name="collect-0003-a", lines=["it was warm"])
    store.create("_probe/conditional-writes-1.json", encode_object({"conditional_writes": "honoured"}))
    store.create("_tombstones/t1.json", encode_object({"id": "t1", "rows": 0}))
    lost = concat([to_table("metrics", [])])
    commits.publish_shard(
        store, context.key("lab-1"), shard=0, tables={"metrics": lost}, inputs={}, attempt=context.attempt
    )
    weights.put_bytes(store, context.key("policy"), name="left.json", data=b"{}")
