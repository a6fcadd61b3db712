"""A lake in which one customer left traces of every kind, and a scan that finds a trace in any byte of it."""

import gzip
import html
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from storage import commits, registry, run_logs, weights
from storage.commits import Commit, CommitKey
from storage.digests import file_sha256
from storage.facts import record_facts
from storage.manifests import FileEntry
from storage.objects import ObjectStore
from storage.registry import PolicyVersion
from tests.storage.lake_rows import Row, metrics, rows_of

USER = "user-4711"
ANN, ANN_LATER, BOB, CID = "a1" * 16, "a2" * 16, "b0" * 16, "c0" * 16
ANN_COPIED = "a3" * 16  # the same log row, imported into the experiment `again`
SECRET = "my daughter Ida is allergic to zinc & steel"
LATER = "please ring 030 1234567 after the “show”"
DAMAGED = "this row was never a conversation, it has no end"
USUAL = "which size do you need , small or large ?"  # what the assistant says to everybody
ROLLOUTS, CURATED, REWARD = (CommitKey("shop", kind, 0) for kind in ("rollouts", "curated", "reward"))
CREDIT, POLICY, REPORT = (CommitKey("shop", kind, 0) for kind in ("credit", "policy", "report"))
TALKS = {
    ANN: (f"hi , {SECRET}", USUAL, "small .", "this one ."),
    ANN_LATER: (LATER, USUAL, "large .", "that one ."),
    BOB: ("i want a red bike for my son", USUAL, "small .", "this one ."),
    CID: ("hi .", USUAL, "no .", "bye ."),
}
TRACES = (USER, ANN, ANN_LATER, ANN_COPIED, ANN[:12], ANN_LATER[:12], SECRET, LATER, LATER[:32], DAMAGED)


def messages_of(said: Iterable[str]) -> str:
    """The messages of a talk as its row holds them."""
    roles = ("user", "assistant")
    said = list(said)
    talk = [{"role": roles[turn % 2], "content": text} for turn, text in enumerate(said)]
    return json.dumps(talk, ensure_ascii=False, separators=(",", ":"))


def log_row(name: str, **more: object) -> str:
    """The log row that a talk was read from."""
    return json.dumps({"id": f"log-{name}", "messages": json.loads(messages_of(TALKS[name])), **more})


def conversation(name: str, *, talk: str | None = None, **columns: object) -> Row:
    """One row of `conversations`, logged; the row number is the place in TALKS."""
    text = messages_of(TALKS[talk or name])
    row = list(TALKS).index(talk or name) + 1
    known = {
        "status": "valid",
        "outcome": 1.0,
        "split": "seen",
        "source_file": "chat.jsonl",
        "source_row": row,
    }
    words = {"messages_json": text, "transcript_sha256": file_sha256(text.encode()), "latent_json": "{}"}
    user = USER if name in (ANN, ANN_LATER) else None
    return {"conversation_id": name, "user_id": user, "n_turns": 2, **known, **words, **columns}


def turns_of(name: str, *, talk: str | None = None) -> list[Row]:
    """Both turns of a talk."""
    said = TALKS[talk or name]
    return [
        {
            "conversation_id": name, "turn_index": turn, "n_turns": 2, "policy_version": "logs:chat",
            "user_text": said[2 * turn], "assistant_text": said[2 * turn + 1],
        }
        for turn in range(2)
    ]  # fmt: skip


def quarantine() -> pa.Table:
    """Rejected rows: repetitions and damaged rows of the customer, and one of somebody else."""
    rows = [
        (7, "duplicate", "duplicate: repeats row 1 of chat.jsonl", log_row(ANN, user=USER)),
        (8, "quarantined", "unreadable: not JSON", f'{{"messages": [{{"content": "{LATER[:32]}'),
        (9, "quarantined", "missing_messages: the row has no `messages`",
         json.dumps({"metadata": {"user": USER}, "text": DAMAGED})),
        (10, "quarantined",
         "reused_id: the id 'x' is taken by row 1 of chat.jsonl, which says something else",
         json.dumps({"id": f"log-{ANN}", "messages": [{"role": "user", "content": DAMAGED}]})),
        (11, "duplicate", "duplicate: repeats row 3 of chat.jsonl", log_row(BOB)),
    ]  # fmt: skip
    names = ("source_row", "disposition", "reason", "raw")
    return rows_of(
        "quarantine", [{"source_file": "chat.jsonl", **dict(zip(names, row, strict=True))} for row in rows]
    )


def write_lake(store: ObjectStore) -> None:
    """One decided iteration from logs, its copy in another experiment, and leavings of killed writers."""
    rollouts = _rollouts(store, ROLLOUTS, {name: name for name in TALKS}, rejected=quarantine())
    curated = _commit(store, CURATED, {"curated": _curated(TALKS)}, {"rollouts": rollouts.digest})
    scores = {"turn_scores": _scores(TALKS), "metrics": metrics(loss=0.5)}
    reward = _commit(store, REWARD, scores, {"curated/0000": curated.digest})
    parents = {"curated": curated.digest, "reward": reward.digest}
    credit = _commit(store, CREDIT, {"credits": _credits(TALKS)}, parents)
    policy = _commit(store, POLICY, {"metrics": metrics(loss=0.5)}, {"credit": credit.digest}, b"{}")
    version = PolicyVersion("shop/v0000", "shop", 0, None, policy.digest, POLICY.text)
    registry.register_candidate(store, version)
    _write_report(store, {"rollouts": rollouts.digest, "credit": credit.digest})
    _rollouts(store, CommitKey("again", "rollouts", 0), {ANN_COPIED: ANN, "d1" * 16: BOB})
    _leave_things(store)


def render(store: ObjectStore, commit: Commit) -> Mapping[str, bytes]:
    """The page of a report: what everybody said."""
    rollouts = commits.read(store, CommitKey(commit.key.experiment, "rollouts", commit.key.iteration))
    rows = commits.read_table(store, rollouts, table="conversations").to_pylist()
    talks = (f"<h2>{row['conversation_id'][:12]}</h2>{html.escape(row['messages_json'])}" for row in rows)
    return {"iteration-0000.html": "\n".join(talks).encode()}


def traces_in(store: ObjectStore, traces: Iterable[str] = TRACES) -> list[str]:
    """Every object that holds a trace in its bytes, its rows or its footer, and which trace."""
    return [
        f"{key}: {trace}"
        for key in store.list("")
        for trace in traces
        if any(trace in text for text in readings(store.get(key), name=key))
    ]


def readings(data: bytes, *, name: str) -> Iterator[str]:
    """The bytes as text, as they are and without what may hide a word: compression, escapes, columns."""
    yield data.decode("latin-1")
    yield data.decode("utf-8", "replace")
    if name.endswith(".gz"):
        yield gzip.decompress(data).decode("utf-8", "replace")
    if name.endswith(".html"):
        yield html.unescape(data.decode())
    if name.endswith(".json"):
        yield json.dumps(json.loads(data), ensure_ascii=False)
        yield json.dumps(json.loads(data), ensure_ascii=False).replace('\\"', '"')
    if name.endswith(".parquet"):
        file = pq.ParquetFile(pa.BufferReader(data))
        yield str(file.metadata) + str(file.schema_arrow) + str(file.schema_arrow.metadata)
        yield "\n".join(_statistics(file.metadata))
        for column in file.read().columns:
            yield "\n".join(_words(column.to_pylist()))


def rows_that_stay(store: ObjectStore, *, gone: Iterable[str]) -> dict[str, list[Row]]:
    """Every row of every commit that belongs to none of these conversations, by place."""
    texts = {TALKS[BOB][0]}
    found: dict[str, list[Row]] = {}
    for key in sorted(key for key in store.list("") if key.endswith("/commit.json")):
        commit = commits.find(store, CommitKey(key.split("/")[0], key.split("/")[1], int(key[-16:-12])))
        for table in sorted({entry.table for entry in commit.files}) if commit else ():
            rows = commits.read_table(store, commit, table=table).to_pylist()
            stay = [row for row in rows if row.get("conversation_id") not in set(gone)]
            stay = [row for row in stay if "raw" not in row or any(text in row["raw"] for text in texts)]
            found[f"{key} {table}"] = stay
    return found


def _rollouts(
    store: ObjectStore, key: CommitKey, names: Mapping[str, str], *, rejected: pa.Table | None = None
) -> Commit:
    tables = {
        "conversations": rows_of("conversations", [conversation(n, talk=t) for n, t in names.items()]),
        "turns": rows_of("turns", [row for n, t in names.items() for row in turns_of(n, talk=t)]),
        **({} if rejected is None else {"quarantine": rejected}),
    }
    return _commit(store, key, tables, {})


def _commit(
    store: ObjectStore,
    key: CommitKey,
    tables: Mapping[str, pa.Table],
    parents: Mapping[str, str],
    artifact: bytes | None = None,
) -> Commit:
    made = {"config.json": artifact} if artifact else {}
    stored: Mapping[str, FileEntry] = {
        name: weights.put_bytes(store, key, name=name, data=data) for name, data in made.items()
    }
    return commits.commit(
        store, key, tables=tables, parents=parents, inputs={"seed": "1"}, artifacts=stored, attempt="first"
    )


def _write_report(store: ObjectStore, parents: Mapping[str, str]) -> None:
    draft = Commit(REPORT, {}, {}, (), {}, "")
    pages = {
        name: weights.put_bytes(store, REPORT, name=name, data=data)
        for name, data in render(store, draft).items()
    }
    commits.commit(store, REPORT, tables={}, parents=parents, inputs={}, artifacts=pages, attempt="first")


def _curated(names: Iterable[str]) -> pa.Table:
    """All kept but the customer's later talk, which taught nobody."""
    return rows_of(
        "curated",
        [
            {"conversation_id": name, "kept": name != ANN_LATER, "reward": 1.0, "group_size": 2}
            | ({"drop_reason": "duplicate"} if name == ANN_LATER else {})
            for name in names
        ],
    )


def _scores(names: Iterable[str]) -> pa.Table:
    kept = [name for name in names if name != ANN_LATER]
    return rows_of(
        "turn_scores",
        [{"conversation_id": n, "turn_index": turn, "score": turn / 2} for n in kept for turn in range(2)],
    )


def _credits(names: Iterable[str]) -> pa.Table:
    kept = [name for name in names if name != ANN_LATER]
    return rows_of(
        "credits",
        [{"conversation_id": n, "turn_index": turn, "advantage": 0.5} for n in kept for turn in range(2)],
    )


def _leave_things(store: ObjectStore) -> None:
    """A shard that was never sealed, tables and a page that nothing names, a failure and a log line."""
    unsealed = {"curated": _curated([ANN_COPIED, "d1" * 16])}
    commits.publish_shard(
        store, CommitKey("again", "curated", 0), shard=0, tables=unsealed,
        inputs={"parent rollouts": _digest(store, "again")}, attempt="killed",
    )  # fmt: skip
    dying = CommitKey("shop", "rollouts", 1)
    commits.publish_shard(
        store, dying, shard=0, tables={"turns": rows_of("turns", turns_of(ANN))}, inputs={}, attempt="killed"
    )
    _forget_manifest(store, dying)
    weights.put_bytes(store, REPORT, name="lost.html", data=html.escape(TALKS[ANN][0]).encode())
    record_facts(store, REWARD, attempt="failed", facts={"error": f"({ANN}, 0) is not finite"})
    run_logs.keep(store, "shop", name="fit", lines=[f"left out {ANN_LATER[:12]}", "done"])


def _digest(store: ObjectStore, experiment: str) -> str:
    return commits.read(store, CommitKey(experiment, "rollouts", 0)).digest


def _forget_manifest(store: ObjectStore, key: CommitKey) -> None:
    """As after a kill between the data and its manifest; only tests take a manifest away."""
    store.delete(f"{key.prefix}/shard-0000.json")


def _statistics(metadata: pq.FileMetaData) -> Iterator[str]:
    for group in range(metadata.num_row_groups):
        for place in range(metadata.num_columns):
            found = metadata.row_group(group).column(place).statistics
            if found is not None and found.has_min_max:
                yield f"{found.min!r}\n{found.max!r}"


def _words(value: object) -> Iterator[str]:
    if isinstance(value, list):
        for part in value:
            yield from _words(part)
    elif isinstance(value, str):
        yield value
        yield value.encode().decode("unicode_escape", "replace") if "\\u" in value else value


def files_below(folder: Path) -> dict[str, bytes]:
    """Every file of a folder by its place."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }
