"""The improvement step of Iterative PPO as a trainer: logged conversations, a policy's and a Q's folder in,
a policy's folder out. Axes: B conversations, T tokens (right-padded).
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from torch import Tensor
from transformers import PreTrainedModel

from itpo_core.branch_values import q_action_values
from itpo_core.optimisation import TrainingDivergedError
from itpo_core.policy_movement import movement
from itpo_core.q_files import load_members
from itpo_core.reward_model import ConversationTokens
from itpo_core.scored_branches import Problem
from itpo_core.single_turn import Improvement, Progress, improve, new_optimiser, run_passes
from itpo_core.single_turn_settings import Abort, AbortReason, SingleTurnSettings
from itpo_core.single_turn_step import Step
from itpo_core.tiny_policy import load_policy, save_policy, suppressed_ids
from itpo_core.tokens import ChatFormat
from itpo_core.trainers.base import TrainingResult
from itpo_core.trainers.checkpoints import Checkpoints

UNAVERAGED = frozenset({"epoch", "tokens"})


@dataclass(frozen=True, slots=True)
class LoggedConversations:
    """What the parent spoke; `outcomes_B`, NaN where there is none, is for the doubly robust step alone."""

    conversations: ConversationTokens
    policy_versions: frozenset[str]
    outcomes_B: Tensor | None = None


@dataclass(frozen=True, slots=True)
class SingleTurnTrainer:
    """The same inputs on one thread give the same bytes, also after a kill.

    Checkpoints lie beside `out_folder`, with `.work` after its name, one per pass; that folder may be deleted
    once the candidate is safe elsewhere.
    """

    def improve(
        self,
        model: PreTrainedModel,
        problem: Problem,
        *,
        settings: SingleTurnSettings,
        on_step: Progress = lambda done, total: None,
    ) -> Improvement:
        """Improve a model in memory, in place; see `itpo_core.single_turn.improve`."""
        return improve(model, problem, settings=settings, on_step=on_step)

    def train(
        self,
        logged: LoggedConversations,
        *,
        q_folder: Path,
        parent_version: str,
        start_folder: Path,
        out_folder: Path,
        settings: SingleTurnSettings,
        on_step: Progress = lambda done, total: None,
    ) -> TrainingResult:
        """Write the candidate's folder to `out_folder`; a killed call, repeated, resumes and ends the same.

        `q_folder` holds the members of Q, fitted on conversations of the policy in `start_folder`. When the
        step is given up the candidate has the weights from before the pass that went too far, and the summary
        says so (see `abort_of`). Raises ValueError when the conversations were not spoken by `parent_version`
        alone; TrainingDivergedError, leaving nothing, when a loss is not a number.
        """
        if logged.policy_versions != {parent_version}:
            raise ValueError(
                f"the conversations were spoken by {sorted(logged.policy_versions)}, the parent is"
                f" {parent_version!r}: collect anew with the parent"
            )
        checkpoints = Checkpoints(
            folder=out_folder.with_name(f"{out_folder.name}.work"),
            out_folder=out_folder,
            fingerprint=_fingerprint(
                logged, (start_folder, q_folder), settings=settings, parent=parent_version
            ),
        )
        checkpoints.open()
        finished = checkpoints.result()
        if finished is not None:
            return finished
        try:
            return _run(
                logged,
                start_folder,
                q_folder=q_folder,
                settings=settings,
                checkpoints=checkpoints,
                on_step=on_step,
            )
        except TrainingDivergedError:
            checkpoints.clear()
            raise


def training_result(found: Improvement) -> TrainingResult:
    """An improvement as every trainer reports: token-weighted means over all steps and over the last pass
    (`final_`), what was taken and promised, and, when the step was given up, `aborted` 1 with its figures."""
    steps, taken = found.steps, found.taken
    names = [name for name in steps[0] if name not in UNAVERAGED]
    last = [step for step in steps if step["epoch"] == steps[-1]["epoch"]]
    summary = {
        "steps": len(steps),
        **{name: _token_mean(steps, name) for name in names},
        **{f"final_{name}": _token_mean(last, name) for name in names},
        "kl_max": max(step["kl"] for step in steps),
        "gradient_norm_max": max(step["gradient_norm"] for step in steps),
        "entropy_min": min(step["entropy"] for step in steps),
        "reward_rise": steps[-1]["reward_mean"] - steps[0]["reward_mean"],
        **asdict(taken.movement),
        "kl_sampled": taken.kl_sampled,
        "kl_sampled_error": taken.kl_sampled_error,
        "q_gain_raw": taken.q_gain_raw,
        "taken_unclosed_share": taken.unclosed_share,
        "taken_histories": taken.histories,
        **_abort_facts(found.abort),
    }
    return TrainingResult(steps=steps, summary=summary)


def abort_of(summary: Mapping[str, float]) -> Abort | None:
    """Why the step behind a summary was given up; None when it was not."""
    if not summary["aborted"]:
        return None
    return Abort(
        AbortReason.DIVERGENCE,
        pass_index=int(summary["abort_pass"]),
        divergence=summary["abort_divergence"],
        limit=summary["abort_limit"],
    )


def _abort_facts(abort: Abort | None) -> dict[str, float]:
    if abort is None:
        return {"aborted": 0.0}
    return {
        "aborted": 1.0,
        "abort_pass": abort.pass_index,
        "abort_divergence": abort.divergence,
        "abort_limit": abort.limit,
    }


def _run(
    logged: LoggedConversations,
    start_folder: Path,
    *,
    q_folder: Path,
    settings: SingleTurnSettings,
    checkpoints: Checkpoints,
    on_step: Progress,
) -> TrainingResult:
    (model, tokenizer), (reference, _) = load_policy(start_folder), load_policy(start_folder)
    values = q_action_values(load_members(q_folder), logged.conversations, reference=reference)
    end_of_turn_id = ChatFormat.from_tokenizer(tokenizer, suppressed_ids(model)).end_of_turn_id
    problem = Problem(logged.conversations, reference, values, end_of_turn_id, logged.outcomes_B)
    optimiser = new_optimiser(model, settings)
    done, before = checkpoints.restore(model, optimiser)
    steps, abort = run_passes(
        model,
        optimiser,
        problem=problem,
        settings=settings,
        on_step=on_step,
        done=done,
        steps=before,
        on_pass=lambda passes, made: checkpoints.save(model, optimiser, epochs=passes, steps=made),
    )
    taken = movement(model, problem, settings=settings)
    result = training_result(Improvement(tuple(steps), abort, taken))
    checkpoints.publish(lambda folder: save_policy(model, tokenizer, folder=folder), result=result)
    return result


def _token_mean(steps: Sequence[Step], name: str) -> float:
    tokens = sum(step["tokens"] for step in steps)
    return sum(step[name] * step["tokens"] for step in steps) / tokens


def _fingerprint(
    logged: LoggedConversations, folders: Sequence[Path], *, settings: SingleTurnSettings, parent: str
) -> str:
    """SHA-256 of everything that decides what the step computes."""
    whole, of = hashlib.sha256(), logged.conversations
    for tensor in (of.tokens_BT, of.turn_BT, of.lengths_B, logged.outcomes_B):
        whole.update(b"none" if tensor is None else tensor.contiguous().numpy().tobytes())
    for folder in folders:
        for path in sorted([*folder.rglob("*.safetensors"), *folder.rglob("*.json")]):
            whole.update(hashlib.sha256(path.read_bytes()).digest())
    named = {"parent": parent, "settings": asdict(settings)}
    whole.update(json.dumps(named, sort_keys=True).encode())
    return whole.hexdigest()
