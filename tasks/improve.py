"""Improve: the policy step of Iterative PPO. Fresh turns at visited histories, with the fitted Q as reward.

While the gate of Q is closed no step is taken: the candidate has its parent's weights, and says so.
"""

import shutil
from dataclasses import replace

from itpo_core.identifiers import derive_seed
from itpo_core.reward_model import ConversationTokens
from itpo_core.single_turn_settings import SingleTurnSettings
from itpo_core.trainers.base import TrainingResult
from itpo_core.trainers.single_turn import LoggedConversations, SingleTurnTrainer
from storage.commits import Commit
from tasks.context import Context
from tasks.q_facts import committed_gate
from tasks.training import Job, SpokenTurns, spoken_turns

NO_STEP = {"step_taken": 0.0, "gate_open": 0.0, "steps": 0.0, "final_kl": 0.0}


def sources(context: Context) -> dict[str, Commit]:
    """The Q of this iteration, with its gate."""
    return {"q": context.read("q")}


def train(context: Context, job: Job) -> TrainingResult:
    """Write the candidate: improved under Q, or the parent unchanged while the gate of Q is closed."""
    is_open = committed_gate(context, job.sources["q"]).is_open
    if not is_open and context.config.improve.gate == "required":
        return unchanged(context, job)
    spoken = spoken_turns(context, job.sources["credit"])
    result = SingleTurnTrainer().train(
        logged(spoken),
        q_folder=context.artifact_folder(job.sources["q"]),
        parent_version=job.parent.name,
        start_folder=context.policy_folder(job.parent),
        out_folder=job.out_folder,
        settings=single_turn_settings(context),
        on_step=job.on_progress,
    )
    return replace(result, summary={**result.summary, "step_taken": 1.0, "gate_open": float(is_open)})


def unchanged(context: Context, job: Job) -> TrainingResult:
    """The parent's files as the candidate's; no step, so no figure of one but that nothing moved."""
    shutil.rmtree(job.out_folder, ignore_errors=True)
    from itpo_core.adapter_files import is_adapter
    from itpo_core.tiny_policy import load_policy, save_policy

    parent = context.policy_folder(job.parent)
    if is_adapter(parent):
        save_policy(*load_policy(parent), folder=job.out_folder)
    else:
        shutil.copytree(parent, job.out_folder)
    return TrainingResult(steps=(), summary=NO_STEP)


def logged(spoken: SpokenTurns) -> LoggedConversations:
    """What the parent spoke, with outcomes for the doubly robust step."""
    of = spoken.streams
    outcomes_B = of.behaviour_logprobs_BT.new_tensor([row["outcome"] for row in spoken.firsts])
    return LoggedConversations(
        ConversationTokens(of.tokens_BT, of.turn_BT, of.lengths_B), spoken.policy_versions, outcomes_B
    )


def single_turn_settings(context: Context) -> SingleTurnSettings:
    """The configured step; turns are drawn as they were collected, Q is as pessimistic as it was fitted."""
    own, sampling = context.config.improve, context.config.sampling
    return SingleTurnSettings(
        passes=own.passes,
        conversations_per_pass=own.conversations_per_pass,
        conversations_per_step=own.conversations_per_step,
        draws=own.draws,
        max_new_tokens=sampling.max_new_tokens,
        temperature=sampling.temperature,
        learning_rate=own.learning_rate,
        learning_rate_decay=own.learning_rate_decay,
        kl_weight=own.kl_weight,
        kl_growth=own.kl_growth,
        iteration=context.iteration - 1,
        clip_low=own.clip_low,
        clip_high=own.clip_high,
        advantage_limit=own.advantage_limit,
        unclosed_margin=own.unclosed_margin,
        pessimism=context.config.q.pessimism,
        abort_divergence=own.abort_divergence,
        abort_window=own.abort_window,
        doubly_robust=own.doubly_robust,
        max_gradient_norm=own.max_gradient_norm,
        micro_batch=own.micro_batch,
        seed=derive_seed(context.config.seed, "improve", context.iteration),
    )
