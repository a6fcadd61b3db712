"""Names in the configuration become objects, each chosen once from a plain dict; heavy imports are lazy."""

import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from itpo_core.engines.base import Engine, Sampling
from itpo_core.engines.within_context import WithinContext
from itpo_core.envs.catalogue import BUSINESSES, ENVIRONMENTS, Domain
from itpo_core.envs.sales_business import BusinessHabits
from tasks.config import Config, ConfigError
from tasks.config_engine import EngineName
from tasks.from_logs import REMEDY, has_users, is_bare
from tasks.log_users import logged_domain
from tasks.records import Lineage
from tasks.scenario_files import file_domain

if TYPE_CHECKING:
    from itpo_core.tokens import ChatFormat


@dataclass(frozen=True, slots=True)
class Speaker:
    """An engine with the policy loaded, and the digests that identify how text became tokens.

    `spent` says what it has cost so far, by name; nothing for an engine that asks no server. `says_sampling`:
    its log-probabilities, where it gives any, are those of the distribution that it draws from.
    """

    engine: Engine
    tokenizer_digest: str
    chat_template_digest: str
    spent: Callable[[], Mapping[str, int]] = field(default=dict)
    says_sampling: bool = True


def domain(config: Config, *, preset: str | None = None) -> Domain:
    """The environment of the experiment with its oracle, logging policy and business people, if any.

    Of another preset where one is named; ValueError when the domain does not have it.
    """
    chosen = config.domain
    if not has_users(config):
        raise ConfigError(f'domain.name "{chosen.name}": there is nobody to talk to; {REMEDY}')
    if is_bare(config):
        return logged_domain(config)
    preset = chosen.preset if preset is None else preset
    plain = ENVIRONMENTS[chosen.name](preset)
    if chosen.scenarios is not None:
        return file_domain(config, max_turns=plain.environment.max_turns)
    if chosen.business == "none":
        return plain
    if chosen.name not in BUSINESSES:
        raise ConfigError(
            f"domain.business {chosen.business!r}: the domain {chosen.name!r} has no business people, only "
            f'{", ".join(BUSINESSES)} has; set domain.business to "none"'
        )
    habits = BusinessHabits(accepts=chosen.business_accepts, edits=chosen.business_edits)
    return BUSINESSES[chosen.name](plain, preset, habits=habits)


def speaker(config: Config, folder: Path, *, trains: bool = True) -> Speaker:
    """The engine on the policy in `folder`: that of rollouts that train, or that of evaluations."""
    name = config.collect.engine if trains else config.evaluator
    return SPEAKERS[name](config, folder, trains)


def sampling(config: Config) -> Sampling:
    """How tokens are drawn, in rollouts and in evaluation alike."""
    settings = config.sampling
    return Sampling(
        temperature=settings.temperature, top_p=settings.top_p, max_new_tokens=settings.max_new_tokens
    )


def lineage(
    config: Config,
    *,
    iteration: int,
    shard: int,
    policy_version: str,
    speaker: Speaker,
    simulator_digest: str,
    judge_version: str,
) -> Lineage:
    """The columns that name who made the rows; `simulator_digest` is of the users that were met."""
    environment = domain(config).environment
    return Lineage(
        experiment=config.experiment,
        iteration=iteration,
        shard=shard,
        policy_version=policy_version,
        simulator=environment.name,
        simulator_version=environment.version,
        simulator_digest=simulator_digest,
        judge_version=judge_version,
        tokenizer_digest=speaker.tokenizer_digest,
        chat_template_digest=speaker.chat_template_digest,
        temperature=config.sampling.temperature,
        top_p=config.sampling.top_p,
        says_sampling=speaker.says_sampling,
    )


def _transformers(config: Config, folder: Path, trains: bool) -> Speaker:
    from itpo_core.engines.transformers import TransformersEngine
    from itpo_core.tiny_policy import load_policy, suppressed_ids
    from itpo_core.tokens import ChatFormat

    model, tokenizer = load_policy(folder)
    chat = ChatFormat.from_tokenizer(tokenizer, suppressed_ids(model))
    engine = TransformersEngine(model, chat, max_context_tokens=config.model.max_context_tokens)
    return Speaker(_within(config, engine, chat), chat.tokenizer_digest, chat.template_digest)


def _openai_api(config: Config, folder: Path, trains: bool) -> Speaker:
    from itpo_core.engines.openai_api import OpenAiEngine, Served
    from itpo_core.engines.server_calls import CallLimits, ServerCalls
    from itpo_core.tiny_policy import load_chat_format

    chosen, chat = config.engine, load_chat_format(folder)
    limits = CallLimits(chosen.concurrency, deadline_s=chosen.deadline_s, tries=chosen.tries)
    model = chosen.model.replace("{policy}", folder.name)
    engine = OpenAiEngine(
        ServerCalls(chosen.address, limits, api_key(config)),
        Served(model, chosen.dialect, logprobs=chosen.logprobs, needs_tokens=trains),
        chat_format=chat,
        max_context_tokens=config.model.max_context_tokens,
    )
    # Rows that are only evaluated may have the bare model's log-probabilities: of another distribution.
    is_bare = sampling(config).is_plain and not chat.suppressed_ids
    return Speaker(
        _within(config, engine, chat),
        chat.tokenizer_digest,
        chat.template_digest,
        lambda: asdict(engine.cost),
        says_sampling=chosen.logprobs == "processed" or is_bare,
    )


def _vllm(config: Config, folder: Path, trains: bool) -> Speaker:
    try:
        from itpo_core.engines.vllm import VllmEngine, VllmSettings
    except ModuleNotFoundError as error:
        raise ConfigError(
            f'engine "vllm": {error.name} is not installed here; install the extra gpu, '
            'or serve vLLM elsewhere and choose "openai_api"'
        ) from None
    from itpo_core.tiny_policy import load_chat_format

    chosen, chat = config.engine, load_chat_format(folder)
    engine = VllmEngine(
        folder,
        chat,
        max_context_tokens=config.model.max_context_tokens,
        settings=VllmSettings(chosen.memory_share, chosen.dtype, eager=chosen.eager),
    )
    return Speaker(_within(config, engine, chat), chat.tokenizer_digest, chat.template_digest)


def _within(config: Config, engine: Engine, chat: "ChatFormat") -> WithinContext:
    """The engine, with openings that are too long as failures of their own conversations."""
    return WithinContext(engine, chat.opening_ids, max_context_tokens=config.model.max_context_tokens)


def api_key(config: Config) -> str | None:
    """The key from the variable that the configuration names; None where it names none."""
    name = config.engine.api_key_env
    if name is None:
        return None
    if not os.environ.get(name):
        raise ConfigError(f"engine.api_key_env {name!r}: the variable is not set; set it to the server's key")
    return os.environ[name]


SPEAKERS: dict[EngineName, Callable[[Config, Path, bool], Speaker]] = {
    "transformers": _transformers,
    "openai_api": _openai_api,
    "vllm": _vllm,
}
