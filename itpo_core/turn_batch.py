"""What credit is computed from: one batch of conversations as tensors, and the scalars of a method.

Axes: B conversations, K turns (right-padded), T tokens.
"""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True)
class BatchScalars:
    """The two figures by which the published Norm-ITPO makes a turn's share depend on its batch."""

    mean_turn_tokens: float
    largest_return: float


@dataclass(frozen=True, slots=True)
class TurnBatch:
    """Everything that credit is computed from, for one batch of conversations.

    `happened_BK` is what `turn_rewards.happened` returns; `advantage_B` is the whole conversation's
    advantage (`credit` fills it in); `draws_BK` are positive Exp(1) draws; `oracle_BK` is Q^pi - V^pi, zeros
    where nobody knows it.

    Optional, None where nobody has it; a method that needs it says so:
    `values_BK` a critic's V before the turn, on the scale of the outcome; `log_ratios_BK` the log-ratio term
    of the dueling Q; `judge_BK` a judge's weights, not negative, NaN where it failed; `oracle_star_BK`
    Q* - V*; `token_scores_BT` the implicit reward of every token and `turn_index_BT` the turn of every token
    (-1: no turn); `token_values_BT` a critic's V before the token; `outcome_advantages_BK` the outcome's
    advantage at every turn where it is not the same at all of them (turn-level GAE).
    """

    group_B: Tensor
    valid_B: Tensor
    outcome_B: Tensor
    reward_B: Tensor
    advantage_B: Tensor
    happened_BK: Tensor
    tokens_BK: Tensor
    scores_BK: Tensor
    draws_BK: Tensor
    oracle_BK: Tensor
    values_BK: Tensor | None = None
    log_ratios_BK: Tensor | None = None
    judge_BK: Tensor | None = None
    oracle_star_BK: Tensor | None = None
    token_scores_BT: Tensor | None = None
    turn_index_BT: Tensor | None = None
    token_values_BT: Tensor | None = None
    outcome_advantages_BK: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Knobs:
    """Scalars of credit: temperature (tau), strength of the shares (a, 0 to 1), floor under a group's std.

    `outcome_weight` and `signal_weight` mix the outcome's advantage with a signal's (None: the algorithm's
    own, `advantages.ALGORITHMS`); `whiten_form`, `_ddof`
    and `_floor` say how a signal is whitened (`normalisation.whiten`). `to_go` "reward_to_go" or "immediate"
    overrules what an algorithm does of itself ("auto").
    """

    temperature: float
    share: float
    std_floor: float
    scalars: BatchScalars
    outcome_weight: float | None = None
    signal_weight: float | None = None
    whiten_form: str = "deviation_plus_floor"
    whiten_ddof: int = 0
    whiten_floor: float = 1e-6
    to_go: str = "auto"


NEEDED_FROM = {
    "values_BK": "fit a turn critic (stage fit_q, kind `value`) before credit",
    "log_ratios_BK": "fit a dueling Q (stage fit_q, kind `dueling_logratio`) before credit",
    "judge_BK": "let a judge weigh the turns before credit",
    "oracle_star_BK": "only an environment that can solve itself knows it; choose another algorithm",
    "token_scores_BT": "score the conversations token by token and pass turn_index_BT with it",
    "turn_index_BT": "pass the turn of every token",
    "token_values_BT": "fit a token critic, or use turn-level GAE",
}


def needed(tensor: Tensor | None, name: str) -> Tensor:
    """The optional tensor of a batch, or ValueError that names it and the remedy."""
    if tensor is None:
        raise ValueError(f"this method needs {name}, which the batch does not have: {NEEDED_FROM[name]}")
    return tensor


def finite_turns(values_BK: Tensor, happened_BK: Tensor, *, name: str) -> Tensor:
    """The values of the turns that happened, 0 elsewhere. Raises ValueError for one that is not finite."""
    broken_BK = happened_BK & ~values_BK.isfinite()
    if bool(broken_BK.any()):
        row, turn = (int(index) for index in broken_BK.nonzero()[0])
        raise ValueError(
            f"row {row}, turn {turn}: {name} is {float(values_BK[row, turn])}; mark the conversation invalid"
            " or mend what wrote it"
        )
    return values_BK.masked_fill(~happened_BK, 0)
