"""A small world around files of scenarios: logs of a helper who met some, and a policy of its words."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tokenizers import pre_tokenizers

from itpo_core.envs.file_scenarios import FILE_KINDS, instructed
from itpo_core.tiny_policy import create_policy, save_policy
from itpo_core.types import Message, Role, Scenario, Split
from tasks.scenario_files import numbered_rows
from tests.scenario_fixtures import FILES, NAMES

ASKED = ("what do you know ?", "and what else ?")
Talk = tuple[list[Message], float]


def scenarios_of(domain: str, split: Split | None = None) -> list[Scenario]:
    """Those of our file, as the assistant meets them."""
    kind = FILE_KINDS[domain]
    found = kind.read(numbered_rows(FILES / NAMES[domain]))
    return [instructed(each, kind.instruction) for each in found if split in (None, each.split)]


def answers_of(domain: str, scenario: Scenario) -> tuple[str, str]:
    """A right ending of a conversation about it, and a wrong one."""
    latent = json.loads(scenario.latent_json)
    if domain == "math":
        return f"answer: {latent['answer']}", "answer: 1"
    if domain == "document":
        return f"draft: {latent['reference']}", "draft: they live in large families ."
    told = "diagnosis: {diagnosis} recommendation: {recommendation}"
    return told.format(**latent), told.format(diagnosis="migraine", recommendation="rest")


def facts_of(scenario: Scenario) -> list[str]:
    """What the scenario's user knows, a few words at a time."""
    latent = json.loads(scenario.latent_json)
    keys = ("problem", "reference", "description")
    words = next(latent[key] for key in keys if key in latent).split()
    return [" ".join(words[start : start + 5]) for start in range(0, len(words), 5)]


def talks(domain: str, scenarios: Iterable[Scenario]) -> list[Talk]:
    """Every scenario twice: helped after two questions, and answered wrong at once."""
    found: list[Talk] = []
    for scenario in scenarios:
        right, wrong = answers_of(domain, scenario)
        opening, facts = list(scenario.opening), facts_of(scenario)
        asked = [
            message
            for question, fact in zip(ASKED, facts, strict=False)
            for message in (Message(Role.ASSISTANT, question), Message(Role.USER, fact))
        ]
        found.append(([*opening, *asked, Message(Role.ASSISTANT, right)], 1.0))
        found.append(([*opening, Message(Role.ASSISTANT, wrong)], 0.0))
    return found


def write_logs(path: Path, said: Sequence[Talk]) -> Path:
    """The talks as the log file of somebody who knows nothing of scenarios."""
    rows: list[dict[str, Any]] = [  # Any: JSON values
        {"messages": [{"role": each.role, "content": each.content} for each in messages], "outcome": outcome}
        for messages, outcome in said
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def write_policy(folder: Path, domain: str, said: Sequence[Talk]) -> Path:
    """An untrained causal language model with a chat template that knows the words of file and logs."""
    texts = [message.content for messages, _ in said for message in messages]
    texts += [text for each in scenarios_of(domain) for text in (each.latent_json, *answers_of(domain, each))]
    split = pre_tokenizers.Whitespace().pre_tokenize_str
    words = sorted({word for text in texts for word, _ in split(text)})
    model, tokenizer = create_policy(words, "xs", seed=3)
    save_policy(model, tokenizer, folder=folder)
    return folder
