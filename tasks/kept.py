"""Kept conversations of an iteration as labelled token streams; logs are encoded on the way."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from itpo_core.reward_fit import LabelledStreams
from itpo_core.streams import TurnTokens, streams, token_count
from itpo_core.suggestions import policy_view
from itpo_core.tokens import ChatFormat
from itpo_core.types import Message
from storage import commits
from storage.warehouse import run_sql
from tasks.config import ConfigError
from tasks.context import Context
from tasks.records import Row, messages_from_json


class OtherTokenizer(ConfigError):
    """Token ids were made with another tokenizer than the policy's; read by it they are other words."""


@dataclass(frozen=True, slots=True)
class KeptConversation:
    """One conversation that may train, with its turns as tokens and what is known of it."""

    conversation_id: str
    turns: tuple[TurnTokens, ...]
    outcome: float
    fold: str
    group_id: str
    persona_id: str
    latent_json: str


def kept_conversations(context: Context, iteration: int, *, chat: ChatFormat) -> list[KeptConversation]:
    """The iteration's kept conversations, in the order of their ids.

    Raises OtherTokenizer for token ids that are not of the policy's tokenizer.
    """
    rows = _kept_turns(context, iteration)
    return [
        _conversation(list(turns), chat) for _, turns in groupby(rows, key=lambda row: row["conversation_id"])
    ]


def kept_messages(context: Context, iteration: int) -> dict[str, tuple[Message, ...]]:
    """What was said in every kept conversation, by its id; the assistant's turns as the policy had them."""
    rows = _kept_turns(context, iteration)
    return {
        str(name): _as_policy(list(turns))
        for name, turns in groupby(rows, key=lambda row: row["conversation_id"])
    }


def _kept_turns(context: Context, iteration: int) -> list[Row]:
    """One row per turn, in the order of conversations and turns."""
    rollouts, curated = context.read("rollouts", iteration), context.read("curated", iteration)
    relations = {
        name: commits.table_paths(context.store, rollouts, table=name) for name in ("conversations", "turns")
    }
    relations["curated"] = commits.table_paths(context.store, curated, table="curated")
    return run_sql("kept_turns.sql", relations=relations, parameters={}, settings=context.duck).to_pylist()


def fitting(conversations: Sequence[KeptConversation], *, max_tokens: int) -> list[KeptConversation]:
    """Those whose stream fits the context; the others are counted by the caller, never cut."""
    return [each for each in conversations if token_count(each.turns) <= max_tokens]


def labelled(conversations: Sequence[KeptConversation]) -> LabelledStreams:
    """As the reward model takes them."""
    return LabelledStreams(
        streams=streams({each.conversation_id: each.turns for each in conversations}),
        outcomes_B=[each.outcome for each in conversations],
        is_training_B=[each.fold == "train" for each in conversations],
        clusters_B=[each.group_id for each in conversations],
    )


def _conversation(rows: Sequence[Mapping[str, object]], chat: ChatFormat) -> KeptConversation:
    first = rows[0]
    return KeptConversation(
        conversation_id=str(first["conversation_id"]),
        # Logged ids without what was heard before them are no stream; they are encoded like other logs.
        turns=_sampled(rows, chat) if any(row["prompt_ids"] for row in rows) else _encoded(rows, chat),
        outcome=float(str(first["outcome"])),
        fold=str(first["fold"]),
        group_id=str(first["group_id"]),
        persona_id=str(first["persona_id"]),
        latent_json=str(first["latent_json"]),
    )


def _sampled(rows: Sequence[Mapping[str, object]], chat: ChatFormat) -> tuple[TurnTokens, ...]:
    """Token ids as they were sampled, never tokenised again."""
    foreign = {str(row["tokenizer_digest"]) for row in rows} - {chat.tokenizer_digest, ""}
    if foreign:
        raise OtherTokenizer(
            f"conversation {rows[0]['conversation_id']}: its token ids are of tokenizer {min(foreign)[:12]}, "
            f"the policy's is {chat.tokenizer_digest[:12]}: roll out again with the policy that is trained, "
            "or import the conversations as messages"
        )
    return tuple(
        TurnTokens(_list(row["prompt_ids"]), _list(row["response_ids"]), _floats(row["logprobs"]))
        for row in rows
    )


def _encoded(rows: Sequence[Mapping[str, object]], chat: ChatFormat) -> tuple[TurnTokens, ...]:
    """A logged conversation in the policy's own tokens; nobody knows its log-probabilities."""
    return tuple(
        TurnTokens(prompt, response) for prompt, response in chat.encode_conversation(_as_policy(rows))
    )


def _as_policy(rows: Sequence[Mapping[str, object]]) -> tuple[Message, ...]:
    """Where somebody sent something else than was suggested, the suggestion is the turn, as in rollouts."""
    heard: Sequence[Message] = messages_from_json(str(rows[0]["messages_json"]))
    return tuple(policy_view(heard, [str(row["suggested_text"]) for row in rows]))


def _list(value: object) -> list[int]:
    return list(value) if isinstance(value, list) else []


def _floats(value: object) -> list[float]:
    return list(value) if isinstance(value, list) else []
