"""One optimiser step of a single-turn pass, on packed batches that come one by one.

Axis: N tokens of the branches of a step.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor
from torch.optim import Optimizer
from transformers import PreTrainedModel

from itpo_core.optimisation import descend_parts
from itpo_core.packing import Packed, run_packed
from itpo_core.policy_losses import ratio_facts
from itpo_core.scored_branches import Advantages, ScoredBranches
from itpo_core.single_turn_losses import StepTerms, StepTokens, single_turn_terms
from itpo_core.single_turn_settings import SingleTurnSettings

Step = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class PassMaterial:
    """One pass's branches with their advantages; each of `steps` is the packed batches of one step."""

    scored: ScoredBranches
    advantages: Advantages
    steps: tuple[tuple[Packed, ...], ...]


def take_step(
    model: PreTrainedModel,
    optimiser: Optimizer,
    *,
    rows: Sequence[Packed],
    material: PassMaterial,
    settings: SingleTurnSettings,
) -> Step:
    """One optimiser step on packed batches that come one by one; what to record of it."""
    tokens = sum(int(packed.branches.lengths_N.sum()) for packed in rows)
    found: list[_Part] = []

    def losses() -> Iterator[Tensor]:
        for packed in rows:
            terms, part = _part(model, packed, material=material, settings=settings)
            found.append(part)
            yield terms.losses_N.sum() / tokens

    norm = descend_parts(losses(), optimiser, max_gradient_norm=settings.max_gradient_norm)
    return {**_facts(found), "gradient_norm": norm}


@dataclass(frozen=True, slots=True)
class _Part:
    """What one packed batch says of its tokens, without gradient."""

    losses_N: Tensor
    policy_losses_N: Tensor
    divergences_N: Tensor
    clipped_N: Tensor
    entropies_N: Tensor
    log_ratios_N: Tensor


def _part(
    model: PreTrainedModel, packed: Packed, *, material: PassMaterial, settings: SingleTurnSettings
) -> tuple[StepTerms, _Part]:
    scored, real_NL = material.scored, packed.branches.is_real_NL
    never = scored.drawing.suppressed_ids
    found = run_packed(model, packed, suppressed_ids=never, temperature=scored.drawing.temperature)
    advantages_N1 = material.advantages.advantages_N[packed.index_N, None]
    tokens = StepTokens(
        logprobs_N=found.logprobs_NL[real_NL],
        drawn_N=scored.drawn_NL[packed.index_N][real_NL],
        reference_N=scored.reference_NL[packed.index_N][real_NL],
        advantages_N=advantages_N1.expand(real_NL.shape)[real_NL],
    )
    terms = single_turn_terms(
        tokens,
        clip_low=settings.clip_low,
        clip_high=settings.clip_high,
        kl_weight=settings.kl_weight_now,
    )
    return terms, _Part(
        terms.losses_N.detach(),
        terms.policy_losses_N,
        terms.divergences_N,
        terms.clipped_N,
        entropies_N=found.entropies()[real_NL],
        log_ratios_N=tokens.logprobs_N.detach() - tokens.drawn_N,
    )


def _facts(parts: Sequence[_Part]) -> dict[str, float]:
    return {
        "loss": float(torch.cat([part.losses_N for part in parts]).mean()),
        "policy_loss": float(torch.cat([part.policy_losses_N for part in parts]).mean()),
        "kl": float(torch.cat([part.divergences_N for part in parts]).mean()),
        "entropy": float(torch.cat([part.entropies_N for part in parts]).mean()),
        "tokens": sum(len(part.losses_N) for part in parts),
        **asdict(
            ratio_facts(
                torch.cat([part.log_ratios_N for part in parts]),
                torch.cat([part.clipped_N for part in parts]),
            )
        ),
    }
