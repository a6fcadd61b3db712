"""Every convention on which frameworks disagree, as one value, and the profile of each framework.

A profile answers "what would this framework compute?"; `safe` is what this project computes unless told
otherwise. Estimator fields are read by `group_baselines`, `normalisation`, `gae` and `credit`, loss fields
by `policy_losses`. Facts were read off the frameworks' public sources as of August 2026; where a framework
leaves a number to its user, its documented default stands here. `tests/itpo_core/test_profiles.py` holds a
vector of every profile, derived by hand from that arithmetic.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal

Baseline = Literal["group_mean", "leave_one_out"]
Deviation = Literal["group", "others", "batch", "none"]
LonelyRule = Literal["zero", "raw", "refuse"]
ZeroVariance = Literal["zero", "divide", "undivided"]
UserTokens = Literal["skip", "count", "reset", "silent"]
TurnBaseline = Literal["same_turn", "turn_mean"]
WhitenForm = Literal["deviation_plus_floor", "variance_plus_floor", "variance_at_least_floor", "none"]
Aggregation = Literal["token_mean", "sequence_mean_token_mean"]
DrGrpo = Literal["sequence_mean_token_sum_norm", "token_sum_norm"]
Gspo = Literal["gspo", "gspo_token"]
KlEstimator = Literal["k1", "k2", "k3", "k3_plus", "k1_score", "k3_score"]
KlPlace = Literal["loss", "reward", "none"]
KlReference = Literal["start", "reference"]
GapWeight = Literal["none", "token", "sequence"]
GapMask = Literal["none", "token", "mean", "product", "max"]


@dataclass(frozen=True, slots=True)
class Conventions:
    """All conventions. Those of the estimators come first, those of the losses after them.

    Estimators
    - `group_baseline`: what `grpo` subtracts; `deviation`: whose deviation it divides by ("others": the group
      without the row itself); `std_ddof`: 1 sample, 0 population; `std_floor`: added to the deviation.
    - `group_of_one` (grpo), `rloo_group_of_one`: what a row without voting siblings gets: 0, its raw score,
      or a ValueError.
    - `invalid_votes`: whether failed rows count in mean and deviation (their own advantage is 0 either way).
    - `zero_variance`: exactly 0; divided by 0 + floor as any other; or centred but left undivided.
    - `user_tokens_returns`, `user_tokens_gae`: what a token that the policy did not speak is to REINFORCE++'s
      returns and to GAE. "skip": no time step; "count": a time step like any other; "silent": a time step
      whose reward and value are 0; "reset": the return starts anew behind it.
    - `turn_baseline`: of a turn's return-to-go among the siblings that reached the turn, or the released ITPO
      form: siblings' mean turn rewards, taken off every turn before the returns are summed.
    - `whiten_form`, `whiten_ddof`, `whiten_floor`: how a batch is whitened (`normalisation.whiten`).

    Losses
    - `aggregation` of the policy loss, `penalty_aggregation` of KL and entropy (None: the same); `dr_grpo`,
      `gspo`: what the framework computes under these names.
    - `clip_low`, `clip_high`: distances from 1; `dual_clip`: bound of the ratio for negative advantages, None
      without one. All but TRL and NeMo-RL bound a log-ratio to 20 before the exponential; so do we, always.
    - `kl_place`, `kl_estimator`, `kl_weight`; `kl_reference`: the policy that collected, or a policy that
      stays (the initial one); `kl_input_limit`, `kl_output_limit`: bounds of k3's exponent and of the value.
    - `entropy_weight`; `value_clip`: distance a new value may move from the old one.
    - `gap_`: the correction of the gap between the log-probabilities of sampler and trainer, see
      `rollout_gap.GapCorrection`.
    """

    group_baseline: Baseline = "group_mean"
    deviation: Deviation = "group"
    std_ddof: int = 1
    std_floor: float = 1e-4
    group_of_one: LonelyRule = "zero"
    rloo_group_of_one: LonelyRule = "zero"
    invalid_votes: bool = False
    zero_variance: ZeroVariance = "zero"
    user_tokens_returns: UserTokens = "skip"
    user_tokens_gae: UserTokens = "skip"
    turn_baseline: TurnBaseline = "same_turn"
    whiten_form: WhitenForm = "deviation_plus_floor"
    whiten_ddof: int = 0
    whiten_floor: float = 1e-6

    aggregation: Aggregation = "token_mean"
    penalty_aggregation: Aggregation | None = None
    dr_grpo: DrGrpo = "sequence_mean_token_sum_norm"
    gspo: Gspo = "gspo"
    clip_low: float = 0.6
    clip_high: float = 1.5
    dual_clip: float | None = 3.0
    kl_place: KlPlace = "loss"
    kl_estimator: KlEstimator = "k3"
    kl_weight: float = 0.005
    kl_reference: KlReference = "start"
    kl_input_limit: float | None = 5.0
    kl_output_limit: float | None = None
    entropy_weight: float = 0.0
    value_clip: float | None = 0.2
    gap_weight: GapWeight = "none"
    gap_weight_low: float | None = None
    gap_weight_high: float | None = None
    gap_mask: GapMask = "none"
    gap_mask_low: float | None = None
    gap_mask_high: float | None = None


SAFE = Conventions()

# verl, verl/trainer/ppo/core_algos.py and trainer/config; 2026-08.
VERL = Conventions(
    std_floor=1e-6,
    group_of_one="raw",
    rloo_group_of_one="raw",
    invalid_votes=True,
    zero_variance="divide",
    whiten_form="variance_plus_floor",
    whiten_ddof=1,
    whiten_floor=1e-8,
    clip_low=0.2,
    clip_high=0.2,
    dr_grpo="token_sum_norm",
    gspo="gspo_token",
    kl_place="none",
    kl_weight=0.001,
    kl_reference="reference",
    kl_input_limit=20.0,
    kl_output_limit=10.0,
    value_clip=0.5,
)

# SkyRL, skyrl/backends/skyrl_train/utils/ppo_utils.py and train/config/config.py; 2026-08.
SKYRL = replace(
    VERL,
    rloo_group_of_one="zero",
    user_tokens_returns="reset",
    user_tokens_gae="count",
    penalty_aggregation="sequence_mean_token_mean",
    dr_grpo="sequence_mean_token_sum_norm",
    dual_clip=None,
    kl_place="loss",
    value_clip=0.2,
)

# TRL, trl/trainer/grpo_trainer.py and rloo_trainer.py: rewards that nobody could score do not vote.
TRL = Conventions(
    std_floor=1e-4,
    group_of_one="refuse",
    rloo_group_of_one="refuse",
    invalid_votes=False,
    zero_variance="divide",
    whiten_form="deviation_plus_floor",
    whiten_ddof=1,
    whiten_floor=1e-4,
    clip_low=0.2,
    clip_high=0.2,
    dual_clip=None,
    kl_place="none",
    kl_weight=0.0,
    kl_reference="reference",
    kl_input_limit=None,
    value_clip=0.2,
    gap_weight="sequence",
    gap_mask="product",
    gap_mask_high=3.0,
)

# OpenRLHF, openrlhf/trainer/ppo_utils/experience_maker.py and models/loss.py; its KL is part of the reward.
OPENRLHF = Conventions(
    std_floor=1e-9,
    group_of_one="refuse",
    rloo_group_of_one="refuse",
    invalid_votes=True,
    zero_variance="divide",
    user_tokens_returns="silent",
    user_tokens_gae="silent",
    whiten_form="variance_at_least_floor",
    whiten_ddof=0,
    whiten_floor=1e-8,
    clip_low=0.2,
    clip_high=0.2,
    dual_clip=None,
    kl_place="reward",
    kl_estimator="k1",
    kl_weight=0.01,
    kl_reference="reference",
    # Theirs is bounded on one side, at 10, where the value is at its own bound already; so are both of these.
    kl_input_limit=20.0,
    kl_output_limit=10.0,
    value_clip=0.5,
)

# NeMo-RL, nemo_rl/algorithms/advantage_estimator.py: baseline and deviation both leave the row itself out.
NEMO_RL = Conventions(
    group_baseline="leave_one_out",
    deviation="others",
    std_floor=1e-6,
    group_of_one="zero",
    rloo_group_of_one="zero",
    invalid_votes=True,
    zero_variance="undivided",
    whiten_form="variance_at_least_floor",
    whiten_ddof=0,
    whiten_floor=1e-8,
    clip_low=0.2,
    clip_high=0.2,
    dual_clip=None,
    kl_estimator="k3_score",
    kl_weight=0.01,
    kl_reference="reference",
    kl_input_limit=20.0,
    kl_output_limit=10.0,
    value_clip=0.2,
)

# The released ITPO code (on verl 0.6): recipe/itpo/itpo_core_algos.py, its math scripts.
ITPO_REFERENCE = replace(
    VERL,
    user_tokens_returns="reset",
    turn_baseline="turn_mean",
    kl_place="loss",
    entropy_weight=0.001,
)

PROFILES: Mapping[str, Conventions] = MappingProxyType(
    {
        "safe": SAFE,
        "verl": VERL,
        "skyrl": SKYRL,
        "trl": TRL,
        "openrlhf": OPENRLHF,
        "nemo_rl": NEMO_RL,
        "itpo_reference": ITPO_REFERENCE,
    }
)


def profile(name: str) -> Conventions:
    """The conventions of that name. Raises ValueError that lists the names there are."""
    if name not in PROFILES:
        raise ValueError(f"profile {name!r} does not exist: choose one of {', '.join(PROFILES)}")
    return PROFILES[name]
