"""Language models in the parts that the configuration gives them: users, judge, business people."""

import os
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from types import MappingProxyType

from itpo_core.envs.catalogue import Domain
from itpo_core.envs.llm_business import LlmBusinesses
from itpo_core.envs.llm_judge import LlmJudges
from itpo_core.envs.llm_user import LlmUsers, StopContract
from itpo_core.envs.model_truths import Yardstick
from itpo_core.llm.base import Call, LanguageModel, Question
from itpo_core.llm.breaker import BreakerLimits, Breaking
from itpo_core.llm.cassettes import Cassette, Recording, Replaying
from itpo_core.llm.openai_settings import OpenAiSettings, Patience, Prices
from itpo_core.llm.usable import Speaker
from tasks.config import Config, ConfigError
from tasks.config_llm import Endpoint

# The identity of a model is what it is called and how it is asked, not where it is served.
ANYWHERE = "http://anywhere"
AskedModels = Mapping[str, LanguageModel]


class Named:
    """A model under the identity that its section gives it, whatever its address (see `LanguageModel`)."""

    def __init__(self, model: LanguageModel, digest: str) -> None:
        self.digest = digest
        self._model = model

    def ask(self, question: Question) -> Call:
        """See `LanguageModel.ask`."""
        return self._model.ask(question)


def with_models(plain: Domain, config: Config, *, models: AskedModels) -> Domain:
    """The domain with these models in their parts; scenarios, parsers and truths stay its own.

    Raises ValueError for a part that nobody can play in this domain.
    """
    speakers = {name: _speaker(config.models[name], model) for name, model in models.items()}
    name, played = plain.environment.name, plain
    if "user" in speakers:
        contract = StopContract(config.user.earliest_leave)
        users = LlmUsers(plain.environment, speakers["user"], contract=contract)
        oracle = None if plain.oracle is None else Yardstick(plain.oracle)
        played = replace(played, environment=users, oracle=oracle)
    if "judge" in speakers:
        judges = LlmJudges(name, config.domain.preset, speaker=speakers["judge"])
        played = replace(played, judges=judges)
    if "business" in speakers:
        played = replace(played, businesses=LlmBusinesses(speakers["business"]))
    return played


def described(plain: Domain, config: Config) -> Domain:
    """The same with models that are never asked: what rows and commits say of them."""
    silent = {name: Replaying(Cassette(), digest=identity(each)) for name, each in config.models.items()}
    return with_models(plain, config, models=silent)


@contextmanager
def asked_models(config: Config, tape: Cassette) -> Generator[AskedModels]:
    """The models by section for as long as the block lasts: live, recorded onto the tape, or from it."""
    with ExitStack() as stack:
        yield {
            name: SOURCES[config.cassettes.mode](name, section, tape, stack)
            for name, section in config.models.items()
        }


def identity(section: Endpoint) -> str:
    """Identifies a section's model without its address."""
    return replace(settings_of(section), address=ANYWHERE).digest


def settings_of(section: Endpoint) -> OpenAiSettings:
    """The section as the client takes it."""
    prices = None
    if section.prompt_usd is not None and section.completion_usd is not None:
        prices = Prices(section.prompt_usd, section.completion_usd)
    patience = Patience(deadline_s=section.deadline_s, try_s=section.deadline_s, tries=section.tries)
    return OpenAiSettings(
        section.address,
        section.model,
        answer_form=section.answer_form,
        served_model=section.served_model,
        model_change=section.model_change,
        patience=patience,
        concurrency=section.concurrency,
        prices=prices,
    )


def _speaker(section: Endpoint, model: LanguageModel) -> Speaker:
    return Speaker(
        model,
        identity(section),
        temperature=section.temperature,
        max_tokens=section.max_tokens,
        asks=section.asks,
    )


def _live(name: str, section: Endpoint, tape: Cassette, stack: ExitStack) -> LanguageModel:
    from itpo_core.llm.openai_model import OpenAiModel
    from itpo_core.llm.spending import Spending

    spending = Spending(section.cost_cap_usd)
    model = OpenAiModel(settings_of(section), api_key=_key(name, section), spending=spending)
    stack.callback(model.close)
    return Named(Breaking(model, BreakerLimits()), identity(section))


def _recorded(name: str, section: Endpoint, tape: Cassette, stack: ExitStack) -> LanguageModel:
    return Recording(_live(name, section, tape, stack), tape)


def _replayed(name: str, section: Endpoint, tape: Cassette, stack: ExitStack) -> LanguageModel:
    return Replaying(tape, digest=identity(section))


SOURCES = MappingProxyType({"off": _live, "record": _recorded, "continue": _recorded, "replay": _replayed})


def _key(name: str, section: Endpoint) -> str | None:
    variable = section.api_key_env
    if variable is None:
        return None
    if not os.environ.get(variable):
        raise ConfigError(f"{name}.api_key_env {variable!r}: the variable is not set; set it to the key")
    return os.environ[variable]
