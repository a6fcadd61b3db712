"""What must hold for the rows of each dataset beyond their types; checked before anything is written.

A rule gets a table that is already sorted by its key columns and says which rows break it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import pyarrow as pa

from storage.schemas import CREDIT_METHODS

LARGEST_LOGPROB = 1e-4  # rounding may lift a certain token's log-probability a little above 0
LOGGED = "logs:"  # the policy version of turns that were read from logs, which may lack log-probabilities

PROPENSITIES = ("exact", "recomputed", "estimated", "unknown")
CALLED = ("user", "business", "judge")
CALL_STATUSES = ("answered", "abstained", "timed_out", "failed")

# The total order in which rows are stored; unique except for figures, where a stage may repeat a name.
ROW_ORDER = MappingProxyType(
    {
        "conversations": ("conversation_id",),
        "turns": ("conversation_id", "turn_index"),
        "calls": ("conversation_id", "who", "call_index"),
        "quarantine": ("source_file", "source_row"),
        "logged_ids": ("conversation_id",),
        "outcomes": ("conversation_id", "joined", "source_file", "source_row"),
        "curated": ("conversation_id",),
        "turn_scores": ("conversation_id", "turn_index"),
        "turn_values": ("conversation_id", "turn_index"),
        "credits": ("conversation_id", "turn_index"),
        "lab": ("figure", "method", "against", "turn_index"),
        "metrics": ("stage", "step", "name"),
        "measurements": ("arm", "seed", "step", "name"),
    }
)


@dataclass(frozen=True, slots=True)
class Rule:
    """One condition on rows: `breaks` marks the offenders, `remedy` says what the writer should do."""

    text: str
    remedy: str
    breaks: Callable[[pa.Table], np.ndarray]


def _array(table: pa.Table, column: str) -> pa.Array:
    return pa.concat_arrays([pa.array([], table[column].type), *table[column].chunks])


def _numpy(table: pa.Table, column: str) -> np.ndarray:
    return table[column].to_numpy()


def _is_null(table: pa.Table, column: str) -> np.ndarray:
    return table[column].is_null().to_numpy()


def _not_finite(column: str) -> Callable[[pa.Table], np.ndarray]:
    """Rows whose value is present and NaN or infinite."""
    return lambda table: ~(np.isfinite(_numpy(table, column).astype(np.float64)) | _is_null(table, column))


def _no_chance(column: str) -> Callable[[pa.Table], np.ndarray]:
    """Rows whose value is present and no chance; comparing this way round refuses NaN."""

    def breaks(table: pa.Table) -> np.ndarray:
        values = _numpy(table, column).astype(np.float64)
        return ~((values >= 0) & (values <= 1)) & ~_is_null(table, column)

    return breaks


def _not_among(column: str, allowed: tuple[str, ...]) -> Callable[[pa.Table], np.ndarray]:
    return lambda table: ~np.isin(_numpy(table, column).astype(str), allowed)


def _continues(table: pa.Table, columns: tuple[str, ...]) -> np.ndarray:
    """Rows that equal the row before them in all the columns."""
    same = np.zeros(table.num_rows, dtype=bool)
    same[1:] = True
    for column in columns:
        values = _numpy(table, column)
        same[1:] &= values[1:] == values[:-1]
    return same


def _repeats(*columns: str) -> Callable[[pa.Table], np.ndarray]:
    return lambda table: _continues(table, columns)


def _both_or_neither(table: pa.Table, column: str, flag: np.ndarray) -> np.ndarray:
    """Rows where the column is null although the flag is set, or present although it is not."""
    return _is_null(table, column) == flag


def _list_lengths(table: pa.Table, column: str) -> np.ndarray:
    return _array(table, column).value_lengths().to_numpy()


def _unequal_token_lists(table: pa.Table) -> np.ndarray:
    ids, logprobs = _list_lengths(table, "response_ids"), _list_lengths(table, "logprobs")
    logged = np.char.startswith(_numpy(table, "policy_version").astype(str), LOGGED)
    return (ids != logprobs) & ~(logged & (logprobs == 0))


def _no_propensity(table: pa.Table) -> np.ndarray:
    """Rows that name a status that there is not, or one that needs log-probabilities, which they lack."""
    named = _numpy(table, "propensity").astype(str)
    is_given = ~_is_null(table, "propensity")
    logprobs, tokens = _list_lengths(table, "logprobs"), _numpy(table, "response_tokens")
    is_bare = (named != "unknown") & ((logprobs == 0) | (logprobs != tokens))
    return is_given & (~np.isin(named, PROPENSITIES) | is_bare)


def _wrong_token_count(table: pa.Table) -> np.ndarray:
    return _list_lengths(table, "response_ids") != _numpy(table, "response_tokens")


def _wrong_token_scores(table: pa.Table) -> np.ndarray:
    counts = _array(table, "token_scores").value_lengths().fill_null(-1).to_numpy()
    values = _array(table, "token_scores").flatten().to_numpy(zero_copy_only=False)
    row_of_value = np.repeat(np.arange(table.num_rows), np.maximum(counts, 0))
    broken = np.bincount(row_of_value[~np.isfinite(values)], minlength=table.num_rows) > 0
    return broken | ((counts != _numpy(table, "response_tokens")) & (counts >= 0))


def _impossible_logprobs(table: pa.Table) -> np.ndarray:
    values = _array(table, "logprobs").flatten().to_numpy(zero_copy_only=False)
    # A null inside a list reads as NaN here, so it is refused too. Comparing this way round refuses NaN.
    bad = ~((values <= LARGEST_LOGPROB) & (values > -np.inf))
    row_of_value = np.repeat(np.arange(table.num_rows), _list_lengths(table, "logprobs"))
    return np.bincount(row_of_value[bad], minlength=table.num_rows) > 0


def _null_token_ids(table: pa.Table) -> np.ndarray:
    rows = np.zeros(table.num_rows, dtype=bool)
    for column in ("prompt_ids", "response_ids"):
        missing = _array(table, column).flatten().is_null().to_numpy(zero_copy_only=False)
        row_of_value = np.repeat(np.arange(table.num_rows), _list_lengths(table, column))
        rows |= np.bincount(row_of_value[missing], minlength=table.num_rows) > 0
    return rows


def _place_in_conversation(table: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    """Of each row: its place among the rows of its conversation, and how many those are."""
    starts = np.flatnonzero(~_continues(table, ("conversation_id",)))
    counts = np.diff(np.append(starts, table.num_rows))
    place = np.arange(table.num_rows) - np.repeat(starts, counts)
    return place, np.repeat(counts, counts)


def _gap_in_turns(table: pa.Table) -> np.ndarray:
    place, _ = _place_in_conversation(table)
    return _numpy(table, "turn_index") != place


def _wrong_turn_count(table: pa.Table) -> np.ndarray:
    _, count = _place_in_conversation(table)
    return _numpy(table, "n_turns") != count


def _unexplained_outcome(table: pa.Table) -> np.ndarray:
    return _both_or_neither(table, "outcome_reason", _is_null(table, "outcome"))


def _unexplained_failure(table: pa.Table) -> np.ndarray:
    return _both_or_neither(table, "failure_kind", _numpy(table, "status") == "failed")


def _unexplained_call(table: pa.Table) -> np.ndarray:
    return _both_or_neither(table, "cause", _numpy(table, "status") != "answered")


def _unexplained_drop(table: pa.Table) -> np.ndarray:
    return _both_or_neither(table, "drop_reason", ~_numpy(table, "kept").astype(bool))


def _unexplained_gap(table: pa.Table) -> np.ndarray:
    return _both_or_neither(table, "reason", _is_null(table, "value"))


def _finite(column: str) -> Rule:
    return Rule(
        f"{column} must be finite",
        "leave an unknown value null where the schema allows it, and drop or fix the row otherwise",
        _not_finite(column),
    )


def _unique(*columns: str) -> Rule:
    return Rule(f"({', '.join(columns)}) must be unique", "write each row once", _repeats(*columns))


RULES = MappingProxyType(
    {
        "conversations": (
            _unique("conversation_id"),
            Rule(
                "status must be valid or failed",
                "use one of the two",
                _not_among("status", ("valid", "failed")),
            ),
            Rule(
                "failure_kind must be set exactly when status is failed",
                "name the kind of failure, or mark the conversation valid",
                _unexplained_failure,
            ),
            Rule(
                "outcome_reason must be set exactly when outcome is null",
                "say why the outcome is unknown; an unknown outcome is null, never 0",
                _unexplained_outcome,
            ),
            _finite("outcome"),
        ),
        "turns": (
            _unique("conversation_id", "turn_index"),
            Rule(
                "turn_index must count 0, 1, 2 … in its conversation", "write every turn once", _gap_in_turns
            ),
            Rule(
                "n_turns must be the number of turns written", "count the assistant turns", _wrong_turn_count
            ),
            Rule(
                "response_ids and logprobs must have one length",
                "keep one log-probability per generated token; only logged turns (logs:…) may have none",
                _unequal_token_lists,
            ),
            Rule("response_tokens must be the length of response_ids", "count the ids", _wrong_token_count),
            Rule(
                f"propensity must be one of {', '.join(PROPENSITIES)}, with a log-probability per token",
                "name what is known of the log-probabilities; without any of them it is unknown",
                _no_propensity,
            ),
            Rule("token ids must not be null", "leave missing tokens out of the list", _null_token_ids),
            Rule(
                f"logprobs must be finite and at most {LARGEST_LOGPROB}",
                "record natural logarithms of the sampling distribution; mark a failed generation as failed",
                _impossible_logprobs,
            ),
        ),
        "calls": (
            _unique("conversation_id", "who", "call_index"),
            Rule("who must be user, business or judge", "use one of them", _not_among("who", CALLED)),
            Rule(
                "status must be one of a call",
                f"use one of {CALL_STATUSES}",
                _not_among("status", CALL_STATUSES),
            ),
            Rule(
                "cause must be set exactly when a call was not answered",
                "say why there is no answer",
                _unexplained_call,
            ),
            _finite("cost_usd"),
        ),
        "quarantine": (
            Rule(
                "disposition must be quarantined or duplicate",
                "use one of the two",
                _not_among("disposition", ("quarantined", "duplicate")),
            ),
        ),
        "logged_ids": (_unique("conversation_id"),),
        "outcomes": (
            _unique("conversation_id", "joined", "source_file", "source_row"),
            Rule(
                "disposition must be accepted, duplicate or contradicting",
                "use one of them",
                _not_among("disposition", ("accepted", "duplicate", "contradicting")),
            ),
            Rule(
                "outcome_reason must be set exactly when outcome is null",
                "say why the outcome is unknown; an unknown outcome is null, never 0",
                _unexplained_outcome,
            ),
            _finite("outcome"),
            _finite("time_s"),
        ),
        "curated": (
            _unique("conversation_id"),
            Rule(
                "drop_reason must be set exactly when kept is false",
                "name the rule that dropped it",
                _unexplained_drop,
            ),
            _finite("outcome"),
            _finite("reward"),
        ),
        "turn_scores": (
            _unique("conversation_id", "turn_index"),
            _finite("score"),
            Rule(
                "token_scores must be finite, one per scored token",
                "write the terms that the score is the sum of, or leave the column null",
                _wrong_token_scores,
            ),
        ),
        "turn_values": (
            _unique("conversation_id", "turn_index"),
            _finite("log_ratio"),
            _finite("return_value"),
            *(
                Rule(
                    f"{column} must be a chance in [0, 1]",
                    "write the sigmoid of a logit; null where the kind has no such figure",
                    _no_chance(column),
                )
                for column in ("value", "q", "q_std")
            ),
        ),
        "credits": (
            _unique("conversation_id", "turn_index"),
            _finite("credit"),
            _finite("advantage"),
            _finite("score"),
            *(_finite(f"{kind}_{method}") for kind in ("credit", "advantage") for method in CREDIT_METHODS),
        ),
        "lab": (
            _unique("figure", "method", "against", "turn_index"),
            _finite("value"),
            Rule(
                "reason must be set exactly when value is null",
                "say why there is no value",
                _unexplained_gap,
            ),
        ),
        "metrics": (),
        "measurements": (_unique("arm", "seed", "step", "name"), _finite("value")),
    }
)
