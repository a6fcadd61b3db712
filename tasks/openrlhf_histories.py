"""Iterative PPO's step by OpenRLHF: fresh replies to visited histories, the committed Q as their reward."""

import socket
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from itpo_core.identifiers import derive_seed
from itpo_core.trainers.base import TrainingResult
from itpo_core.trainers.openrlhf_flags import check_reward_range
from tasks import improve
from tasks.context import Context
from tasks.openrlhf import cluster_of, credit_of, flags_of
from tasks.openrlhf_training import Asked, run_on_prompts
from tasks.q_facts import committed_gate
from tasks.training import Job, SpokenTurns, spoken_turns

if TYPE_CHECKING:
    from itpo_core.reward_model import ConversationTokens
    from itpo_core.trainers.openrlhf_prompts import Prompts

START_DEADLINE_S = 60.0


def train(context: Context, job: Job) -> TrainingResult:
    """Write the candidate: improved under Q, or the parent unchanged while the gate of Q is closed."""
    is_open = committed_gate(context, job.sources["q"]).is_open
    if not is_open and context.config.improve.gate == "required":
        return improve.unchanged(context, job)
    # Q is a chance of success.
    check_reward_range(flags_of(context.config, context.iteration), lowest=0.0, highest=1.0)
    spoken = spoken_turns(context, job.sources["credit"])
    prompts = histories(context, job, spoken=spoken)
    with served_q(context, job) as url:
        variables = {"ITPO_REWARD_URL": url, "ITPO_REWARD_KIND": "q"}
        asked = Asked(prompts.rows, credit_of(context.config), variables)
        result = run_on_prompts(context, job, asked=asked, spoken=spoken)
    left_out = {f"histories left out, {cause}": float(count) for cause, count in prompts.left_out.items()}
    facts = {**left_out, "step_taken": 1.0, "gate_open": float(is_open)}
    return replace(result, summary={**result.summary, **facts})


def histories(context: Context, job: Job, *, spoken: SpokenTurns) -> "Prompts":
    """Every history that was visited in as many conversations as one pass has, drawn for this iteration."""
    from itpo_core.tiny_policy import load_chat_format, load_policy
    from itpo_core.trainers.openrlhf_prompts import history_prompts, token_prompts

    chosen, names = _drawn(context, spoken)
    folder, config = context.policy_folder(job.parent), context.config
    most, new = config.model.max_context_tokens, config.sampling.max_new_tokens
    if cluster_of(config).reward == "agent":
        never = load_chat_format(folder).suppressed_ids
        return token_prompts(chosen, names_B=names, max_tokens=most, max_new_tokens=new, suppressed_ids=never)
    _, tokenizer = load_policy(folder)
    return history_prompts(chosen, tokenizer, names_B=names, max_tokens=most, max_new_tokens=new)


@contextmanager
def served_q(context: Context, job: Job) -> Generator[str]:
    """The address of a service of this iteration's Q, ours for as long as the block lasts.

    Where the configuration names one it is asked which version it serves. Raises RewardServiceError.
    """
    from itpo_core.rewards.client import wait_until_healthy
    from itpo_core.rewards.q_scorer import QScorer
    from itpo_core.rewards.service import RewardService

    cluster, q = cluster_of(context.config), job.sources["q"]
    if cluster.reward_url is not None:
        wait_until_healthy(cluster.reward_url, q.digest, deadline_s=START_DEADLINE_S)
        yield cluster.reward_url
        return
    scorer = QScorer.load(
        context.artifact_folder(q),
        context.artifact_folder(job.sources["policy"]),
        pessimism=context.config.q.pessimism,
        max_tokens=context.config.model.max_context_tokens,
    )
    with RewardService(scorer, q.digest, host=own_address(cluster.nodes)) as service:
        yield service.url


def own_address(nodes: int) -> str:
    """Where the engines of so many nodes find this machine."""
    return "127.0.0.1" if nodes == 1 else socket.gethostbyname(socket.gethostname())


def _drawn(context: Context, spoken: SpokenTurns) -> tuple["ConversationTokens", list[str]]:
    import torch

    from itpo_core.reward_model import ConversationTokens

    of = spoken.streams
    seed = derive_seed(context.config.seed, "openrlhf histories", context.iteration) % 2**63
    order = torch.randperm(len(of.lengths_B), generator=torch.Generator().manual_seed(seed))
    chosen_B = order[: context.config.improve.conversations_per_pass].sort().values
    drawn = ConversationTokens(of.tokens_BT[chosen_B], of.turn_BT[chosen_B], of.lengths_B[chosen_B])
    return drawn, [str(spoken.firsts[row]["conversation_id"]) for row in chosen_B.tolist()]
