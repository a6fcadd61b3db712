"""Sections [credit] and [q]: which turn reward trains, by which estimator, and what both need.

The names are those of `itpo_core.credit`, which this file may not import (it is heavy); a test compares them.
"""

from enum import StrEnum
from typing import Annotated, Literal, get_args

from pydantic import Field, model_validator

from tasks.config_parts import Fraction, NonNegative, Positive, PositiveFloat, Section


class Algorithm(StrEnum):
    """The turn reward that trains the policy (see README, glossary)."""

    NORM_ITPO_SHARE = "norm_itpo_share"
    OUTCOME = "outcome"
    ITPO = "itpo"
    NORM_ITPO = "norm_itpo"
    NORM_ITPO_SIGNED = "norm_itpo_signed"
    ITPO_PLUS_OUTCOME = "itpo_plus_outcome"
    IMMEDIATE_PLUS_OUTCOME = "immediate_plus_outcome"
    PRIME_TOKEN = "prime_token"
    PREFIX_VALUE = "prefix_value"
    DUELING_ADVANTAGE = "dueling_advantage"
    UNIFORM = "uniform"
    DIRICHLET = "dirichlet"
    DIRICHLET_MATCHED = "dirichlet_matched"
    JUDGE = "judge"
    ORACLE_PI = "oracle_pi"
    ORACLE_STAR = "oracle_star"
    ITERATIVE_PPO = "iterative_ppo"  # trains on fresh turns under Q; its credit is a record


# What the reward model says of turns goes into these; while its gate is closed the outcome stands in.
NEEDS_SCORES = frozenset(
    {
        Algorithm.ITPO,
        Algorithm.NORM_ITPO,
        Algorithm.NORM_ITPO_SHARE,
        Algorithm.NORM_ITPO_SIGNED,
        Algorithm.ITPO_PLUS_OUTCOME,
        Algorithm.IMMEDIATE_PLUS_OUTCOME,
        Algorithm.PRIME_TOKEN,
        Algorithm.DIRICHLET_MATCHED,
    }
)
# Turn rewards that go through GAE by themselves: their critic is fitted to them and not to the outcome.
STREAMS = frozenset({Algorithm.ITPO, Algorithm.NORM_ITPO, Algorithm.NORM_ITPO_SIGNED, Algorithm.PRIME_TOKEN})
NEEDS_LOG_RATIOS = frozenset({Algorithm.DUELING_ADVANTAGE, Algorithm.ITERATIVE_PPO})
# Signals made by Q; while its gate is closed the outcome stands in. (The step of iterative_ppo has its own.)
NEEDS_GOOD_Q = frozenset({Algorithm.DUELING_ADVANTAGE, Algorithm.PREFIX_VALUE})
Advantage = Literal["grpo", "rloo", "ppo", "reinforce_pp", "reinforce_pp_baseline"]
ADVANTAGES: tuple[str, ...] = get_args(Advantage)
QKind = Literal["auto", "dueling_logratio", "scalar_head", "implicit_prm", "value"]


class Q(Section):
    """The turn-level Q-function, or the critic: fitted to raw outcomes, or to a stream of turn rewards.

    `kind` "auto" is what the algorithm needs. A critic gives advantages to the very conversations that it is
    fitted to, so that it is cross-fitted unless told otherwise.

    `reference` is what its log-ratio compares with. A fit that starts fresh, from the collecting policy, runs
    `first_epochs`; one that continues from the Q of the iteration before runs `epochs`.
    """

    kind: QKind = "auto"
    beta: PositiveFloat = 1.0
    learning_rate: PositiveFloat = 3e-4
    head_learning_rate: PositiveFloat = 2e-3
    start: Literal["fresh", "continue"] = "fresh"
    first_epochs: Positive = 3
    epochs: Positive = 1
    minibatch: Positive = 64
    replay_iterations: Annotated[int, Field(ge=0)] = 0
    reference: Literal["collector", "initial"] = "collector"
    targets: Literal["monte_carlo", "td_lambda"] = "monte_carlo"
    td_lambda: Fraction = 0.9  # used with targets = "td_lambda"
    gamma: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    members: Positive = 1
    pessimism: NonNegative = 0.5  # Q is the members' mean less so many of their standard deviations
    # Every turn is valued by a model that has not learnt its conversation; None: a critic's, iterative_ppo's.
    cross_fit: bool | None = None
    min_heldout_conversations: Annotated[int, Field(ge=2)] = 200
    min_heldout_improvement: float = 0.0  # nats per turn below the base rate's cross-entropy

    @model_validator(mode="after")
    def _fits_together(self) -> "Q":
        if self.cross_fit and self.members > 1:
            raise ValueError(f"q.cross_fit with q.members {self.members}: set one of the two back")
        if self.kind == "scalar_head" and self.targets == "td_lambda":
            raise ValueError(
                'q.kind "scalar_head" has no value before a turn: use q.targets "monte_carlo" or another kind'
            )
        return self


class Credit(Section):
    """From scores to advantages; `itpo_core.credit.CreditMethod` says what the choices mean.

    `std` is of grpo; `gamma` and `gae_lambda` are of ppo. `std_floor`, `outcome_weight` and `signal_weight`
    left out: those of the profile and of the algorithm.
    """

    later = frozenset(
        {
            "std",
            "to_go",
            "profile",
            "std_floor",
            "outcome_weight",
            "signal_weight",
            "gamma",
            "gae_lambda",
            "gae_level",
            "score_scale",
        }
    )
    algorithm: Algorithm = Algorithm.NORM_ITPO_SHARE
    advantage: Advantage = "grpo"
    std: Literal["group", "batch", "none"] = "group"
    to_go: Literal["auto", "reward_to_go", "immediate"] = "auto"
    profile: Literal["safe", "verl", "skyrl", "trl", "openrlhf", "nemo_rl", "itpo_reference"] = "safe"
    share: Fraction = 0.5
    temperature: PositiveFloat = 0.4
    std_floor: PositiveFloat | None = None
    outcome_weight: float | None = None
    signal_weight: float | None = None
    gamma: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    gae_lambda: Fraction = 0.95
    gae_level: Literal["turn", "token"] = "turn"
    score_scale: Literal["auto", "none", "batch_max", "running_std"] = "auto"

    @model_validator(mode="after")
    def _fits_together(self) -> "Credit":
        fault = fault_of_credit(self)
        if fault is not None:
            raise ValueError(fault)
        return self

    @property
    def needs_critic(self) -> bool:
        """Whether the estimator asks for a value before every turn."""
        return self.advantage == "ppo"

    @property
    def has_stream_critic(self) -> bool:
        """Whether the critic is one of turn rewards, which go through GAE by themselves."""
        return self.needs_critic and self.algorithm in STREAMS

    @property
    def needs_q(self) -> bool:
        """Whether something has to be fitted by `fit_q` before credit can be given."""
        return self.needs_critic or self.algorithm in NEEDS_LOG_RATIOS | NEEDS_GOOD_Q


def q_kind(credit: Credit, q: Q) -> str:
    """The kind to fit: the configured one, or what the algorithm and the estimator need."""
    if q.kind != "auto":
        return q.kind
    only_values = credit.needs_critic or credit.algorithm is Algorithm.PREFIX_VALUE
    return "value" if only_values and credit.algorithm not in NEEDS_LOG_RATIOS else "dueling_logratio"


def is_cross_fitted(credit: Credit, q: Q) -> bool:
    """As configured; left open, a critic is, whose values become advantages of what it is fitted to, and so
    is the Q of `iterative_ppo`, whose gate can then judge every conversation by a Q that never saw it."""
    if q.cross_fit is not None:
        return q.cross_fit
    blind = q_kind(credit, q) == "value" or credit.algorithm is Algorithm.ITERATIVE_PPO
    return blind and q.members == 1


def fault_of_credit(credit: Credit) -> str | None:
    """Why these choices cannot work together, with the remedy; None when they can."""
    name, advantage = credit.algorithm.value, credit.advantage
    faults = {
        'credit.gae_level "token" needs a critic of every token, and the critic that is fitted here values '
        'whole turns: use "turn"': credit.gae_level == "token",
        f'credit.to_go "immediate" with credit.advantage "{advantage}": GAE sums to go by its lambda; lower '
        "credit.gae_lambda": credit.to_go == "immediate" and advantage == "ppo",
        'credit.to_go "immediate" with prime_token, a reward-to-go over tokens: use "auto", or itpo': (
            credit.to_go == "immediate" and credit.algorithm is Algorithm.PRIME_TOKEN
        ),
        f'credit.profile "itpo_reference" knows credit.advantage "rloo" on rewards to go alone, not '
        f'"{advantage}" with credit.to_go "{credit.to_go}": choose those, or another profile': (
            credit.profile == "itpo_reference" and (advantage != "rloo" or credit.to_go == "immediate")
        ),
        f'credit.std "{credit.std}" is a choice of credit.advantage "grpo", not of "{advantage}": leave it '
        "out": credit.std != "group" and advantage != "grpo",
        f"credit.score_scale with {name}, which reads no implicit score: leave it out": (
            credit.score_scale != "auto" and credit.algorithm not in NEEDS_SCORES
        ),
    }
    return next((text for text, is_wrong in faults.items() if is_wrong), None)


def fault_of_pair(credit: Credit, q: Q) -> str | None:
    """Why [credit] cannot work with this [q], with the remedy; None when it can."""
    kind = q_kind(credit, q)
    faults = {
        f'{credit.algorithm.value} needs log-ratios, which q.kind "{kind}" does not have: use "auto"': (
            credit.algorithm is Algorithm.DUELING_ADVANTAGE and kind in ("value", "scalar_head")
        ),
        f'{credit.algorithm.value} with credit.advantage "{credit.advantage}" needs the value before a turn, '
        f'which q.kind "{kind}" does not have: use "auto"': (
            (credit.needs_critic or credit.algorithm is Algorithm.PREFIX_VALUE) and kind == "scalar_head"
        ),
        f"the critic of {credit.algorithm.value} is fitted to turn rewards, which are no chances: use q.kind "
        f'"auto" and q.targets "monte_carlo", not "{kind}" and "{q.targets}"': (
            credit.has_stream_critic and (kind != "value" or q.targets != "monte_carlo")
        ),
        f"q.replay_iterations {q.replay_iterations} with the critic of {credit.algorithm.value}, which "
        "learns this iteration's turn rewards alone: set it to 0": credit.has_stream_critic
        and q.replay_iterations > 0,
        f"q.members {q.members} with the critic of {credit.algorithm.value}: one is enough, set it to 1": (
            credit.has_stream_critic and q.members > 1
        ),
        f"q.gamma {q.gamma} and credit.gamma {credit.gamma}: the critic must discount as GAE does; set both "
        "alike": credit.needs_critic and not credit.has_stream_critic and q.gamma != credit.gamma,
    }
    return next((text for text, is_wrong in faults.items() if is_wrong), None)
