"""The only place where core types and lake rows meet: conversations to rows, and rows back to core types."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from itpo_core.types import Conversation, Message, Role, Scored, Turn, TurnTruth

Row = dict[str, object]


@dataclass(frozen=True, slots=True)
class Lineage:
    """Who made these rows: the columns that every row of a shard shares."""

    experiment: str
    iteration: int
    shard: int
    policy_version: str
    simulator: str
    simulator_version: str
    simulator_digest: str
    judge_version: str
    tokenizer_digest: str = ""
    chat_template_digest: str = ""
    temperature: float = 1.0
    top_p: float = 1.0


def messages_json(messages: Sequence[Message]) -> str:
    """Messages as one JSON text, in order; `tool_calls` and `tool_call_id` only where there are some."""
    records = [message_record(message) for message in messages]
    return json.dumps(records, ensure_ascii=False, separators=(",", ":"))


def messages_from_json(text: str) -> tuple[Message, ...]:
    """The inverse of `messages_json`."""
    return tuple(
        Message(Role(item["role"]), item["content"], item.get("tool_calls"), item.get("tool_call_id"))
        for item in json.loads(text)
    )


def conversation_row(conversation: Conversation, lineage: Lineage) -> Row:
    """One row of the `conversations` dataset. An unscored outcome is null with its reason."""
    outcome, failure = conversation.outcome, conversation.failure
    text = messages_json(conversation.messages)
    return {
        **_lineage_columns(conversation, lineage),
        "group_id": conversation.group_id,
        "sample_index": conversation.sample_index,
        "scenario_id": conversation.scenario.scenario_id,
        "split": conversation.scenario.split.value,
        "persona_id": conversation.scenario.persona_id,
        "seed": conversation.seed,
        "policy_version": lineage.policy_version,
        "simulator": lineage.simulator,
        "simulator_version": lineage.simulator_version,
        "simulator_digest": lineage.simulator_digest,
        "latent_json": conversation.scenario.latent_json,
        "messages_json": text,
        "status": "failed" if failure else "valid",
        "failure_kind": failure.kind.value if failure else None,
        "failure_cause": failure.cause if failure else None,
        "stop_reason": conversation.stop.value,
        "outcome": outcome.value if isinstance(outcome, Scored) else None,
        "outcome_reason": None if isinstance(outcome, Scored) else outcome.reason,
        "n_turns": len(conversation.turns),
        "assistant_tokens": sum(len(turn.response_ids) for turn in conversation.turns),
        "judge_version": lineage.judge_version,
        "transcript_sha256": hashlib.sha256(text.encode()).hexdigest(),
        "source_file": None,
        "source_row": None,
        "user_id": None,
    }


def turn_rows(conversation: Conversation, lineage: Lineage) -> list[Row]:
    """The rows of the `turns` dataset, one per assistant turn, in order."""
    heard = user_texts(conversation.messages)
    tools = tool_names(conversation.messages)
    return [
        _turn_row(conversation, turn, lineage, user_text=heard[turn.turn_index], tools=tools[turn.turn_index])
        for turn in conversation.turns
    ]


def user_texts(messages: Sequence[Message]) -> list[str]:
    """Per assistant message, what users and tools said since the one before, joined by newlines."""
    texts: list[str] = []
    heard: list[str] = []
    for message in messages:
        if message.role is Role.ASSISTANT:
            texts.append("\n".join(heard))
            heard = []
        elif message.role is not Role.SYSTEM:
            heard.append(message.content)
    return texts


def tool_names(messages: Sequence[Message]) -> list[str | None]:
    """Per assistant message, the names of the tools it called, comma-separated; None when it called none."""
    return [_tools(message.tool_calls) for message in messages if message.role is Role.ASSISTANT]


def truths_of(rows: Iterable[Mapping[str, object]]) -> list[TurnTruth]:
    """Turn truths back from rows of `turns` that carry them (every simulated turn does)."""
    return [
        TurnTruth(
            kind=str(row["turn_kind"]),
            missing=_whole(row["missing"]),
            turns_left=_whole(row["turns_left"]),
            optimal_value=_real(row["optimal_value"]),
            optimal_action_value=_real(row["optimal_action_value"]),
            success_if_final=None if row["success_if_final"] is None else _real(row["success_if_final"]),
        )
        for row in rows
    ]


def _turn_row(
    conversation: Conversation, turn: Turn, lineage: Lineage, *, user_text: str, tools: str | None
) -> Row:
    sent = turn.text if turn.sent_text is None else turn.sent_text
    return {
        **_lineage_columns(conversation, lineage),
        "turn_index": turn.turn_index,
        "n_turns": len(conversation.turns),
        "policy_version": lineage.policy_version,
        "tokenizer_digest": lineage.tokenizer_digest,
        "chat_template_digest": lineage.chat_template_digest,
        "temperature": lineage.temperature if turn.temperature is None else turn.temperature,
        "top_p": lineage.top_p,
        "user_text": user_text,
        "assistant_text": sent,
        "suggested_text": turn.text,
        "sent_text": sent,
        "acceptance": turn.acceptance.value,
        "prompt_ids": list(turn.prompt_ids),
        "response_ids": list(turn.response_ids),
        "logprobs": list(turn.logprobs),
        "response_tokens": len(turn.response_ids),
        "finish_reason": turn.finish.value,
        "tool_names": tools,
        **_truth_columns(turn.truth),
    }


def _lineage_columns(conversation: Conversation, lineage: Lineage) -> Row:
    return {
        "experiment": lineage.experiment,
        "iteration": lineage.iteration,
        "shard": lineage.shard,
        "conversation_id": conversation.conversation_id,
    }


def _truth_columns(truth: TurnTruth | None) -> Row:
    return {
        "turn_kind": truth.kind if truth else None,
        "missing": truth.missing if truth else None,
        "turns_left": truth.turns_left if truth else None,
        "optimal_value": truth.optimal_value if truth else None,
        "optimal_action_value": truth.optimal_action_value if truth else None,
        "success_if_final": truth.success_if_final if truth else None,
    }


def message_record(message: Message) -> dict[str, str]:
    """One message as the JSON object that `messages_json` and log files hold."""
    plain = {"role": message.role.value, "content": message.content}
    tools = {"tool_calls": message.tool_calls, "tool_call_id": message.tool_call_id}
    return plain | {name: value for name, value in tools.items() if value is not None}


def _tools(tool_calls: str | None) -> str | None:
    if tool_calls is None:
        return None
    names = [str(call.get("function", call).get("name", "unnamed")) for call in json.loads(tool_calls)]
    return ",".join(names) or None


def _whole(value: object) -> int:
    return int(str(value))


def _real(value: object) -> float:
    return float(str(value))
