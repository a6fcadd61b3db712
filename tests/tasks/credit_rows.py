"""Three kept conversations of two turns in one group, as the rows that credit is computed from."""

from storage.rows import to_table

NAMES = ("a", "b", "c")


def curated(name: str, *, group: str = "g", kept: bool = True) -> dict[str, object]:
    return {
        "experiment": "e", "iteration": 1, "shard": 0, "conversation_id": name, "group_id": group,
        "policy_version": "v", "kept": kept, "drop_reason": None if kept else "failed", "group_size": 3,
        "group_kept": 3, "fold": "train", "outcome": float(name == "a"), "reward": float(name == "a") - 0.01,
        "n_turns": 2, "assistant_tokens": 4,
    }  # fmt: skip


def relations(*, missing: str = "", without_oracle: str = "") -> dict[str, object]:
    """Three kept conversations of two turns and a dropped one; `missing` has no score of its last turn."""
    keys = [(name, turn) for name in (*NAMES, "dropped") for turn in (0, 1)]
    scored = [key for key in keys if key != (missing, 1)]
    return {
        "curated": to_table("curated", [*(curated(name) for name in NAMES), curated("dropped", kept=False)]),
        "turns": _turns(keys),
        "turn_scores": to_table("turn_scores", [_score(name, turn) for name, turn in scored]),
        "turn_inputs": to_table("turn_inputs", [_input(*key, unknown=without_oracle) for key in keys]),
        "turn_values": [],
    }


def _turns(keys: list[tuple[str, int]]) -> object:
    import pyarrow as pa

    rows = [
        {
            "conversation_id": name,
            "turn_index": turn,
            "response_tokens": 2,
            "optimal_value": None,
            "optimal_action_value": None,
            "judge_weight": None,
        }
        for name, turn in keys
    ]
    kinds = [("conversation_id", pa.string()), ("turn_index", pa.int16()), ("response_tokens", pa.int32()),
             ("optimal_value", pa.float64()), ("optimal_action_value", pa.float64()),
             ("judge_weight", pa.float64())]  # fmt: skip
    return pa.Table.from_pylist(rows, schema=pa.schema(kinds))


def _score(name: str, turn: int) -> dict[str, object]:
    value = (ord(name[0]) - 96) + turn / 4
    return {
        "conversation_id": name, "turn_index": turn, "reward_version": "r", "ref_version": "v",
        "score": value, "response_tokens": 2, "token_scores": [value, 0.0],
    }  # fmt: skip


def _input(name: str, turn: int, *, unknown: str) -> dict[str, object]:
    oracle = None if name == unknown else 0.5 * turn
    return {
        "conversation_id": name,
        "turn_index": turn,
        "dirichlet_draw": 1.0,
        "oracle_advantage": oracle,
    }
