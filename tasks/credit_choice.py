"""Which algorithm may give credit, as what choices of `itpo_core.credit`, and where SQL computes the same."""

from typing import TYPE_CHECKING

from storage.commits import Commit
from storage.schemas import CREDIT_METHODS
from tasks.config import Algorithm, Credit
from tasks.config_credit import NEEDS_GOOD_Q, NEEDS_SCORES, q_kind
from tasks.context import Context
from tasks.metrics import figures_of

if TYPE_CHECKING:
    from itpo_core.credit import CreditMethod
    from itpo_core.normalisation import RunningScale

# What `score_scale = "auto"` means for the algorithms that SQL knows too.
OWN_SCALE = {Algorithm.NORM_ITPO: "batch_max"}


def usable_algorithm(context: Context, *, reward: Commit, q: Commit | None = None) -> Algorithm:
    """The configured algorithm, or the sparse outcome while a gate is closed behind which it lies.

    `q` left out, its gate is not asked: a critic of the outcome is fitted before anybody has judged it.
    """
    wanted = context.config.credit.algorithm
    if wanted in NEEDS_SCORES and not reward_gate_is_open(context, reward):
        return Algorithm.OUTCOME
    if wanted in NEEDS_GOOD_Q and q is not None and not q_gate_is_open(context, q):
        return Algorithm.OUTCOME
    without_ratios = q_kind(context.config.credit, context.config.q) == "scalar_head"
    if wanted is Algorithm.ITERATIVE_PPO and without_ratios:
        return Algorithm.OUTCOME
    return wanted


def reward_gate_is_open(context: Context, reward: Commit) -> bool:
    """Whether the reward model ranks held-out conversations well enough to be listened to."""
    return figures_of(context.store, reward)["fit_reward/gate_open"] == 1.0


def q_gate_is_open(context: Context, q: Commit) -> bool:
    """Whether Q is clearly better than the base rate on held-out conversations."""
    return figures_of(context.store, q)["fit_q/gate_open"] == 1.0


def method_of(
    settings: Credit, *, algorithm: Algorithm | None = None, running: "RunningScale | None" = None
) -> "CreditMethod":
    """The configured choices; `algorithm` overrules the configured one, `running` is the state before."""
    from itpo_core.credit import CreditMethod

    used = algorithm or settings.algorithm
    return CreditMethod(
        algorithm=used.value,
        advantage=settings.advantage,
        std=settings.std,
        to_go=settings.to_go,
        profile=settings.profile,
        temperature=settings.temperature,
        share=settings.share,
        std_floor=settings.std_floor,
        outcome_weight=settings.outcome_weight,
        signal_weight=settings.signal_weight,
        gamma=settings.gamma,
        gae_lambda=settings.gae_lambda,
        gae_level=settings.gae_level,
        score_scale=settings.score_scale if used in NEEDS_SCORES else "auto",
        running=running,
    )


def sql_computes_the_same(settings: Credit, algorithm: Algorithm) -> bool:
    """Whether the classic SQL has this algorithm under these choices, so that both can be compared."""
    return (
        algorithm.value in CREDIT_METHODS
        and settings.advantage in ("grpo", "rloo")
        and (settings.std, settings.to_go, settings.profile) == ("group", "auto", "safe")
        and (settings.outcome_weight, settings.signal_weight) == (None, None)
        and (
            algorithm not in NEEDS_SCORES
            or settings.score_scale in ("auto", OWN_SCALE.get(algorithm, "none"))
        )
    )
