"""One entry for every algorithm and every estimator: conversations in, turn rewards and advantages out. Pure.

Axes: B conversations, K turns (right-padded), T tokens. Formulas: `turn_rewards` (rewards), `advantages`
(algorithms), `estimators` (estimators), `profiles` (conventions). With `ppo`
- a stream of rewards (itpo, norm_itpo, norm_itpo_plain, norm_itpo_signed, prime_token) goes through GAE by
  itself, its critic being fitted to `stream_returns`;
- everything else takes the outcome's GAE advantage where another estimator gives A_i.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from itpo_core import token_credit
from itpo_core.advantages import ALGORITHMS, Estimator, GroupFacts, group_facts, of_stream
from itpo_core.estimators import Plan, estimator_of, turn_gae, whitened
from itpo_core.gae import gae_turns
from itpo_core.normalisation import RunningScale, explained_variance, running_scale
from itpo_core.profiles import Conventions, profile
from itpo_core.turn_batch import BatchScalars, Knobs, TurnBatch, finite_turns
from itpo_core.turn_rewards import TURN_REWARDS, batch_scalars, outcome_at_end, token_costs
from itpo_core.turn_shares import refuse_temperature, share_entropy, unjudged, weights_of

STREAMS = frozenset({"itpo", "norm_itpo", "norm_itpo_plain", "norm_itpo_signed"})
SIGNALS = frozenset(
    {
        "immediate_plus_outcome",
        "itpo_plus_outcome",
        "prefix_value",
        "dueling_advantage",
        "oracle_pi",
        "oracle_star",
    }
)
USES_SCORES = STREAMS | {
    "norm_itpo_share",
    "dirichlet_matched",
    "immediate_plus_outcome",
    "itpo_plus_outcome",
}
# Iterative PPO trains on sampled turns; its logged turns are recorded with what its Q says of them.
RECORDED_AS = {"iterative_ppo": "dueling_advantage"}
SCORE_SCALES = ("auto", "none", "batch_max", "running_std")
TO_GO = ("auto", "reward_to_go", "immediate")


@dataclass(frozen=True, slots=True)
class CreditMethod:
    """Every choice of one credit method.

    `std` is of grpo alone. `to_go` "auto" is the algorithm's own; the other two put its turn rewards through
    the estimator per turn, to go or as they are. `std_floor`, `outcome_weight` and `signal_weight` None:
    those of the profile and of the algorithm. `score_scale` "auto": the batch maximum for norm_itpo
    (published), none for the others. `scalars` given: the replay of a recorded batch. `running`: the state
    before it, None at the first batch.
    """

    algorithm: str = "norm_itpo_share"
    advantage: str = "grpo"
    std: str = "group"
    to_go: str = "auto"
    profile: str = "safe"
    temperature: float = 0.4
    share: float = 0.5
    std_floor: float | None = None
    outcome_weight: float | None = None
    signal_weight: float | None = None
    gamma: float = 1.0
    gae_lambda: float = 0.95
    gae_level: str = "turn"
    score_scale: str = "auto"
    scalars: BatchScalars | None = None
    running: RunningScale | None = None


@dataclass(frozen=True, slots=True)
class CreditFacts:
    """What to record of one call: all that a replay needs, and what the batch taught.

    `returns_BK` is what a turn critic of this stream is fitted to and `explained_variance` how much of it the
    critic knew (both only with `ppo` at turn level); `share_entropy` is over that of equal shares, only for
    norm_itpo_share; `unjudged` counts conversations that a judge left without weights, only for judge.
    """

    groups: GroupFacts
    scalars: BatchScalars
    running: RunningScale
    returns_BK: Tensor | None
    explained_variance: float | None
    share_entropy: float | None
    unjudged: int


@dataclass(frozen=True, slots=True)
class Credited:
    """Turn rewards, advantages and facts; `token_advantages_BT` None: a turn's advantage is every token's."""

    rewards_BK: Tensor
    advantages_BK: Tensor
    token_advantages_BT: Tensor | None
    facts: CreditFacts


def credit(turns: TurnBatch, method: CreditMethod) -> Credited:
    """Turn rewards and advantages by the method; `turns.advantage_B` is filled in here, whatever it held.

    Raises ValueError for a choice that does not exist, a pair that does not fit, a tensor that the method
    needs and the batch lacks, and a value of a valid conversation that is not finite.
    """
    algorithm, own = RECORDED_AS.get(method.algorithm, method.algorithm), conventions_of(method)
    check_method(method)
    turns, knobs, running = _scaled(turns, method, own=own)
    if method.gae_level == "token":
        turns = replace(turns, values_BK=token_credit.at_first_tokens(turns))
    plan = Plan(method.advantage, own, method.std, method.to_go, method.gamma, method.gae_lambda)
    estimator = estimator_of(turns, plan)
    turns = _with_outcome(turns, estimator, plan=plan)
    rewards_BK = _rewards(turns, knobs, algorithm=algorithm, own=own)
    tokens_BT = _token_advantages(turns, rewards_BK, algorithm=algorithm, plan=plan, level=method.gae_level)
    if tokens_BT is not None:
        advantages_BK = token_credit.turn_means(tokens_BT, turns)
    else:
        advantages_BK = _advantages(turns, knobs, algorithm=algorithm, plan=plan, estimator=estimator)
    facts = _facts(turns, rewards_BK, algorithm=algorithm, plan=plan, knobs=knobs, running=running)
    return Credited(rewards_BK, advantages_BK, tokens_BT, facts)


def stream_returns(turns: TurnBatch, method: CreditMethod) -> Tensor:
    """What the critic of the method's own stream of turn rewards is fitted to: discounted rewards to go.

    [B, K]; NaN where no turn happened. Raises ValueError as `credit` does.
    """
    own = conventions_of(method)
    check_method(method)
    turns, knobs, _ = _scaled(turns, method, own=own)
    rewards_BK = _rewards(turns, knobs, algorithm=method.algorithm, own=own)
    to_go = gae_turns(
        rewards_BK,
        torch.zeros_like(rewards_BK),
        happened_BK=turns.happened_BK,
        gamma=method.gamma,
        lam=1.0,
    )
    return torch.where(turns.happened_BK, to_go.returns, torch.nan)


def conventions_of(method: CreditMethod) -> Conventions:
    """The profile's conventions with the method's own floor under the deviation."""
    own = profile(method.profile)
    return own if method.std_floor is None else replace(own, std_floor=method.std_floor)


def check_method(method: CreditMethod) -> None:
    """Raise ValueError that names a choice which does not exist or does not fit another, and the remedy."""
    algorithm = RECORDED_AS.get(method.algorithm, method.algorithm)
    for name, value, choices in (
        ("algorithm", algorithm, tuple(TURN_REWARDS)),
        ("std", method.std, ("group", "batch", "none")),
        ("to_go", method.to_go, TO_GO),
        ("gae_level", method.gae_level, ("turn", "token")),
        ("score_scale", method.score_scale, SCORE_SCALES),
    ):
        if value not in choices:
            raise ValueError(f"{name} {value!r} does not exist: choose one of {', '.join(choices)}")
    for name, value in (("share", method.share), ("gamma", method.gamma), ("gae_lambda", method.gae_lambda)):
        if not 0 <= value <= 1:
            raise ValueError(f"{name} {value}: it must lie between 0 and 1")
    refuse_temperature(method.temperature)
    if algorithm == "prime_token" and method.to_go == "immediate":
        raise ValueError(
            "prime_token is a reward-to-go over tokens: choose to_go 'auto', or algorithm 'itpo'"
        )
    if method.gae_level == "token" and (method.advantage != "ppo" or algorithm in SIGNALS):
        raise ValueError(
            f"gae_level 'token' puts a stream of turn rewards through ppo; {algorithm} with"
            f" {method.advantage} is none: choose gae_level 'turn'"
        )


def _scaled(
    turns: TurnBatch, method: CreditMethod, *, own: Conventions
) -> tuple[TurnBatch, Knobs, RunningScale]:
    if method.algorithm in USES_SCORES:
        scores_BK = finite_turns(turns.scores_BK, turns.happened_BK, name="the implicit score")
    else:
        scores_BK = turns.scores_BK.masked_fill(~(turns.happened_BK & turns.scores_BK.isfinite()), 0)
    scalars = method.scalars or batch_scalars(scores_BK, turns.tokens_BK, happened_BK=turns.happened_BK)
    running, how = method.running or RunningScale(), method.score_scale
    if how == "auto":
        how = "batch_max" if method.algorithm == "norm_itpo" else "none"
    scale = {"none": 1.0}.get(how, scalars.largest_return)
    if how == "running_std" and method.scalars is None:
        running = running_scale(running, scores_BK, happened_BK=turns.happened_BK)
        scale = running.deviation
    knobs = Knobs(
        temperature=method.temperature,
        share=method.share,
        std_floor=own.std_floor,
        # norm_itpo divides by this itself, in the order of the published form.
        scalars=BatchScalars(scalars.mean_turn_tokens, scale),
        outcome_weight=method.outcome_weight,
        signal_weight=method.signal_weight,
        whiten_form=own.whiten_form,
        whiten_ddof=own.whiten_ddof,
        whiten_floor=own.whiten_floor,
        to_go=method.to_go,
    )
    turns = replace(turns, scores_BK=scores_BK)
    if scale == 1 or method.algorithm == "norm_itpo":
        return turns, knobs, running
    tokens_BT = None if turns.token_scores_BT is None else turns.token_scores_BT / scale
    return replace(turns, scores_BK=scores_BK / scale, token_scores_BT=tokens_BT), knobs, running


def _with_outcome(turns: TurnBatch, estimator: Estimator, *, plan: Plan) -> TurnBatch:
    whole_B = estimator.whole(
        turns.reward_B, turns.group_B, valid_B=turns.valid_B, std_floor=plan.conventions.std_floor
    )
    turns = replace(turns, advantage_B=whole_B, outcome_advantages_BK=None)
    if plan.name != "ppo":
        return turns
    sparse_BK = outcome_at_end(turns, NO_KNOBS)
    found_BK = turn_gae(turns, sparse_BK, plan=plan).advantages
    z_BK = whitened(found_BK, turns, own=plan.conventions, teaches_BK=turns.happened_BK)
    return replace(turns, outcome_advantages_BK=z_BK)


def _rewards(turns: TurnBatch, knobs: Knobs, *, algorithm: str, own: Conventions) -> Tensor:
    rewards_BK = TURN_REWARDS[algorithm](turns, knobs)
    if algorithm == "itpo" and own.turn_baseline == "turn_mean":
        # The released code takes the token cost off the implicit rewards too.
        rewards_BK = rewards_BK - token_costs(
            turns.outcome_B, turns.reward_B, tokens_BK=turns.tokens_BK, happened_BK=turns.happened_BK
        )
    return rewards_BK


def _advantages(
    turns: TurnBatch, knobs: Knobs, *, algorithm: str, plan: Plan, estimator: Estimator
) -> Tensor:
    # The released code compares whole conversations where it rewards only their last turn.
    released = plan.conventions.turn_baseline == "turn_mean" and algorithm not in SIGNALS | {"outcome"}
    signed = algorithm == "norm_itpo_signed" and plan.name == "ppo"
    asked = knobs.to_go != "auto" and algorithm not in SIGNALS | {"norm_itpo_signed"}
    if released or signed or asked:
        return of_stream(
            turns,
            knobs,
            estimator=estimator,
            reward=lambda turns, knobs: _rewards(turns, knobs, algorithm=algorithm, own=plan.conventions),
        )
    return ALGORITHMS[algorithm](turns, knobs, estimator=estimator)


def _token_advantages(
    turns: TurnBatch, rewards_BK: Tensor, *, algorithm: str, plan: Plan, level: str
) -> Tensor | None:
    if level == "token":
        by_token = algorithm == "prime_token"
        rewards_BT = token_credit.token_scores(turns) if by_token else token_credit.at_ends(turns, rewards_BK)
        return token_credit.ppo_tokens(turns, rewards_BT, plan=plan).advantages
    if algorithm == "prime_token":
        return token_credit.prime_tokens(turns, plan=plan)
    return None


def _facts(
    turns: TurnBatch, rewards_BK: Tensor, *, algorithm: str, plan: Plan, knobs: Knobs, running: RunningScale
) -> CreditFacts:
    returns_BK, explained = None, None
    if plan.name == "ppo" and turns.values_BK is not None:
        stream_BK = rewards_BK if algorithm in STREAMS | {"prime_token"} else outcome_at_end(turns, NO_KNOBS)
        returns_BK = turn_gae(turns, stream_BK, plan=plan).returns
        explained = explained_variance(turns.values_BK, returns_BK, counts=turns.happened_BK)
    entropy = None
    if algorithm == "norm_itpo_share":
        counts_B1 = turns.happened_BK.sum(dim=1, keepdim=True).clamp(min=1)
        entropy = share_entropy(weights_of(turns, knobs) / counts_B1, turns.happened_BK)
    return CreditFacts(
        groups=group_facts(turns.reward_B, turns.group_B, valid_B=turns.valid_B),
        scalars=knobs.scalars,
        running=running,
        returns_BK=returns_BK,
        explained_variance=explained,
        share_entropy=entropy,
        unjudged=unjudged(turns) if algorithm == "judge" else 0,
    )


NO_KNOBS = Knobs(temperature=1.0, share=0.0, std_floor=0.0, scalars=BatchScalars(1.0, 1.0))
