"""The scripted logs of a domain, written as the ordinary OpenAI-style log file that they would be."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from itpo_core.envs.catalogue import Domain
from itpo_core.identifiers import derive_seed
from itpo_core.types import Acceptance, Conversation, Role, Scored, Turn
from tasks.config import ConfigError
from tasks.records import message_record

DIRECT_REQUEST = "direct_request"  # persona of a customer who says everything at once


def write_scripted_logs(
    folder: Path, domain: Domain, *, conversations: int, requests: int, seed: int
) -> Path:
    """Write `scripted.jsonl` into the folder (the same bytes for the same arguments) and return its path.

    Direct requests carry the persona `direct_request`, so that a query can tell them apart. Raises
    ConfigError for a domain without a scripted assistant.
    """
    speaker = domain.logging_policy
    if speaker is None:
        raise ConfigError(
            f"the domain {domain.environment.name} has no scripted logs; name files in logs.paths"
        )
    talks = speaker.conversations(count=conversations, seed=derive_seed(seed, "scripted", "conversations"))
    asked = speaker.direct_requests(count=requests, seed=derive_seed(seed, "scripted", "requests"))
    path = folder / "scripted.jsonl"
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(log_lines(talks, asked)), encoding="utf-8")
    return path


def log_lines(talks: Sequence[Conversation], asked: Sequence[Conversation]) -> Iterator[str]:
    """One line per conversation, numbered ids, ordinary talks first."""
    for index, conversation in enumerate(talks):
        yield log_line(
            conversation, logged_id=f"talk-{index:06d}", persona_id=conversation.scenario.persona_id
        )
    for index, conversation in enumerate(asked):
        yield log_line(conversation, logged_id=f"request-{index:06d}", persona_id=DIRECT_REQUEST)


def message_records(conversation: Conversation) -> list[dict[str, str]]:
    """The messages, those of a business person with what had been suggested to him."""
    turns = iter(conversation.turns)
    return [
        message_record(message) | (_suggestion(next(turns)) if message.role is Role.ASSISTANT else {})
        for message in conversation.messages
    ]


def _suggestion(turn: Turn) -> dict[str, str]:
    if turn.acceptance is Acceptance.AUTONOMOUS:
        return {}
    return {"suggested_text": turn.text, "acceptance": turn.acceptance.value}


def log_line(conversation: Conversation, *, logged_id: str, persona_id: str) -> str:
    """One conversation as a line of JSON. A conversation without an outcome has a null one."""
    scenario, outcome = conversation.scenario, conversation.outcome
    row = {
        "id": logged_id,
        "messages": message_records(conversation),
        "outcome": outcome.value if isinstance(outcome, Scored) else None,
        "metadata": {
            "scenario_id": scenario.scenario_id,
            "scenario": scenario.latent_json,
            "domain": scenario.domain,
            "split": scenario.split.value,
            "persona_id": persona_id,
            "seed": conversation.seed,
            "stop_reason": conversation.stop.value,
        },
    }
    return json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n"
