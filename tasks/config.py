"""The whole configuration of an experiment: typed, frozen, loaded from TOML, hashed by section.

Unknown keys and wrong types are refused with the offending value. No heavy import lives here, so a form, a
scheduler or `--help` can load it at once.
"""

import hashlib
import json
import os
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, ValidationError, model_validator

from tasks.config_collect import Collect
from tasks.config_credit import ADVANTAGES as ADVANTAGES
from tasks.config_credit import Algorithm as Algorithm
from tasks.config_credit import Credit, Q, fault_of_pair
from tasks.config_engine import PLACES, Engine, EngineName, fault_of_engine
from tasks.config_evaluate import Decide, Evaluate, fault_of_family
from tasks.config_llm import (
    BusinessModel,
    Cassettes,
    Judge,
    Models,
    User,
    asked_models,
    fault_of_file,
    fault_of_models,
    model_inputs,
    unused,
)
from tasks.config_logs import Logs as Logs
from tasks.config_logs import Outcomes as Outcomes
from tasks.config_offline import NO_DOMAIN, Offline, fault_of_offline
from tasks.config_openrlhf import OpenRlhf, fault_of_cluster
from tasks.config_parts import Bytes, Fraction, NonNegative, Positive, PositiveFloat, Section
from tasks.config_ray import Ray
from tasks.config_train import Train as Train
from tasks.config_train import fault_of_step
from tasks.config_warm_start import WarmStart as WarmStart

EXPERIMENT_PATTERN = r"^[a-z0-9][a-z0-9_-]{0,62}$"
ExperimentName = Annotated[str, StringConstraints(pattern=EXPERIMENT_PATTERN)]


class ConfigError(ValueError):
    """The configuration is unusable; the message names the value and the remedy."""


class Lake(Section):
    """Where the data lives: a plain path, `file:///…`, or `s3://bucket/prefix` (see docs/s3.md)."""

    root: str = "lake"
    # "single_writer": for a store without conditional writes, where one process at a time may write.
    commit_mode: Literal["conditional", "single_writer"] = "conditional"
    lease_ttl_s: PositiveFloat = 60.0  # how long work of a machine that went silent is waited for
    # What DuckDB may use in every query; threads None: one per core, spill None: the system's own folder.
    threads: Positive | None = None
    memory_limit: Bytes = "2GB"
    spill: str | None = None
    max_spill: Bytes = "10GB"
    reader: Literal["auto", "httpfs", "s3fs", "pyarrow"] = "auto"  # how DuckDB reads s3://, see docs/sql.md


class Domain(Section):
    """Which environment, and how hard."""

    later = frozenset({"business", "business_accepts", "business_edits", "max_turns"})
    places = frozenset({"scenarios"})  # the file's bytes are an input of what is made with it
    name: Literal["sales", "document", "medical", "math", "logs"] = "sales"  # "logs": none of them
    preset: Literal["small", "hard"] = "small"
    scenarios: str | None = None  # a file of the user's own scenarios in the place of drawn ones
    # A person between policy and customer sends a suggestion verbatim, edits it, or (the rest) ignores it.
    business: Literal["none", "scripted", "llm"] = "none"  # "llm": the model of [business]
    business_accepts: Fraction = 0.6
    business_edits: Fraction = 0.25
    max_turns: Positive | None = None  # of the assistant, for "logs"; the others have their own

    @model_validator(mode="after")
    def _chances(self) -> "Domain":
        if self.business_accepts + self.business_edits > 1 + 1e-9:
            raise ValueError(
                f"domain.business_accepts {self.business_accepts} and domain.business_edits "
                f"{self.business_edits} are more than 1 together"
            )
        return self


class Model(Section):
    """The policy network: a built-in size, or a folder of any Hugging Face causal LM with a chat template."""

    later = frozenset({"template"})
    size: Literal["xs", "s", "m", "l"] = "xs"
    folder: str | None = None
    max_context_tokens: Positive = 256
    template: Literal["strict", "keep_sampled_ids"] = "strict"  # see docs/templates.md


class Sampling(Section):
    """How the policy is sampled, in rollouts and in evaluation alike."""

    temperature: NonNegative = 1.0
    top_p: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    max_new_tokens: Positive = 16


class Curate(Section):
    """Which conversations may train, and what their reward is: the outcome less what its tokens cost.

    A conversation of `overlong_limit` tokens of the assistant or more loses 1 of its reward (never of its
    outcome), one of `overlong_limit - overlong_buffer` or fewer nothing, between them it falls in a line.
    """

    later = frozenset({"overlong_limit", "overlong_buffer"})
    token_cost: NonNegative = 0.002
    heldout_permille: Annotated[int, Field(ge=0, le=500)] = 100
    min_group: Annotated[int, Field(ge=2)] = 2
    drop_duplicates: bool = False
    overlong_limit: Positive | None = None  # None: no length is too long
    overlong_buffer: Positive | None = None

    @model_validator(mode="after")
    def _limit_with_buffer(self) -> "Curate":
        limit, buffer = self.overlong_limit, self.overlong_buffer
        if (limit is None) != (buffer is None):
            raise ValueError(
                f"curate.overlong_limit {limit} and curate.overlong_buffer {buffer} belong together: "
                "set both or neither"
            )
        if limit is not None and buffer is not None and buffer > limit:
            raise ValueError(
                f"curate.overlong_buffer {buffer} is longer than curate.overlong_limit {limit}: "
                "make it at most as long"
            )
        return self


class Reward(Section):
    """The implicit process reward model."""

    beta: PositiveFloat = 0.2
    learning_rate: PositiveFloat = 3e-4
    first_epochs: Positive = 4
    epochs: Positive = 1
    minibatch: Positive = 64
    replay_iterations: Annotated[int, Field(ge=0)] = 1
    reference: Literal["initial", "collector"] = "initial"
    score: Literal["after_update", "before_update"] = "after_update"
    min_heldout_auc: Fraction = 0.55
    folds: Literal[1, 2] = 1  # 2: every turn is scored by a model that has not learnt its conversation
    intercept: bool = False  # a learned base rate: then prefix values are calibrated from the first turn on

    @model_validator(mode="after")
    def _one_way_to_be_blind(self) -> "Reward":
        if self.folds == 2 and self.score == "before_update":
            raise ValueError(
                'reward.folds 2 with reward.score "before_update": the model before its update has not '
                "learnt these conversations anyway; set one of the two back"
            )
        return self


class Improve(Section):
    """The improvement step of `iterative_ppo`: fresh turns at visited histories, with Q as reward.

    Per iteration, `learning_rate_decay` multiplies the rate and `kl_growth` the weight of the penalty. How
    turns are drawn is [sampling]'s, how pessimistic Q is [q]'s. The step is given up when the mean divergence
    of the last `abort_window` steps passes `abort_divergence` (nats per token).
    """

    # "ignored" steps under a Q that has proven nothing: for controls and trials; the evidence says so.
    gate: Literal["required", "ignored"] = "required"
    passes: Positive = 4
    conversations_per_pass: Positive = 256
    conversations_per_step: Positive = 16
    draws: Annotated[int, Field(ge=2)] = 4  # fresh turns at every history
    learning_rate: PositiveFloat = 7e-4
    learning_rate_decay: Annotated[float, Field(gt=0.0, le=1.0)] = 0.75
    kl_weight: NonNegative = 0.6
    kl_growth: Annotated[float, Field(ge=1.0)] = 1.25
    clip_low: PositiveFloat = 0.5
    clip_high: PositiveFloat = 0.5
    advantage_limit: PositiveFloat = 4.0
    unclosed_margin: NonNegative = 0.5  # a turn that was cut gets the worst reward less so many spreads
    abort_divergence: PositiveFloat = 0.3
    abort_window: Positive = 10
    doubly_robust: bool = False  # train on the logged turns too, with what really came of them
    max_gradient_norm: PositiveFloat = 1.0
    micro_batch: Positive | None = None  # conversations per forward; None: those of a step


class Config(Section):
    """An experiment from logs to policy. `seed` is the root of every random choice."""

    experiment: ExperimentName
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    lake: Lake = Lake()
    domain: Domain = Domain()
    logs: Logs = Logs()
    outcomes: Outcomes = Outcomes()
    model: Model = Model()
    sampling: Sampling = Sampling()
    collect: Collect = Collect()
    engine: Engine = Engine()
    curate: Curate = Curate()
    warm_start: WarmStart = WarmStart()
    offline: Offline = Offline()  # logs of no domain
    reward: Reward = Reward()
    q: Q = Q()
    credit: Credit = Credit()
    train: Train = Train()
    improve: Improve = Improve()
    evaluate: Evaluate = Evaluate()
    user: User = User()
    judge: Judge = Judge()
    business: BusinessModel = BusinessModel()
    cassettes: Cassettes = Cassettes()
    decide: Decide = Decide()
    ray: Ray = Ray()
    openrlhf: OpenRlhf | None = None  # the cluster on which a policy is trained, if there is one

    @model_validator(mode="after")
    def _exploring_samples(self) -> "Config":
        if self.collect.explore_share > 0 and self.sampling.temperature == 0:
            raise ValueError(
                "collect.explore_share needs a policy that samples: set sampling.temperature above 0"
            )
        return self

    @model_validator(mode="after")
    def _valued(self) -> "Config":
        fault = fault_of_pair(self.credit, self.q)
        if fault is not None:
            raise ValueError(fault)
        return self

    @model_validator(mode="after")
    def _improvable(self) -> "Config":
        if self.credit.algorithm.value != "iterative_ppo":
            return self
        if self.q.kind == "value":
            raise ValueError(
                'iterative_ppo needs a Q that tells turns apart: set q.kind to another than "value"'
            )
        if self.q.reference == "initial":
            raise ValueError(
                "iterative_ppo compares fresh turns with the policy that collected: "
                'set q.reference to "collector"'
            )
        if self.sampling.temperature == 0:
            raise ValueError(
                "iterative_ppo draws several turns at a history: set sampling.temperature above 0"
            )
        if self.sampling.top_p < 1:
            raise ValueError(
                f"sampling.top_p {self.sampling.top_p} with iterative_ppo, which draws its turns by "
                "temperature alone: set sampling.top_p to 1, or choose another credit.algorithm"
            )
        return self

    @model_validator(mode="after")
    def _steppable(self) -> "Config":
        fault = fault_of_step(self.train, self.credit) or fault_of_family(self.evaluate, self.decide)
        if fault is not None:
            raise ValueError(fault)
        return self

    @model_validator(mode="after")
    def _fits_the_cluster(self) -> "Config":
        fault = fault_of_cluster(
            self.openrlhf,
            self.credit,
            train=self.train,
            max_new_tokens=self.sampling.max_new_tokens,
            max_context_tokens=self.model.max_context_tokens,
            temperature=self.sampling.temperature,
        )
        if fault is not None:
            raise ValueError(fault)
        return self

    @model_validator(mode="after")
    def _playable(self) -> "Config":
        holds_inside = (
            self.openrlhf is not None
            and self.openrlhf.rollouts == "online"
            and self.credit.algorithm.value != "iterative_ppo"
        )
        fault = fault_of_models(self.models, holds_inside=holds_inside) or fault_of_offline(
            self.domain.name, paths=self.logs.paths, user=self.user.kind, judge=self.judge.kind
        )
        fault = fault or fault_of_file(
            self.domain.scenarios, self.domain.name, user=self.user, judge=self.judge, evaluate=self.evaluate
        )
        if fault is not None:
            raise ValueError(fault)
        return self

    @model_validator(mode="after")
    def _speakable(self) -> "Config":
        plain = self.sampling.temperature == 1 and self.sampling.top_p == 1 and not self.collect.explore_share
        fault = fault_of_engine(self.engine, self.collect.engine, samples_plainly=plain)
        if fault is not None:
            raise ValueError(fault)
        return self

    @property
    def evaluator(self) -> EngineName:
        """The engine of evaluations."""
        return self.evaluate.engine or self.collect.engine

    @property
    def models(self) -> Models:
        """The sections of language models that play a part in conversations."""
        business = self.business if self.domain.business == "llm" else None
        return asked_models(self.user, self.judge, business=business)

    @property
    def simulation(self) -> dict[str, str]:
        """What of these models decides rows, as inputs of a commit; nothing where rules play."""
        return model_inputs(self.models)

    def section(self, *names: str) -> dict[str, str]:
        """The named sections as canonical JSON texts: the inputs that a stage commits under."""
        sections = dict(self)
        return {name: canonical_json(sections[name].committed()) for name in names}

    @property
    def digest(self) -> str:
        """SHA-256 of everything that can change data; the lake's place, and no cluster, are no part of it."""
        idle = {"lake", "ray", *(() if self.openrlhf is not None else ("openrlhf",))}
        idle |= set() if self.domain.name == NO_DOMAIN else {"offline"}
        idle |= set() if self.outcomes.paths else {"outcomes"}
        places = {"openrlhf": set(OpenRlhf.places)} | PLACES | unused(self.models)
        places |= {} if self.domain.scenarios else {"domain": {"scenarios"}}
        data = self.model_dump(mode="json", exclude=places | dict.fromkeys(idle, True))
        return hashlib.sha256(canonical_json(data).encode()).hexdigest()


def canonical_json(value: Any) -> str:  # Any: whatever JSON can hold
    """One text per value: sorted keys, no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def load(
    path: str | Path, *, overrides: dict[str, Any] | None = None
) -> Config:  # Any: JSON values by dotted key
    """Read a TOML file, apply ITPO_LAKE, then overrides by dotted key, and check everything.

    Raises ConfigError naming the file, the key, the value and what would be accepted.
    """
    data = _read_toml(Path(path))
    if "ITPO_LAKE" in os.environ:
        # Before the options: whoever names a lake on the command line means that one.
        _set(data, ["lake", "root"], os.environ["ITPO_LAKE"])
    for key, value in (overrides or {}).items():
        _set(data, key.split("."), value)
    try:
        return Config.model_validate(data)
    except ValidationError as error:
        raise ConfigError(f"{path}: {_explain(error)}") from None


def checked_experiment(name: str) -> str:
    """The name itself, or ConfigError: it becomes a folder, so no slashes, dots or upper case."""
    if not re.fullmatch(EXPERIMENT_PATTERN, name):
        raise ConfigError(
            f"experiment name {name!r}: use 1 to 63 of a-z, 0-9, '-' and '_', starting with a letter or digit"
        )
    return name


def _read_toml(path: Path) -> dict[str, Any]:  # Any: TOML values
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; the shipped ones are in configs/") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid TOML ({error})") from None


def _set(data: dict[str, Any], keys: list[str], value: Any) -> None:  # Any: JSON values
    for key in keys[:-1]:
        data = data.setdefault(key, {})
    data[keys[-1]] = value


def _explain(error: ValidationError) -> str:
    # What concerns several sections names its keys itself; the whole file behind it would hide them.
    return "; ".join(
        (f"{'.'.join(map(str, item['loc']))} = {item['input']!r}: " if item["loc"] else "") + item["msg"]
        for item in error.errors()
    )
