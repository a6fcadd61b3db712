"""Arrow schemas of every dataset of the lake, versioned; columns are only ever added.

A table's schema metadata carries `schema_version`; a reader refuses a version from the future.
"""

from types import MappingProxyType

import pyarrow as pa

SCHEMA_VERSION = 5  # raising it: docs/lake.md, "Versions"


def _schema(*fields: pa.Field) -> pa.Schema:
    return pa.schema(fields, metadata={"schema_version": str(SCHEMA_VERSION)})


def _required(name: str, kind: pa.DataType) -> pa.Field:
    return pa.field(name, kind, nullable=False)


def _optional(name: str, kind: pa.DataType) -> pa.Field:
    return pa.field(name, kind, nullable=True)


_LINEAGE = (
    _required("experiment", pa.string()),
    _required("iteration", pa.int32()),
    _required("shard", pa.int32()),
    _required("conversation_id", pa.string()),
)

# One row per conversation, also for one that broke before its first turn.
CONVERSATIONS = _schema(
    *_LINEAGE,
    _required("group_id", pa.string()),  # siblings of one scenario within the iteration
    _required("sample_index", pa.int16()),
    _required("scenario_id", pa.string()),
    _required("split", pa.string()),  # seen | unseen
    _required("persona_id", pa.string()),
    _required("seed", pa.int64()),
    _required("policy_version", pa.string()),  # who spoke: a registry version, or logs:<source>
    _required("simulator", pa.string()),
    _required("simulator_version", pa.string()),
    _required("simulator_digest", pa.string()),
    _required("latent_json", pa.string()),
    _required("messages_json", pa.string()),  # every message incl. system, tool and trailing user text
    _required("status", pa.string()),  # valid | failed
    _optional("failure_kind", pa.string()),
    _optional("failure_cause", pa.string()),
    _required("stop_reason", pa.string()),
    _optional("outcome", pa.float64()),  # null with a reason, never 0 for unknown
    _optional("outcome_reason", pa.string()),
    _required("n_turns", pa.int16()),
    _required("assistant_tokens", pa.int32()),
    _required("judge_version", pa.string()),
    _required("transcript_sha256", pa.string()),
    _optional("source_file", pa.string()),  # imported logs only
    _optional("source_row", pa.int64()),
    _optional("user_id", pa.string()),  # who spoke with the assistant; null for simulated users; version 2
)

# One row per assistant turn; joined to its conversation by conversation_id.
TURNS = _schema(
    *_LINEAGE,
    _required("turn_index", pa.int16()),
    _required("n_turns", pa.int16()),
    _required("policy_version", pa.string()),
    _required("tokenizer_digest", pa.string()),  # empty for foreign logs without token ids
    _required("chat_template_digest", pa.string()),
    _required("temperature", pa.float64()),
    _required("top_p", pa.float64()),
    _required("user_text", pa.string()),  # what was said since the previous assistant turn
    _required("assistant_text", pa.string()),
    _required("suggested_text", pa.string()),  # what the policy proposed
    _required("sent_text", pa.string()),  # what was really sent
    _required("acceptance", pa.string()),  # verbatim | edited | ignored | autonomous
    _required("prompt_ids", pa.list_(pa.int32())),  # only the tokens new since the previous turn
    _required("response_ids", pa.list_(pa.int32())),
    _required("logprobs", pa.list_(pa.float32())),  # of the sampling distribution, natural log
    _required("response_tokens", pa.int32()),
    _required("finish_reason", pa.string()),
    _optional("tool_names", pa.string()),  # comma-separated tools called in this turn
    _optional("turn_kind", pa.string()),  # the environment's own name for the turn
    _optional("missing", pa.int16()),
    _optional("turns_left", pa.int16()),
    _optional("optimal_value", pa.float64()),
    _optional("optimal_action_value", pa.float64()),
    _optional("success_if_final", pa.float64()),
    _optional("judge_weight", pa.float64()),  # how a judge weighs the turn, not negative
    _optional("propensity", pa.string()),  # exact | recomputed | estimated | unknown; version 4
)

# One row per call of a language model that played a part in a conversation; version 3.
CALLS = _schema(
    *_LINEAGE,
    _required("policy_version", pa.string()),  # who the assistant was
    _required("who", pa.string()),  # user | business | judge
    _required("call_index", pa.int32()),  # counts the calls for this part of the conversation
    _required("status", pa.string()),  # answered | abstained | timed_out | failed
    _optional("cause", pa.string()),  # why there is no answer
    _optional("refused", pa.string()),  # why an answer was not used
    _required("tries", pa.int32()),
    _required("prompt_tokens", pa.int64()),
    _required("completion_tokens", pa.int64()),
    _optional("cost_usd", pa.float64()),  # null: no price is known
    _required("model", pa.string()),  # as the server calls it; empty where it said nothing
    _optional("note", pa.string()),  # what the model said for itself: a thought, a rationale
)

# Log rows that could not become a conversation: accepted + quarantined + duplicate = read.
QUARANTINE = _schema(
    _required("source_file", pa.string()),
    _required("source_row", pa.int64()),
    _required("disposition", pa.string()),  # quarantined | duplicate
    _required("reason", pa.string()),
    _required("raw", pa.string()),
)

# What a conversation of an imported log was called there; version 5.
LOGGED_IDS = _schema(
    _required("conversation_id", pa.string()),
    _required("logged_id", pa.string()),
)

# One row per outcome that was joined later and met a conversation; version 5.
OUTCOMES = _schema(
    *_LINEAGE,
    _required("joined", pa.int32()),  # the revision of the rollouts that it came with, from 1
    _required("source_file", pa.string()),
    _required("source_row", pa.int64()),
    _required("disposition", pa.string()),  # accepted | duplicate | contradicting
    _optional("turn_index", pa.int16()),  # null: said of the whole conversation
    _optional("outcome", pa.float64()),  # null with a reason, never 0 for unknown
    _optional("outcome_reason", pa.string()),
    _optional("time_s", pa.float64()),  # since 1970, when it was seen
    _required("source", pa.string()),  # who says so
    _optional("raw", pa.string()),  # the text of a row that is not accepted
)

# One row per conversation of the iteration: kept for training, or dropped under one named rule.
CURATED = _schema(
    *_LINEAGE,
    _required("group_id", pa.string()),
    _required("policy_version", pa.string()),
    _required("kept", pa.bool_()),
    _optional("drop_reason", pa.string()),
    _required("group_size", pa.int32()),
    _required("group_kept", pa.int32()),
    _required("fold", pa.string()),  # train | heldout, by group
    _optional("outcome", pa.float64()),
    _optional("reward", pa.float64()),  # outcome minus the token cost
    _required("n_turns", pa.int16()),
    _required("assistant_tokens", pa.int32()),
)

# One row per kept turn: what the implicit process reward model says.
TURN_SCORES = _schema(
    _required("conversation_id", pa.string()),
    _required("turn_index", pa.int16()),
    _required("reward_version", pa.string()),
    _required("ref_version", pa.string()),
    _required("score", pa.float64()),  # beta times the summed log-ratio of the turn
    _required("response_tokens", pa.int32()),
    _optional("token_scores", pa.list_(pa.float32())),  # its terms, one per token that was scored
)

# One row per kept turn: what the Q-function or critic says; null where its kind has no such figure.
TURN_VALUES = _schema(
    _required("conversation_id", pa.string()),
    _required("turn_index", pa.int16()),
    _required("q_version", pa.string()),
    _optional("value", pa.float64()),  # V before the turn, a chance
    _optional("return_value", pa.float64()),  # V of a stream of turn rewards, on its own scale
    _optional("log_ratio", pa.float64()),  # beta times the turn's centred log-ratio, logits
    _optional("q", pa.float64()),  # Q after the turn less pessimism, a chance
    _optional("q_std", pa.float64()),  # spread of q over the members
)

# What SQL cannot compute about a turn; an input of the credit SQL, never committed.
TURN_INPUTS = _schema(
    _required("conversation_id", pa.string()),
    _required("turn_index", pa.int16()),
    _required("dirichlet_draw", pa.float64()),
    _optional("oracle_advantage", pa.float64()),
)

# One row per kept turn: every credit side by side on the same conversations.
CREDIT_METHODS = ("outcome", "itpo", "norm_itpo", "norm_itpo_share", "uniform", "dirichlet", "oracle_pi")
CREDITS = _schema(
    _required("conversation_id", pa.string()),
    _required("turn_index", pa.int16()),
    _required("group_id", pa.string()),
    _required("policy_version", pa.string()),
    _optional("turn_kind", pa.string()),
    _required("response_tokens", pa.int32()),
    _optional("score", pa.float64()),
    *(_optional(f"credit_{method}", pa.float64()) for method in CREDIT_METHODS),
    *(_optional(f"advantage_{method}", pa.float64()) for method in CREDIT_METHODS),
    _optional("credit", pa.float64()),  # turn reward of the algorithm that trains
    _required("advantage", pa.float64()),  # of the algorithm that trains
    _optional("token_advantages", pa.list_(pa.float32())),  # null: every token has the turn's advantage
    _required("algorithm", pa.string()),  # the one that trains; not the configured one behind a closed gate
)

# What torch makes of the kept turns for the algorithm that trains; an input of the credit SQL.
TRAINED = _schema(
    _required("conversation_id", pa.string()),
    _required("turn_index", pa.int16()),
    _required("credit", pa.float64()),
    _required("advantage", pa.float64()),
    _optional("token_advantages", pa.list_(pa.float32())),
)

# One row per figure of the credit lab: of one method, of one turn index of it, or of it against another.
LAB = _schema(
    _required("figure", pa.string()),
    _required("method", pa.string()),
    _required("against", pa.string()),  # the other method of a pair, else empty
    _required("turn_index", pa.int16()),  # -1: of all turns
    _optional("value", pa.float64()),
    _optional("reason", pa.string()),  # why there is no value
)

# One row per optimiser step or per named figure of a stage.
METRICS = _schema(
    _required("stage", pa.string()),
    _required("step", pa.int64()),
    _required("name", pa.string()),
    _required("value", pa.float64()),
)

# One row per figure of a step of an experiment; a figure in words has a label in place of a value.
MEASUREMENTS = _schema(
    _required("arm", pa.string()),
    _required("seed", pa.int64()),
    _required("step", pa.int32()),
    _required("name", pa.string()),
    _optional("value", pa.float64()),
    _optional("label", pa.string()),
)

SCHEMAS = MappingProxyType(
    {
        "conversations": CONVERSATIONS,
        "turns": TURNS,
        "calls": CALLS,
        "quarantine": QUARANTINE,
        "logged_ids": LOGGED_IDS,
        "outcomes": OUTCOMES,
        "curated": CURATED,
        "turn_scores": TURN_SCORES,
        "turn_values": TURN_VALUES,
        "turn_inputs": TURN_INPUTS,
        "trained": TRAINED,
        "classic": CREDITS,  # what sql/credits.sql selects; like the two before it never committed
        "credits": CREDITS,
        "lab": LAB,
        "metrics": METRICS,
        "measurements": MEASUREMENTS,
    }
)
