"""Whole trainings inside the real OpenRLHF, on this CPU: `make test-openrlhf`.

What this does not show: NCCL, flash attention, packing, ZeRO above 0, sleep, several workers, and speed.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from itpo_core.envs.catalogue import sales
from itpo_core.q_files import save_members
from itpo_core.q_models import new_q
from itpo_core.reward_model import ConversationTokens
from itpo_core.rewards.q_scorer import QScorer
from itpo_core.rewards.service import RewardService
from itpo_core.tiny_policy import create_policy, load_policy, save_policy, suppressed_ids
from itpo_core.trainers.base import PolicySettings, TrainingBatch
from itpo_core.trainers.openrlhf_flags import OpenRlhfFlags
from itpo_core.trainers.openrlhf_job import OpenRlhfJob
from itpo_core.trainers.openrlhf_prompts import history_prompts, token_prompts
from itpo_core.trainers.openrlhf_staging import stage_policy, take_candidate
from itpo_core.trainers.openrlhf_trainer import OpenRlhfTrainer
from itpo_core.types import Split
from storage.paths import repository_root
from tests.openrlhf.on_cpu import HALF_AN_HOUR_S, PYTHON, job_on_cpu

ROOT = repository_root()
AGENT = str(ROOT / "itpo_core/trainers/openrlhf_agent.py")
WORDS = ("red", "green", "blue", "cup", "hat", "bag", "yes", "no")
# The backend of attention on CPUs knows heads of 32 and more, which size "s" has and "xs" has not.
SIZE = "s"
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(2 * HALF_AN_HOUR_S)]


@pytest.fixture
def job(tmp_path_factory: pytest.TempPathFactory) -> OpenRlhfJob:
    """OpenRLHF on the CPU under a Ray head of its own."""
    assert PYTHON.is_file(), f"no {PYTHON}: make .venv-openrlhf/.installed"
    # A socket's path may have 107 characters, and Ray adds some 60 of its own.
    return job_on_cpu(ITPO_RAY_FOLDER=str(tmp_path_factory.getbasetemp().parent / "ray"))


def flags_for(folder: Path) -> OpenRlhfFlags:
    """One trainer, one reference and one engine on a CPU; everything small."""
    return OpenRlhfFlags(
        policy=str(folder / "policy"),
        prompts=str(folder / "prompts.jsonl"),
        chat_template=False,
        max_tokens=256,
        actor_gpus=1,
        reference_gpus=1,
        engines=1,
        engine_eager=True,
        engine_memory_share=0.3,
        prompts_per_step=8,
        rollout_micro_batch=4,
        max_new_tokens=12,
        gap_level="token",
        gap_mode="clip",
        gap_bounds=(0.0, 2.0),
        learning_rate=1e-3,
        batch=8,
        micro_batch=4,
        zero_stage=0,
        attention="eager",
        packing=False,
        gradient_checkpointing=False,
        out_folder=str(folder / "made"),
        state_folder=str(folder / "state"),
        save_every=1,
    )


def with_critic(flags: OpenRlhfFlags) -> OpenRlhfFlags:
    """GAE with a critic that starts from the policy."""
    return replace(
        flags,
        estimator="gae",
        critic=flags.policy,
        critic_nodes=1,
        critic_gpus=1,
        critic_learning_rate=1e-3,
    )


def save_parent(
    folder: Path, words: tuple[str, ...], *, speaks_all: bool
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A policy in `parent`, staged in `policy`; one that speaks all has no token that it may not say."""
    model, tokenizer = create_policy(words, SIZE, seed=0)
    if speaks_all:
        model.generation_config.suppress_tokens = None
    save_policy(model, tokenizer, folder=folder / "parent")
    stage_policy(folder / "parent", folder / "policy")
    return model, tokenizer


def served_q(folder: Path, words: tuple[str, ...]) -> RewardService:
    """A Q that has an opinion, as a service."""
    model, tokenizer = load_policy(folder / "parent")
    other, _ = create_policy(words, SIZE, seed=1)
    q = new_q("dueling_logratio", other, beta=0.2, suppressed_ids=suppressed_ids(model))
    save_members([q], tokenizer, folder=folder / "q")
    scorer = QScorer.load(folder / "q", folder / "parent", pessimism=0.0, max_tokens=256)
    return RewardService(scorer, "q-1", deadline_s=120)


def moved_share(before: Path, after: Path) -> float:
    """Share of the parameters that differ beyond the rounding to bf16."""
    (old, _), (new, _) = load_policy(before), load_policy(after)
    pairs = zip(old.parameters(), new.parameters(), strict=True)
    moved = [(a.bfloat16() != b.bfloat16()).flatten() for a, b in pairs]
    return float(torch.cat(moved).float().mean())


def histories() -> ConversationTokens:
    """Sixteen openings of three words, each answered by one word."""
    words = torch.randint(6, 14, (16, 3), generator=torch.Generator().manual_seed(0))
    frame = [torch.full((16, 1), token) for token in (1, 3, 2, 4, 7)]
    tokens_BT = torch.cat([*frame[:2], words, *frame[2:]], dim=1)
    turn_BT = torch.full((16, 8), -1)
    turn_BT[:, 7] = 0
    return ConversationTokens(tokens_BT, turn_BT, torch.full((16,), 8))


def credited() -> TrainingBatch:
    """Fourteen conversations of two turns; a turn's tokens share its advantage."""
    generator = torch.Generator().manual_seed(0)
    is_policy_BT = torch.zeros(14, 20, dtype=torch.bool)
    is_policy_BT[:, 4:8] = True
    is_policy_BT[:, 12:16] = True
    turns = [torch.randn(14, 1, generator=generator).expand(14, 10) for _ in range(2)]
    return TrainingBatch(
        tokens_BT=torch.randint(6, 14, (14, 20), generator=generator),
        is_policy_BT=is_policy_BT,
        behaviour_logprobs_BT=torch.where(is_policy_BT, -2.0, 0.0),
        advantages_BT=torch.cat(turns, dim=1) * is_policy_BT,
        lengths_B=torch.full((14,), 20),
        policy_versions=frozenset({"parent"}),
        reward_B=torch.rand(14, generator=generator),
    )


@pytest.fixture
def ready(tmp_path: Path) -> Iterator[tuple[Path, RewardService]]:
    """A policy with prompts, and its Q being served."""
    _, tokenizer = save_parent(tmp_path, WORDS, speaks_all=True)
    names = [f"conversation-{row}" for row in range(16)]
    prompts = history_prompts(histories(), tokenizer, names_B=names, max_tokens=256, max_new_tokens=12)
    lines = "".join(f"{json.dumps(row)}\n" for row in prompts.rows)
    (tmp_path / "prompts.jsonl").write_text(lines)
    with served_q(tmp_path, WORDS) as service:
        yield tmp_path, service


@pytest.mark.parametrize("by", ["file", "http"])
def test_visited_histories_are_trained_on_with_q_as_the_reward(
    job: OpenRlhfJob, ready: tuple[Path, RewardService], by: str
) -> None:
    folder, service = ready
    url = str(ROOT / "itpo_core/rewards/openrlhf_reward.py") if by == "file" else service.url
    job = replace(job, variables={**job.variables, "ITPO_REWARD_URL": service.url})
    flags = replace(with_critic(flags_for(folder)), reward_url=url)

    found = job.run(flags, "stock", log=folder / "log", steps=2)

    take_candidate(folder / "made", folder / "candidate", parent=folder / "parent")
    assert service.health()["rewards"] == 16
    assert 0 < found.summary["rollout/reward_mean"] < 1
    # The reference is the policy itself before its first step, to the last bit.
    assert (found.steps[0]["kl"], found.steps[1]["kl"] == 0) == (0, False)
    assert moved_share(folder / "parent", folder / "candidate") > 0.3


def test_histories_are_answered_by_our_agent_though_some_tokens_are_never_spoken(
    job: OpenRlhfJob, tmp_path: Path
) -> None:
    model, _ = save_parent(tmp_path, WORDS, speaks_all=False)
    names = [f"conversation-{row}" for row in range(16)]
    prompts = token_prompts(
        histories(), names_B=names, max_tokens=256, max_new_tokens=12, suppressed_ids=suppressed_ids(model)
    )
    (tmp_path / "prompts.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in prompts.rows))
    # Siblings are compared; no critic.
    flags = replace(flags_for(tmp_path), agent_file=AGENT, samples_per_prompt=2, prompts_per_step=8, batch=16)

    with served_q(tmp_path, WORDS) as service:
        job = replace(job, variables={**job.variables, "ITPO_REWARD_URL": service.url})
        found = job.run(flags, "replies", log=tmp_path / "log", steps=2)

        assert (service.health()["rewards"], service.health()["refused"]) == (32, 0)
    take_candidate(tmp_path / "made", tmp_path / "candidate", parent=tmp_path / "parent")
    assert (found.steps[0]["kl"], found.steps[1]["kl"] == 0) == (0, False)
    # Nearly half of the tokens are never spoken: a trainer that gave them a chance would be .5 nats off.
    assert max(abs(step["vllm_kl"]) for step in found.steps) < 0.05
    assert found.summary["broken"] == 0
    assert moved_share(tmp_path / "parent", tmp_path / "candidate") > 0.3


def test_conversations_of_our_agent_are_trained_on_with_a_reward_for_every_turn(
    job: OpenRlhfJob, tmp_path: Path
) -> None:
    known = sales("small")
    model, _ = save_parent(tmp_path, known.vocabulary, speaks_all=False)
    labels = [
        {
            "domain": "sales",
            "preset": "small",
            "scenario": asdict(scenario),
            "seed": row,
            "turn_tokens": 8,
            "suppressed_ids": suppressed_ids(model),
        }
        for row, scenario in enumerate(known.environment.scenarios(Split.SEEN, count=8, seed=0))
    ]
    rows = [{"input": f"row {row}", "label": json.dumps(label)} for row, label in enumerate(labels)]
    (tmp_path / "prompts.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    flags = replace(
        with_critic(flags_for(tmp_path)), agent_file=AGENT, prompts_per_step=4, samples_per_prompt=2
    )

    with served_q(tmp_path, known.vocabulary) as service:
        job = replace(job, variables={**job.variables, "ITPO_REWARD_URL": service.url})
        found = job.run(flags, "turns", log=tmp_path / "log", steps=2)

        take_candidate(tmp_path / "made", tmp_path / "candidate", parent=tmp_path / "parent")
        assert service.health()["refused"] == 0
        assert found.summary["broken"] == 0
        assert max(abs(step["vllm_kl"]) for step in found.steps) < 0.05
        assert (found.steps[0]["kl"], found.steps[1]["kl"] == 0) == (0, False)
        # Two steps of eight conversations, each turn valued once.
        assert service.health()["rewards"] == 8 * sum(step["turns"] for step in found.steps)
        assert moved_share(tmp_path / "parent", tmp_path / "candidate") > 0.3


def test_a_committed_batch_is_trained_on_and_the_next_starts_from_its_candidate(
    job: OpenRlhfJob, tmp_path: Path
) -> None:
    model, tokenizer = create_policy(WORDS, SIZE, seed=0)
    save_policy(model, tokenizer, folder=tmp_path / "first")
    # No engine: nothing is generated.
    flags = replace(flags_for(tmp_path), engines=0, gap_level="off", gap_mode=None, gap_bounds=None)
    trainer = OpenRlhfTrainer(job, flags)
    settings = PolicySettings(
        epochs=2, minibatch_conversations=8, clip_low=0.2, clip_high=0.2, dual_clip=None
    )

    for start, out in (("first", "second"), ("second", "third")):
        found = trainer.train(
            credited(),
            parent_version="parent",
            start_folder=tmp_path / start,
            out_folder=tmp_path / out,
            settings=settings,
            on_step=lambda done, total: None,
        )

        # The divergence is measured in the loss: from 0 before the first update to what the last one made.
        assert found.summary["final_kl"] > 0
        assert moved_share(tmp_path / start, tmp_path / out) > 0.3
    staged = load_file(tmp_path / "third.work/policy/model.safetensors")
    taken = load_file(tmp_path / "second/model.safetensors")
    assert all(torch.equal(staged[name], taken[name]) for name in taken)
