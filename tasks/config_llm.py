"""Sections [user], [judge], [business] and [cassettes]: language models that play a part in conversations."""

import json
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, model_validator

from tasks.config_engine import HttpAddress, VariableName
from tasks.config_evaluate import Evaluate
from tasks.config_parts import NonNegative, Positive, PositiveFloat, Section


class Endpoint(Section):
    """A model behind an OpenAI-compatible API, and how it is asked.

    - `address` up to and with the version; `api_key_env` names the variable that holds the key, which is in
      no file, message or commit. `answer_form` is how a server is asked for an object: see docs/llm.md.
    - `asks`: questions for one answer that code can use. `tries` and `deadline_s` (seconds) are of one
      question, which is asked again by itself while the server fails. `concurrency` calls at once.
    - `served_model`: the name that answers have to come from; left out, that of the first answer. A call
      that another one answers fails, or with `model_change = "note"` is taken (calls.model tells which).
    - prices per million tokens; without them cost is unknown, and `cost_cap_usd`, which is of one shard or
      arm, cannot hold.
    """

    later = frozenset({"served_model", "model_change"})
    places = frozenset({"address", "api_key_env", "concurrency", "deadline_s", "tries", "cost_cap_usd"})
    address: HttpAddress = "http://127.0.0.1:8000/v1"
    api_key_env: VariableName | None = None
    model: Annotated[str, Field(min_length=1)] = "model"
    served_model: str = ""
    model_change: Literal["fail", "note"] = "fail"
    answer_form: Literal["json_schema", "json_object", "text"] = "json_schema"
    temperature: NonNegative = 0.7
    max_tokens: Positive = 256
    asks: Positive = 3
    tries: Positive = 5
    deadline_s: PositiveFloat = 120.0
    concurrency: Positive = 32
    prompt_usd: NonNegative | None = None  # per million tokens
    completion_usd: NonNegative | None = None
    cost_cap_usd: PositiveFloat | None = None

    @model_validator(mode="after")
    def _priced(self) -> "Endpoint":
        if (self.prompt_usd is None) != (self.completion_usd is None):
            raise ValueError("prompt_usd and completion_usd belong together: set both or neither")
        if self.cost_cap_usd is not None and self.prompt_usd is None:
            raise ValueError(
                f"cost_cap_usd {self.cost_cap_usd:g} cannot hold without prices: set prompt_usd and "
                "completion_usd"
            )
        return self


class User(Endpoint):
    """Who plays the users: the domain's own rules, or a model.

    Its wish to leave counts from the assistant's turn `earliest_leave` on.
    """

    kind: Literal["scripted", "llm"] = "scripted"
    earliest_leave: Positive = 1


class Judge(Endpoint):
    """Who scores: the domain's own rule, or a model."""

    kind: Literal["rule", "llm"] = "rule"
    temperature: NonNegative = 0.0


class BusinessModel(Endpoint):
    """The model behind domain.business = "llm"."""


class Cassettes(Section):
    """Calls of these models kept in files of `folder`, or answered from there; a place and never an input.

    "record" begins anew; "continue" records too, and asks nothing that an earlier attempt got an answer to.
    "replay" needs no network, no model and no key, and asks nothing that was not recorded.
    """

    mode: Literal["off", "record", "continue", "replay"] = "off"
    folder: Annotated[str, Field(min_length=1)] = "cassettes"


Models = Mapping[str, Endpoint]


def asked_models(user: User, judge: Judge, *, business: Endpoint | None) -> Models:
    """The sections that are in use, by name; none where everybody goes by rules."""
    found = {"user": user if user.kind == "llm" else None, "judge": judge if judge.kind == "llm" else None}
    return {name: each for name, each in {**found, "business": business}.items() if each is not None}


def model_inputs(models: Models) -> dict[str, str]:
    """What of these sections decides rows, as inputs of a commit: neither addresses nor limits."""
    return {
        name: json.dumps(section.committed(), sort_keys=True, separators=(",", ":"))
        for name, section in models.items()
    }


def unused(models: Models) -> dict[str, Literal[True] | set[str]]:
    """What the configuration's digest leaves out: sections that are not in use, and places of the others."""
    return {
        "cassettes": True,
        **{
            name: set(models[name].places) if name in models else True
            for name in ("user", "judge", "business")
        },
    }


def fault_of_models(models: Models, *, holds_inside: bool) -> str | None:
    """Why these models could not play their part, with the remedy; None when they can."""
    if models and holds_inside:
        return (
            f'openrlhf.rollouts "online" holds conversations inside OpenRLHF: {", ".join(models)} cannot '
            'be a language model: set openrlhf.rollouts to "committed", or let rules play'
        )
    return None


FILE_DOMAINS = ("math", "document", "medical")


def fault_of_file(
    path: str | None, domain: str, *, user: User, judge: Judge, evaluate: Evaluate
) -> str | None:
    """Why a file of scenarios could not be used, with the remedy; None when it can, or none is named."""
    if path is None:
        return None
    named = f"domain.scenarios {path!r}"
    if domain not in FILE_DOMAINS:
        return (
            f"{named}: files are read for {', '.join(FILE_DOMAINS)}, not for {domain!r}; set domain.name to "
            "one of them, or take domain.scenarios out"
        )
    if user.kind != "llm":
        return (
            f"{named} needs users that are language models: rules can only play scenarios that a grammar "
            'made; set user.kind to "llm", or take domain.scenarios out'
        )
    if domain == "medical" and judge.kind != "llm":
        return (
            f"{named} needs a judge that is a language model: no rule scores a diagnosis in free words; set "
            'judge.kind to "llm"'
        )
    if evaluate.second_family is not None:
        return (
            f"evaluate.second_family {evaluate.second_family!r} goes by rules, which cannot play the "
            f"scenarios of {named}; take one of the two out"
        )
    return None
