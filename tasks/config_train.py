"""Section [train]: the policy step, its loss, and how it is kept near the policy that collected."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from tasks.config_credit import Algorithm, Credit
from tasks.config_parts import NonNegative, Positive, PositiveFloat, Section

PolicyLoss = Literal["ppo", "gspo", "gspo_token", "cispo"]
# Profiles without a KL term; a test compares them with the profiles themselves, which are heavy.
WITHOUT_KL = frozenset({"verl", "trl"})


class Lora(Section):
    """A low-rank adapter of this rank beside the linear layers with these names, scaled by alpha / rank."""

    rank: Positive = 8
    alpha: PositiveFloat = 16.0
    targets: Annotated[tuple[str, ...], Field(min_length=1)] = ("q_proj", "k_proj", "v_proj", "o_proj")


class Train(Section):
    """The policy step; per iteration, `decay` multiplies the rate and the clip's excess over `clip_floor`.

    `policy_loss` "gspo" is what the profile calls so, "gspo_token" always the form by token. `aggregation`
    "profile" is the profile's own; "dr_grpo" its Dr. GRPO, over a constant length of `norm_tokens`.
    `sequence` is what a loss by sequence takes for one. `numbers` "documented": clip widths, KL weight and
    entropy weight are the defaults that the profile's framework documents, in every iteration.

    With `target_kl` (nats per token) the KL weight follows the divergence from the parent or, as the profile
    says, from the initial policy: within `kl_horizon` conversations at most by a fifth. `kl_weight` is where
    it starts; every iteration goes on where its parent stopped. `dynamic_filter` leaves out groups whose
    members all have the same outcome. `micro_batch` is how many conversations pass the model at once.
    With `lora` an adapter is trained, and is what a version keeps; it goes on from iteration to iteration.
    """

    later = frozenset(
        {
            "policy_loss",
            "aggregation",
            "sequence",
            "norm_tokens",
            "micro_batch",
            "dynamic_filter",
            "target_kl",
            "kl_horizon",
            "numbers",
            "lora",
        }
    )
    trainer: Literal["torch_local", "openrlhf_ray"] = "torch_local"  # the second one as [openrlhf] says
    epochs: Positive = 3
    minibatch: Positive = 96
    learning_rate: PositiveFloat = 1e-3
    clip_low: PositiveFloat = 0.6
    clip_high: PositiveFloat = 1.5
    clip_floor: PositiveFloat = 0.2
    decay: Annotated[float, Field(gt=0.0, le=1.0)] = 0.75
    dual_clip: Annotated[float, Field(gt=1.0)] = 3.0
    kl_weight: NonNegative = 0.005
    entropy_weight: NonNegative = 0.0
    max_gradient_norm: PositiveFloat = 1.0
    policy_loss: PolicyLoss = "ppo"
    aggregation: Literal["profile", "dr_grpo"] = "profile"
    sequence: Literal["conversation", "turn"] = "conversation"
    norm_tokens: Positive | None = None
    micro_batch: Positive | None = None
    dynamic_filter: bool = False
    target_kl: PositiveFloat | None = None
    kl_horizon: Positive = 10_000
    numbers: Literal["configured", "documented"] = "configured"
    lora: Lora | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> "Train":
        fault = fault_of_train(self)
        if fault is not None:
            raise ValueError(fault)
        return self


def fault_of_train(train: Train) -> str | None:
    """Why these choices cannot work together, with the remedy; None when they can."""
    is_dr_grpo, is_adaptive = train.aggregation == "dr_grpo", train.target_kl is not None
    faults = {
        'train.aggregation "dr_grpo" divides by a constant length: set train.norm_tokens to the longest '
        "sequence that can be sampled, in tokens": is_dr_grpo and train.norm_tokens is None,
        f'train.norm_tokens {train.norm_tokens} is read with train.aggregation "dr_grpo" alone: choose that, '
        "or leave it out": not is_dr_grpo and train.norm_tokens is not None,
        f'train.aggregation "dr_grpo" with train.policy_loss "{train.policy_loss}", which is a mean per '
        'sequence: use "profile"': is_dr_grpo and train.policy_loss.startswith("gspo"),
        f"train.target_kl {train.target_kl} with train.kl_weight 0.0, from which no weight can grow: set "
        "train.kl_weight above 0": is_adaptive and train.kl_weight == 0 and train.numbers == "configured",
        f"train.kl_horizon {train.kl_horizon} is shorter than train.minibatch {train.minibatch}, so that one "
        "step could change the KL weight by more than a fifth: make it longer": (
            is_adaptive and train.kl_horizon < train.minibatch
        ),
    }
    return next((text for text, is_wrong in faults.items() if is_wrong), None)


def fault_of_step(train: Train, credit: Credit) -> str | None:
    """Why [train] cannot work with this [credit], with the remedy; None when it can."""
    if credit.algorithm is Algorithm.ITERATIVE_PPO:
        ignored = sorted(name for name in train.later if name in train.committed())
        return (
            f"train.{ignored[0]} with iterative_ppo, whose step is that of [improve]: leave it out"
            if ignored
            else None
        )
    if train.target_kl is not None and credit.profile in WITHOUT_KL:
        return (
            f'train.target_kl {train.target_kl} with credit.profile "{credit.profile}", without a KL term: '
            "leave it out, or choose another profile"
        )
    return None
