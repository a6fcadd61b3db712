"""Rollouts of any size without a model: the relations that curation and credit read, as Parquet files."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.synthetic_logs import word_pool
from storage.schemas import SCHEMAS

TURNS_PER_CONVERSATION = 5
GROUP_SIZE = 8
SPOKEN_TURNS, USER_WORDS, POOL_WORDS = 6, 12, 200_000
KINDS = np.array(["ask_needed", "ask_again", "small_talk", "recommend"])


@dataclass(frozen=True, slots=True)
class Sizes:
    """Conversations of five turns in groups of eight; token counts are uniform on 3 to 14."""

    conversations: int
    seed: int = 0

    @property
    def turns(self) -> int:
        """Rows of the `turns` relation."""
        return self.conversations * TURNS_PER_CONVERSATION


def write_relations(folder: Path, sizes: Sizes) -> dict[str, list[Path]]:
    """Write conversations, turns, turn_scores and turn_inputs; the paths by relation."""
    draw = np.random.default_rng(sizes.seed)
    tokens = draw.integers(3, 15, sizes.turns).astype(np.int32)
    keys = _turn_keys(sizes)
    inputs = {
        "dirichlet_draw": draw.exponential(size=sizes.turns),
        "oracle_advantage": draw.normal(size=sizes.turns),
    }
    tables = {
        "conversations": _conversations(sizes, tokens, draw=draw),
        "turns": _turns(sizes, keys, tokens=tokens, draw=draw),
        "turn_scores": _filled(
            "turn_scores", {**keys, "score": draw.normal(size=sizes.turns), "response_tokens": tokens}
        ),
        "turn_inputs": pa.table({**keys, **inputs}),
    }
    return {name: [_written(folder / f"{name}.parquet", table)] for name, table in tables.items()}


def relation_paths(folder: Path) -> dict[str, list[Path]]:
    """The relations that were written there before."""
    return {path.stem: [path] for path in sorted(folder.glob("*.parquet"))}


def spoken_turns(turns: int, *, seed: int = 0) -> pa.Table:
    """Six turns a conversation as a policy speaks them: words, and sixty tokens with log-probabilities each.

    The ids are in no order. `turns` is a multiple of six.
    """
    draw = np.random.default_rng(seed)
    words = word_pool(draw, POOL_WORDS)
    tokens = draw.integers(10, 111, turns).astype(np.int32)
    ends = np.concatenate([[0], np.cumsum(tokens)]).astype(np.int32)
    begins = draw.integers(0, POOL_WORDS - 200, turns)
    said = [words.piece(begin, count) for begin, count in zip(begins, tokens, strict=True)]
    ids = draw.zipf(1.2, ends[-1]).clip(0, 8_000).astype(np.int32)
    columns = {
        "conversation_id": np.repeat(_ids(turns // SPOKEN_TURNS, f"spoken{seed}:"), SPOKEN_TURNS),
        "turn_index": np.tile(np.arange(SPOKEN_TURNS, dtype=np.int16), turns // SPOKEN_TURNS),
        "n_turns": np.full(turns, SPOKEN_TURNS),
        "policy_version": np.full(turns, "bench/0001"),
        "user_text": [words.piece(begin, USER_WORDS) for begin in begins],
        "assistant_text": said,
        "suggested_text": said,
        "sent_text": said,
        "response_ids": pa.ListArray.from_arrays(ends, ids),
        "logprobs": pa.ListArray.from_arrays(ends, -draw.exponential(size=ends[-1]).astype(np.float32)),
        "response_tokens": tokens,
    }
    return _filled("turns", columns)


def _ids(count: int, salt: str) -> np.ndarray:
    return np.array([hashlib.md5(f"{salt}{index}".encode()).hexdigest() for index in range(count)])


def _turn_keys(sizes: Sizes) -> dict[str, np.ndarray]:
    ids = _ids(sizes.conversations, "conversation")
    return {
        "conversation_id": np.repeat(ids, TURNS_PER_CONVERSATION),
        "turn_index": np.tile(np.arange(TURNS_PER_CONVERSATION, dtype=np.int16), sizes.conversations),
    }


def _conversations(sizes: Sizes, tokens: np.ndarray, *, draw: np.random.Generator) -> pa.Table:
    """Two in a hundred failed, one was cut by the window; of the rest four in ten succeed."""
    count, fate = sizes.conversations, draw.random(sizes.conversations)
    failed, cut = fate < 0.02, fate > 0.99
    groups = _ids(-(-count // GROUP_SIZE), "group")
    outcome = pa.array((draw.random(count) < 0.4).astype(float), mask=failed)
    columns = {
        "conversation_id": _ids(count, "conversation"),
        "group_id": groups[np.arange(count) // GROUP_SIZE],
        "policy_version": np.full(count, "bench/0001"),
        "status": np.where(failed, "failed", "valid"),
        "stop_reason": np.where(failed, "failed", np.where(cut, "context_full", "completed")),
        "outcome": outcome,
        "n_turns": np.full(count, TURNS_PER_CONVERSATION),
        "assistant_tokens": tokens.reshape(count, -1).sum(1),
        "transcript_sha256": _ids(count, "transcript"),
    }
    return _filled("conversations", columns)


def _turns(
    sizes: Sizes, keys: dict[str, np.ndarray], *, tokens: np.ndarray, draw: np.random.Generator
) -> pa.Table:
    ends = np.concatenate([[0], np.cumsum(tokens)]).astype(np.int32)
    total = int(ends[-1])
    columns = {
        **keys,
        "n_turns": np.full(sizes.turns, TURNS_PER_CONVERSATION),
        "policy_version": np.full(sizes.turns, "bench/0001"),
        "turn_kind": KINDS[draw.integers(0, len(KINDS), sizes.turns)],
        "response_ids": pa.ListArray.from_arrays(ends, draw.integers(0, 500, total, dtype=np.int32)),
        "logprobs": pa.ListArray.from_arrays(ends, -draw.exponential(size=total).astype(np.float32)),
        "response_tokens": tokens,
    }
    return _filled("turns", columns)


def _filled(relation: str, columns: dict[str, object]) -> pa.Table:
    """The columns at hand in the schema of the contract, and a dull value in every other column."""
    schema = SCHEMAS[relation]
    rows = len(columns["conversation_id"])  # ty: ignore[invalid-argument-type]
    return pa.table(
        [
            pa.array(columns[field.name], field.type) if field.name in columns else _dull(field, rows)
            for field in schema
        ],
        schema=schema,
    )


def _dull(field: pa.Field, rows: int) -> pa.Array:
    if field.nullable:
        return pa.nulls(rows, field.type)
    if pa.types.is_list(field.type):
        return pa.array([[]], field.type).take(pa.array(np.zeros(rows, np.int64)))
    value = "" if pa.types.is_string(field.type) else 0
    return pa.array([value], field.type).take(pa.array(np.zeros(rows, np.int64)))


def _written(path: Path, table: pa.Table) -> Path:
    pq.write_table(table, path, compression="zstd", row_group_size=100_000)
    return path
