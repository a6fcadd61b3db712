"""The reference trainer: one process, PyTorch, a Hugging Face folder in and a folder out.

Axes: B conversations, T tokens (right-padded), N policy tokens of a minibatch. Log-probabilities of the batch
under the start weights are computed once: they are the ratio's denominator and the reference of the KL.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from itpo_core.logprobs import check_spoken
from itpo_core.lora import LoraSettings
from itpo_core.optimisation import TrainingDivergedError, adamw
from itpo_core.policy_parts import Step
from itpo_core.policy_step import Progress, gap_summary, run_epoch, start_logprobs, with_kl_rewards
from itpo_core.tiny_policy import suppressed_ids
from itpo_core.trainers.base import PolicySettings, TrainingBatch, TrainingResult
from itpo_core.trainers.checkpoints import Checkpoints, fingerprint, trained_parameters
from itpo_core.trainers.checks import prepared
from itpo_core.trainers.starts import Start, starting

BETAS = (0.9, 0.99)
UNAVERAGED = frozenset({"epoch", "tokens", "kl_weight_next"})


@dataclass(frozen=True, slots=True)
class TorchLocalTrainer:
    """Implements `Trainer`. The same inputs on one thread give the same bytes, also after a kill.

    Its checkpoints lie in a folder beside `out_folder`, with `.work` after its name; that folder may be
    deleted once the candidate is safe elsewhere. With `lora` an adapter alone is trained and published;
    from an adapter of the same settings the training goes on with that one.
    """

    lora: LoraSettings | None = None

    def train(
        self,
        batch: TrainingBatch,
        *,
        parent_version: str,
        start_folder: Path,
        out_folder: Path,
        settings: PolicySettings,
        on_step: Progress,
    ) -> TrainingResult:
        """See `Trainer.train`. Raises TrainingDivergedError, leaving nothing, when a loss is not a number."""
        batch, excluded = prepared(batch, parent_version, settings=settings)
        checkpoints = Checkpoints(
            folder=out_folder.with_name(f"{out_folder.name}.work"),
            out_folder=out_folder,
            fingerprint=fingerprint(
                batch, start_folder, settings=settings, parent_version=parent_version, lora=self.lora
            ),
        )
        checkpoints.open()
        finished = checkpoints.result()
        if finished is not None:
            return finished
        try:
            return _run(
                batch,
                starting(start_folder, self.lora, seed=settings.seed),
                settings=settings,
                checkpoints=checkpoints,
                on_step=on_step,
                excluded=excluded,
            )
        except TrainingDivergedError:
            checkpoints.clear()
            raise


def _run(
    batch: TrainingBatch,
    start: Start,
    *,
    settings: PolicySettings,
    checkpoints: Checkpoints,
    on_step: Progress,
    excluded: Mapping[str, float],
) -> TrainingResult:
    model, trained = start.model, trained_parameters(start.model)
    check_spoken(batch.tokens_BT, batch.is_policy_BT, suppressed_ids=suppressed_ids(model))
    start_BT = start_logprobs(model, batch)
    optimiser = adamw(trained.values(), settings.learning_rate, betas=BETAS)
    counted = {"trained_parameters": sum(each.numel() for each in trained.values())}
    facts = {**gap_summary(batch, start_BT, settings=settings), **excluded, **counted}
    paid = with_kl_rewards(batch, start_BT, settings=settings)
    done, steps = checkpoints.restore(model, optimiser)
    for epoch in range(done, settings.epochs):
        steps = steps + run_epoch(
            model,
            optimiser,
            batch=paid,
            start_BT=start_BT,
            settings=settings,
            epoch=epoch,
            on_step=on_step,
            kl_weight=steps[-1]["kl_weight_next"] if steps else None,
        )
        checkpoints.save(model, optimiser, epochs=epoch + 1, steps=steps)
    result = TrainingResult(steps=tuple(steps), summary=_summary(steps, facts))
    checkpoints.publish(start.write, result=result)
    return result


def _summary(steps: Sequence[Step], facts: Mapping[str, float]) -> dict[str, float]:
    """Token-weighted means over all steps, over the last epoch (`final_`), and the extremes that matter."""
    names = [name for name in steps[0] if name not in UNAVERAGED]
    last = [step for step in steps if step["epoch"] == steps[-1]["epoch"]]
    return {
        "steps": len(steps),
        **{name: _token_mean(steps, name) for name in names},
        **{f"final_{name}": _token_mean(last, name) for name in names},
        "kl_max": max(step["kl"] for step in steps),
        "gradient_norm_max": max(step["gradient_norm"] for step in steps),
        "entropy_min": min(step["entropy"] for step in steps),
        "kl_weight_last": steps[-1]["kl_weight_next"],
        **facts,
    }


def _token_mean(steps: Sequence[Step], name: str) -> float:
    tokens = sum(step["tokens"] for step in steps)
    return sum(step[name] * step["tokens"] for step in steps) / tokens
