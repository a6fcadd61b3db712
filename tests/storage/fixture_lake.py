"""The small lake that is kept as a fixture of every schema version: each stored table, with odd values in it.

What this writes under the present version becomes `tests/storage/fixtures/v<version>` once and for all
(`python -m tests.storage.write_fixture`); later versions have to read it. Columns that a new version adds are
filled here too, so that its fixture has them.
"""

import json
from collections.abc import Mapping

from storage import commits, registry, weights
from storage.commits import Commit, CommitKey
from storage.facts import record_facts
from storage.objects import ObjectStore
from storage.registry import PolicyVersion
from storage.rows import Table
from storage.warehouse import run_sql
from tests.storage.lake_rows import Row, rows_of

EXPERIMENT = "shop"
CURATION: Mapping[str, str | int | float | bool] = {
    "policy_version": "",
    "token_cost": 0.125,
    "split_salt": "shop:0",
    "heldout_permille": 400,
    "min_group": 2,
    "require_groups": False,
    "drop_duplicates": True,
    "require_propensity": False,
}
CALL = [{"id": "k1", "type": "function", "function": {"name": "stock", "arguments": '{"item":"🚲"}'}}]
TALK = (
    {"role": "system", "content": "You sell bikes."},
    {"role": "user", "content": "Hat es „rote“ Räder? 🚲\nA second line."},
    {"role": "assistant", "content": "", "tool_calls": json.dumps(CALL)},
    {"role": "tool", "content": "3", "tool_call_id": "k1"},
    {"role": "assistant", "content": "Yes, three."},
    {"role": "user", "content": ""},
)


def write_lake(store: ObjectStore) -> None:
    """Iteration 0 from logs, promoted, and a held iteration 1 that was simulated in two shards."""
    first = _logged(store)
    _curated(store, first)
    _policy(store, 0, parents={"rollouts": first.digest}, parent=None)
    _decide(store, 0, "promote", f"{EXPERIMENT}/v0000")
    second = _simulated(store)
    curated = _curated(store, second)
    reward = _reward(store, curated)
    q = _q(store, curated)
    credit = _credit(store, {"curated": curated.digest, "reward": reward.digest, "q": q.digest})
    _policy(store, 1, parents={"credit": credit.digest}, parent=f"{EXPERIMENT}/v0000")
    _evaluation(store)
    _figures(store, credit)
    _decide(store, 1, "hold", f"{EXPERIMENT}/v0001")


def _logged(store: ObjectStore) -> Commit:
    known = {"status": "valid", "split": "seen", "source_file": "a/log.jsonl", "simulator": "logs"}
    conversations = [
        {**known, "conversation_id": "log-a", "group_id": "g0", "source_row": 1, "outcome": 1.0,
         "user_id": "user-ü 7"},
        {**known, "conversation_id": "log-b", "group_id": "g0", "source_row": 2, "outcome": 0.0,
         "user_id": "8"},
        {**known, "conversation_id": "log-c", "group_id": "g1", "source_row": 4,
         "outcome_reason": "null outcome"},
    ]  # fmt: skip
    spoken = [_conversation(row, iteration=0, shard=0, speaker="logs:a/log") for row in conversations]
    turns = [
        _turn(name, index, count=2, iteration=0, shard=0, speaker="logs:a/log", tokens=0)
        for name in ("log-a", "log-b", "log-c")
        for index in range(2)
    ]
    quarantine = [
        {"source_file": "a/log.jsonl", "source_row": 3, "disposition": "duplicate",
         "reason": "duplicate: repeats row 1 of a/log.jsonl", "raw": '{"messages":[]}'},
        {"source_file": "a/log.jsonl", "source_row": 5, "disposition": "quarantined",
         "reason": "unreadable: not JSON", "raw": "\\xff{"},
    ]  # fmt: skip
    tables = {
        "conversations": rows_of("conversations", spoken),
        "turns": rows_of("turns", turns),
        "quarantine": rows_of("quarantine", quarantine),
        "logged_ids": rows_of("logged_ids", [{"conversation_id": "log-a", "logged_id": "Ä-007"}]),
        "outcomes": _told_later(),
    }
    return _commit(store, _key("rollouts", 0), tables)


def _told_later() -> Table:
    """Labels of a whole conversation and of a turn, known and unknown, kept and not."""
    place = {"experiment": EXPERIMENT, "iteration": 0, "shard": 0, "joined": 1, "source_file": "crm.csv"}
    rows = [
        {"conversation_id": "log-a", "source_row": 1, "disposition": "accepted", "outcome": 1.0,
         "time_s": 1777633200.5, "source": "crm „neu“"},
        {"conversation_id": "log-a", "source_row": 2, "disposition": "contradicting", "outcome": 0.0,
         "source": "crm.csv", "raw": "{}"},
        {"conversation_id": "log-b", "source_row": 3, "disposition": "accepted", "turn_index": 1,
         "outcome_reason": "null outcome", "source": "thumbs"},
    ]  # fmt: skip
    return rows_of("outcomes", [{**place, **row} for row in rows])


def _simulated(store: ObjectStore) -> Commit:
    """Two shards of three conversations; the last one broke before its first turn."""
    key, inputs = _key("rollouts", 1), {"policy_version": f"{EXPERIMENT}/v0000"}
    for shard in (0, 1):
        tables = _shard(shard)
        commits.publish_shard(store, key, shard=shard, tables=tables, inputs=inputs, attempt=f"try-{shard}")
    record_facts(store, key, attempt="try-0", facts={"seconds": 1.5, "code_revision": "0" * 40, "tries": 1})
    return commits.seal(store, key, shards=2, parents={}, inputs=inputs)


def _shard(shard: int) -> dict[str, Table]:
    place = {"iteration": 1, "shard": shard, "speaker": f"{EXPERIMENT}/v0000"}
    valid = {"status": "valid", "split": "seen", "group_id": f"g{shard}", "simulator": "sales"}
    broken = {
        **valid, "conversation_id": f"sim-{shard}-2", "sample_index": 2, "status": "failed", "n_turns": 0,
        "assistant_tokens": 0, "failure_kind": "user", "failure_cause": "timed out after 30 s",
        "outcome_reason": "failed: user", "messages_json": "[]", "stop_reason": "failed",
    }  # fmt: skip
    rows = [
        {**valid, "conversation_id": f"sim-{shard}-{n}", "sample_index": n, "outcome": float(n == shard)}
        for n in (0, 1)
    ]
    turns = [
        _turn(str(row["conversation_id"]), index, count=2, tokens=2 + index, **place)
        for row in rows
        for index in range(2)
    ]
    spoken = [_conversation(row, **place) for row in (*rows, broken)]
    return {
        "conversations": rows_of("conversations", spoken),
        "turns": rows_of("turns", turns),
        "calls": _calls(shard),
    }


def _calls(shard: int) -> Table:
    """What a model that played the user came to: an answer, one that was not used, and a time-out."""
    place = {"experiment": EXPERIMENT, "iteration": 1, "shard": shard, "conversation_id": f"sim-{shard}-0",
             "policy_version": f"{EXPERIMENT}/v0000", "who": "user", "model": "m-1", "tries": 1}  # fmt: skip
    ends = [
        {"status": "answered", "note": "„so“ 🚲", "prompt_tokens": 100, "cost_usd": 0.25},
        {"status": "answered", "refused": "the message is empty", "completion_tokens": 3},
        {"status": "timed_out", "cause": "no whole answer within 30 s", "tries": 5},
    ]
    return rows_of("calls", [{**place, "call_index": index, **end} for index, end in enumerate(ends)])


def _conversation(row: Row, *, iteration: int, shard: int, speaker: str) -> Row:
    usual = {
        "n_turns": 2,
        "assistant_tokens": 5 if iteration else 0,
        "messages_json": json.dumps(TALK, ensure_ascii=False),
        "scenario_id": f"scenario-{row['group_id']}",
        "persona_id": "default",
        "latent_json": '{"product":"bike"}',
        "stop_reason": "completed",
        "seed": -(2**63) + 7,
        "judge_version": "rule-1",
        "transcript_sha256": str(row["conversation_id"]),
    }
    place = {"experiment": EXPERIMENT, "iteration": iteration, "shard": shard, "policy_version": speaker}
    return {**usual, **place, **row}


def _turn(name: str, index: int, *, count: int, iteration: int, shard: int, speaker: str, tokens: int) -> Row:
    said = ("", "Yes, three.")[index]
    truth = {"turn_kind": ("ask", "recommend")[index], "missing": 1 - index, "turns_left": 5 - index,
             "optimal_value": 0.5, "optimal_action_value": 0.75}  # fmt: skip
    return {
        "experiment": EXPERIMENT, "iteration": iteration, "shard": shard, "conversation_id": name,
        "turn_index": index, "n_turns": count, "policy_version": speaker, "temperature": 1.0, "top_p": 0.875,
        "user_text": ("Hat es „rote“ Räder? 🚲\nA second line.", "3")[index],
        "assistant_text": said, "suggested_text": said, "sent_text": said, "acceptance": "autonomous",
        "prompt_ids": [5, 6, 7][: tokens + index] if tokens else [],
        "response_ids": list(range(tokens)), "logprobs": [-0.5 * n for n in range(tokens)],
        "response_tokens": tokens, "finish_reason": "end_of_turn", "tool_names": ("stock", None)[index],
        "propensity": "exact" if tokens else "unknown",
        **(truth if iteration else {}),
        "judge_weight": 0.25 if iteration else None,
    }  # fmt: skip


def _curated(store: ObjectStore, rollouts: Commit) -> Commit:
    """What the SQL of the day made of the rollouts."""
    relations = {
        name: commits.table_paths(store, rollouts, table=name) for name in ("conversations", "turns")
    }
    curated = run_sql("curated.sql", relations=relations, parameters=CURATION)
    key = _key("curated", rollouts.key.iteration)
    return _commit(store, key, {"curated": curated}, parents={"rollouts": rollouts.digest})


def _policy(store: ObjectStore, iteration: int, *, parents: Mapping[str, str], parent: str | None) -> None:
    key = _key("policy", iteration)
    files = {"model.safetensors": bytes(range(64)), "config.json": b'{"layers":1}'}
    artifacts = {name: weights.put_bytes(store, key, name=name, data=data) for name, data in files.items()}
    metrics = _metrics("train_policy", loss=0.5 - iteration / 4, kl=0.0625)
    made = _commit(store, key, {"metrics": metrics}, parents=parents, artifacts=artifacts)
    name = registry.version_name(EXPERIMENT, iteration)
    version = PolicyVersion(name, EXPERIMENT, iteration, parent, made.digest, made.key.text)
    registry.register_candidate(store, version)


def _reward(store: ObjectStore, curated: Commit) -> Commit:
    scores = [
        {**turn, "reward_version": "shop/r0001", "ref_version": "shop/v0000", "score": 0.25 - turn_index,
         "response_tokens": 2 + turn_index, "token_scores": None if turn_index else [0.125, 0.125]}
        for turn, turn_index in _kept_turns()
    ]  # fmt: skip
    tables = {"turn_scores": rows_of("turn_scores", scores), "metrics": _metrics("fit_reward", auc=0.75)}
    return _commit(store, _key("reward", 1), tables, parents={"curated": curated.digest})


def _q(store: ObjectStore, curated: Commit) -> Commit:
    values = [
        {**turn, "q_version": "shop/q0001", "value": 0.5, "log_ratio": -1.5 * index, "q": None, "q_std": 0.0}
        for turn, index in _kept_turns()
    ]
    tables = {"turn_values": rows_of("turn_values", values), "metrics": _metrics("fit_q", auc=0.625)}
    return _commit(store, _key("q", 1), tables, parents={"curated": curated.digest})


def _credit(store: ObjectStore, parents: Mapping[str, str]) -> Commit:
    rows = [
        {**turn, "group_id": "g0", "policy_version": "shop/v0000", "turn_kind": ("ask", "recommend")[index],
         "response_tokens": 2 + index, "score": 0.25 - index, "credit_outcome": 1.0, "credit_norm_itpo": 0.75,
         "credit": 0.75, "advantage": -0.5, "algorithm": "norm_itpo",
         "token_advantages": [-0.5] * 3 if index else None}
        for turn, index in _kept_turns()
    ]  # fmt: skip
    tables = {"credits": rows_of("credits", rows), "metrics": _metrics("credit", turns=4.0)}
    return _commit(store, _key("credit", 1), tables, parents=parents)


def _evaluation(store: ObjectStore) -> None:
    place = {"iteration": 1, "shard": 0}
    versions = {"candidate": f"{EXPERIMENT}/v0001", "incumbent": f"{EXPERIMENT}/v0000"}
    rows, turns = [], []
    for role, version in versions.items():
        row = {"conversation_id": f"eval-{role}", "group_id": "e0", "status": "valid", "split": "unseen",
               "outcome": float(role == "incumbent")}  # fmt: skip
        rows.append(_conversation(row, speaker=version, **place))
        turns += [_turn(f"eval-{role}", n, count=2, speaker=version, tokens=1, **place) for n in (0, 1)]
    tables = {"conversations": rows_of("conversations", rows), "turns": rows_of("turns", turns)}
    _commit(store, _key("evaluation", 1), tables, inputs=versions)


def _figures(store: ObjectStore, credit: Commit) -> None:
    """The datasets that only people read, and a page."""
    lab = [
        {"figure": "mean", "method": "outcome", "against": "", "turn_index": -1, "value": 0.5},
        {"figure": "rank", "method": "itpo", "against": "outcome", "turn_index": 0, "reason": "one group"},
    ]
    _commit(store, _key("lab-0a1b", 1), {"lab": rows_of("lab", lab)}, parents={"credit": credit.digest})
    measured = [
        {"arm": "base", "seed": 1, "step": 0, "name": "success", "value": 0.5},
        {"arm": "base", "seed": 1, "step": 1, "name": "ended", "label": "promoted"},
    ]
    _commit(store, _key("runs-0c2d", 0), {"measurements": rows_of("measurements", measured)})
    page = weights.put_bytes(store, _key("report", 1), name="iteration.html", data=b"<p>page</p>")
    _commit(store, _key("report", 1), {}, artifacts={"iteration.html": page})


def _kept_turns() -> list[tuple[Row, int]]:
    """The turns of the two conversations of the first simulated group."""
    return [
        ({"conversation_id": name, "turn_index": index}, index)
        for name in ("sim-0-0", "sim-0-1")
        for index in range(2)
    ]


def _metrics(stage: str, **values: float) -> Table:
    rows = [{"stage": stage, "step": 0, "name": name, "value": value} for name, value in values.items()]
    return rows_of("metrics", rows)


def _decide(store: ObjectStore, iteration: int, action: str, version: str) -> None:
    registry.record_decision(
        store,
        EXPERIMENT,
        event_id=f"decide/{iteration:04d}",
        action=action,
        version=version,
        reason=f"{action}, as the fixture says",
        evidence={"gain": 0.25, "passed": True, "auc": None, "gate": "open"},
    )


def _key(kind: str, iteration: int) -> CommitKey:
    return CommitKey(EXPERIMENT, kind, iteration)


def _commit(
    store: ObjectStore,
    key: CommitKey,
    tables: Mapping[str, Table],
    *,
    parents: Mapping[str, str] | None = None,
    inputs: Mapping[str, str] | None = None,
    artifacts: Mapping[str, commits.FileEntry] | None = None,
) -> Commit:
    return commits.commit(
        store,
        key,
        tables=tables,
        parents=parents or {},
        inputs=inputs or {"seed": "0"},
        artifacts=artifacts or {},
        attempt="fixture",
    )
