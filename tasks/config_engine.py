"""Section [engine]: who speaks where collect.engine or evaluate.engine is not "transformers"."""

import json
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from tasks.config_parts import Positive, PositiveFloat, Section

EngineName = Literal["transformers", "openai_api", "vllm"]
HttpAddress = Annotated[str, StringConstraints(pattern=r"^https?://[^\s/?#@]+(/[^\s?#@]*)?$")]
VariableName = Annotated[str, StringConstraints(pattern=r"^[A-Z_][A-Z0-9_]*$")]


class Engine(Section):
    """A server that speaks the OpenAI interface ("openai_api"), or vLLM in our own process ("vllm").

    - `address` up to and with the version, such as http://127.0.0.1:8000/v1. `model` as the server calls it;
      `{policy}` in it stands for the name of the policy's folder on this machine, a digest of its commit: a
      server that serves under this name can be no other version. `api_key_env` names the variable that holds
      the key; the key itself is in no file, message or commit.
    - `dialect`: "tokens" sends ids and gets ids; "chat_tokens" sends messages and gets ids; both need vLLM.
      "chat" asks any server for text, which can be evaluated, not trained on.
    - `logprobs`: "processed" when the server runs with --logprobs-mode processed_logprobs, else "raw", which
      is right only at temperature 1, top_p 1, without suppressed tokens.
    - `concurrency` calls at once; each has `deadline_s`; what may pass is tried `tries` times in all.
    - `gap`: the ratio of the trainer's to the engine's probability of a token weighs its loss, truncated at
      `gap_limit`, where the profile corrects nothing itself; "none" corrects nothing. Figures are raw ratios.
    - of "vllm" alone: `memory_share` of the GPU, `dtype`, `eager` (no graphs: a quicker start).
    """

    address: HttpAddress = "http://127.0.0.1:8000/v1"
    model: Annotated[str, Field(min_length=1)] = "policy"
    api_key_env: VariableName | None = None
    dialect: Literal["tokens", "chat_tokens", "chat"] = "tokens"
    logprobs: Literal["raw", "processed"] = "processed"
    concurrency: Positive = 32
    deadline_s: PositiveFloat = 120.0
    tries: Positive = 5
    gap: Literal["truncated", "none"] = "truncated"
    gap_limit: Annotated[float, Field(ge=1.0)] = 2.0
    memory_share: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.9
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    eager: bool = False


# What of the section decides rows, by engine: neither addresses nor limits.
DECIDES: dict[EngineName, frozenset[str]] = {
    "transformers": frozenset(),
    "openai_api": frozenset({"model", "dialect", "logprobs"}),
    "vllm": frozenset({"dtype"}),
}
# What of it changes no data, as the configuration's digest leaves it out.
PLACES = {"engine": {"address", "api_key_env", "concurrency", "deadline_s", "tries", "memory_share", "eager"}}
DECIDES_STEP = frozenset({"gap", "gap_limit"})


def fault_of_engine(engine: Engine, collecting: EngineName, *, samples_plainly: bool) -> str | None:
    """Why rollouts of this engine could not train, with the remedy; None when they can."""
    if collecting != "openai_api":
        return None
    if engine.dialect == "chat":
        return (
            'engine.dialect "chat" gives text without token ids, which cannot train: set it to "tokens", or '
            'collect.engine to "transformers" and evaluate.engine to "openai_api"'
        )
    if engine.logprobs == "raw" and not samples_plainly:
        return (
            'engine.logprobs "raw" are those of temperature 1 and top_p 1: serve with --logprobs-mode '
            'processed_logprobs and set engine.logprobs to "processed"'
        )
    return None


def engine_inputs(engine: Engine, name: EngineName) -> dict[str, str]:
    """What of the section decides the rows that this engine speaks; nothing for the built-in one."""
    return engine_part(engine, DECIDES[name])


def gap_inputs(engine: Engine, collecting: EngineName) -> dict[str, str]:
    """What of the section decides a policy step on rows of the collecting engine."""
    return {} if collecting == "transformers" else engine_part(engine, DECIDES_STEP)


def engine_part(engine: Engine, names: frozenset[str]) -> dict[str, str]:
    """These keys of the section as an input of a commit."""
    chosen = engine.model_dump(mode="json", include=set(names))
    return {"engine": json.dumps(chosen, sort_keys=True, separators=(",", ":"))} if chosen else {}
