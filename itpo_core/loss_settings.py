"""From a profile's conventions to the settings of a policy step."""

from dataclasses import replace

from itpo_core.profiles import Conventions
from itpo_core.rollout_gap import GapCorrection
from itpo_core.trainers.base import PolicySettings

GSPO = frozenset({"gspo", "gspo_token"})
DR_GRPO = frozenset({"sequence_mean_token_sum_norm", "token_sum_norm"})


def loss_settings(conventions: Conventions, base: PolicySettings) -> PolicySettings:
    """`base` with the forms of the profile; its numbers (rates, clip widths, weights) stay as they are.

    The names `policy_loss` and `aggregation` of `base` are the team's choice of method: GSPO and Dr. GRPO are
    given the form that the framework has under these names ("gspo_token", which is one, stays), GSPO with a
    mean per sequence; any other aggregation becomes the profile's. Where the profile has no KL, its weight
    is 0.
    """
    is_gspo, is_dr_grpo = base.policy_loss in GSPO, base.aggregation in DR_GRPO
    aggregation = conventions.dr_grpo if is_dr_grpo else conventions.aggregation
    return replace(
        base,
        policy_loss=conventions.gspo if base.policy_loss == "gspo" else base.policy_loss,
        aggregation="sequence_mean_token_mean" if is_gspo else aggregation,
        penalty_aggregation=conventions.penalty_aggregation,
        dual_clip=conventions.dual_clip,
        kl_estimator=conventions.kl_estimator,
        kl_input_limit=conventions.kl_input_limit,
        kl_output_limit=conventions.kl_output_limit,
        kl_place="reward" if conventions.kl_place == "reward" else "loss",
        kl_reference="start" if conventions.kl_place == "none" else conventions.kl_reference,
        kl_weight=0.0 if conventions.kl_place == "none" else base.kl_weight,
        gap=gap_correction(conventions),
    )


def documented_numbers(conventions: Conventions, base: PolicySettings) -> PolicySettings:
    """`base` with the clip widths, KL weight and entropy weight that the framework documents as defaults."""
    return replace(
        base,
        clip_low=conventions.clip_low,
        clip_high=conventions.clip_high,
        kl_weight=0.0 if conventions.kl_place == "none" else conventions.kl_weight,
        entropy_weight=conventions.entropy_weight,
    )


def gap_correction(conventions: Conventions) -> GapCorrection:
    """The profile's correction of the gap between sampler and trainer."""
    return GapCorrection(
        weight=conventions.gap_weight,
        weight_low=conventions.gap_weight_low,
        weight_high=conventions.gap_weight_high,
        mask=conventions.gap_mask,
        mask_low=conventions.gap_mask_low,
        mask_high=conventions.gap_mask_high,
    )
