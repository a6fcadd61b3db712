"""Rows of the export SQL as the records that other programs read. Nothing here reads or writes anything."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from tasks.speakers import LOGGED, claimed_version

Row = Mapping[str, object]
Record = dict[str, object]
# An experiment's name is a folder of the lake; the prefix keeps it apart from public data sets of that name.
SOURCE = "itpo/"


@dataclass(frozen=True, slots=True)
class Origin:
    """The commit that the rows are of; stands in every record."""

    experiment: str
    iteration: int
    kind: str
    commit: str

    def columns(self) -> Record:
        """As columns of a record; `commit` is the data digest."""
        return {
            "experiment": self.experiment,
            "iteration": self.iteration,
            "kind": self.kind,
            "commit": self.commit,
        }


def openai_record(row: Row, origin: Origin) -> Record:
    """A whole conversation as the importer reads it back; what was suggested stands at its messages."""
    known = ("scenario_id", "split", "persona_id", "seed", "stop_reason", "group_id", "sample_index",
             "judge_version", "outcome_reason", "reward")  # fmt: skip
    metadata = {
        "domain": row["simulator"],
        "scenario": row["latent_json"],
        **{name: row[name] for name in known if row[name] is not None},
        **_speaker(row),
        **origin.columns(),
    }
    user = {} if row["user_id"] is None else {"user": row["user_id"]}
    return {
        "id": row["conversation_id"],
        "messages": _suggested(
            messages_of(row),
            _texts(row, "suggested_texts"),
            acceptances=_texts(row, "acceptances"),
            finishes=_texts(row, "finish_reasons"),
        ),
        "outcome": row["outcome"],
        **user,
        "metadata": metadata,
    }


def verl_record(row: Row, origin: Origin) -> Record:
    """A prompt for verl. The ground truth is the hidden facts of the scenario, for who computes a reward."""
    prompt, _ = _parts(row)
    return {
        "data_source": SOURCE + origin.experiment,
        "prompt": prompt,
        "ability": row["simulator"],
        "reward_model": {"style": "rule", "ground_truth": row["latent_json"]},
        "extra_info": {
            "index": row["row_index"],
            "split": row["export_split"],
            **_identity(row),
            **_so_far(row),
            **origin.columns(),
        },
    }


def openrlhf_record(row: Row, origin: Origin) -> Record:
    """A prompt for OpenRLHF: `input` is the message list, `label` what its reward function is given."""
    prompt, _ = _parts(row)
    return {
        "input": prompt,
        "label": row["latent_json"],
        "datasource": SOURCE + origin.experiment,
        **_identity(row),
        **_so_far(row),
        "split": row["export_split"],
        **origin.columns(),
    }


def trl_prompt_record(row: Row, origin: Origin) -> Record:
    """A prompt for TRL's GRPO; its reward functions are given every other column by name."""
    prompt, _ = _parts(row)
    return {
        "prompt": prompt,
        "ground_truth": row["latent_json"],
        **_identity(row),
        **_so_far(row),
        "split": row["export_split"],
        **origin.columns(),
    }


def trl_kto(success: float) -> Callable[[Row, Origin], Record]:
    """Records of TRL's unpaired preference: a turn is liked when its conversation's outcome is that good."""

    def record(row: Row, origin: Origin) -> Record:
        prompt, completion = _parts(row)
        outcome = float(str(row["outcome"]))
        return {
            "prompt": prompt,
            "completion": [completion],
            "label": outcome >= success,
            "outcome": outcome,
            "reward": row["reward"],
            **_identity(row),
            "split": row["export_split"],
            **origin.columns(),
        }

    return record


def prompt_rows(row: Row) -> Iterator[Row]:
    """A row of sql/exports/prompts.sql as one row per prompt, its messages read once."""
    messages = [] if row["messages_json"] is None else messages_of(row)
    prompts = row["prompts"]
    for prompt in prompts if isinstance(prompts, list) else []:
        yield {**row, **prompt, "messages": messages}


def messages_of(row: Row) -> list[Record]:
    """The messages in OpenAI's form: `tool_calls` is a list, where the lake keeps its text."""
    return [_message(item) for item in json.loads(str(row["messages_json"]))]


def _message(item: Mapping[str, object]) -> Record:
    calls = item.get("tool_calls")
    return {**item, "tool_calls": json.loads(calls)} if isinstance(calls, str) else dict(item)


def _parts(row: Row) -> tuple[list[Record], Record]:
    """The prompt, and the assistant's message that follows it."""
    messages, length = row["messages"], int(str(row["prompt_messages"]))
    if not isinstance(messages, list):
        raise TypeError(f"a row of prompts has its messages as a list, not {type(messages).__name__}")
    return messages[:length], messages[length]


def _speaker(row: Row) -> Record:
    """Which version spoke and how its tokens were drawn, for who computes their chances again.

    Of a speaker whom nobody named only the file is known; of tokens drawn in several ways no one way.
    """
    logged = str(row["policy_version"])
    named = claimed_version(logged)
    sampling = {name: row[name] for name in ("temperature", "top_p") if row[name] is not None}
    is_foreign = named is None and logged.startswith(LOGGED)
    return {"policy_version": named or logged, **({} if is_foreign else sampling)}


def _suggested(
    messages: Sequence[Record],
    suggested: Sequence[str],
    *,
    acceptances: Sequence[str],
    finishes: Sequence[str],
) -> list[Record]:
    said = iter(zip(suggested, acceptances, finishes, strict=True))
    return [
        {**message, **_suggestion(*next(said))} if message["role"] == "assistant" else dict(message)
        for message in messages
    ]


def _suggestion(suggested: str, acceptance: str, finish: str) -> Record:
    """Nothing where the policy spoke for itself, to its end."""
    cut = {"finish_reason": finish} if finish == "length" else {}
    said = {} if acceptance == "autonomous" else {"suggested_text": suggested, "acceptance": acceptance}
    return {**said, **cut}


def _identity(row: Row) -> Record:
    names = ("conversation_id", "turn_index", "group_id", "scenario_id", "persona_id", "policy_version")
    return {name: row[name] for name in names}


def _so_far(row: Row) -> Record:
    """How the prompt ended whenever it was met: a prompt stands for all its conversations, not for one."""
    return {"outcomes": row["outcomes"], "mean_outcome": row["mean_outcome"]}


def _texts(row: Row, name: str) -> list[str]:
    value = row[name]
    return [str(each) for each in value] if isinstance(value, list) else []
