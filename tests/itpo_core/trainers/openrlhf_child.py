"""Our classes inside OpenRLHF's real code, in a process of its own: what is heavy is replaced by empty names.

Run as a file it prints figures as one line of JSON; `test_openrlhf_inside.py` judges them.
"""

import asyncio
import importlib.machinery
import json
import os
import sys
import tempfile
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

ROOT = Path(__file__).parents[3]
# Last, for the wheel brings a package `tests` of its own.
sys.path[:0] = [str(ROOT)]
sys.path.append(str(ROOT / ".venv" / "openrlhf"))
EMPTY = (
    "datasets", "deepspeed", "deepspeed.ops", "deepspeed.ops.adam", "deepspeed.runtime",
    "deepspeed.runtime.utils", "deepspeed.runtime.zero", "deepspeed.runtime.zero.partition_parameters",
    "deepspeed.utils", "flash_attn", "flash_attn.bert_padding", "flash_attn.utils",
    "flash_attn.utils.distributed", "peft", "peft.tuners", "peft.tuners.lora", "pylatexenc", "torchdata",
    "torchdata.stateful_dataloader", "vllm", "vllm.inputs", "vllm.utils",
)  # fmt: skip


class Empty(ModuleType):
    """A module in which every name is a class that does nothing."""

    __version__ = "0.29.0"

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        made = type(name, (), {})
        setattr(self, name, made)
        return made


for module_name in EMPTY:
    module = Empty(module_name)
    module.__path__ = []
    module.__spec__ = importlib.machinery.ModuleSpec(module_name, None, is_package=True)
    sys.modules[module_name] = module

import torch  # noqa: E402
from openrlhf.models.loss import PolicyLoss  # noqa: E402
from openrlhf.trainer.ppo_utils.experience import Experience  # noqa: E402
from openrlhf.trainer.ppo_utils.experience_maker import RemoteExperienceMaker  # noqa: E402

import itpo_core.trainers.openrlhf_ray as ours  # noqa: E402
from itpo_core.credit import CreditMethod  # noqa: E402
from itpo_core.envs.catalogue import sales  # noqa: E402
from itpo_core.rewards.service import RewardService  # noqa: E402
from itpo_core.tiny_policy import create_policy, suppressed_ids  # noqa: E402
from itpo_core.trainers.base import TrainingBatch  # noqa: E402
from itpo_core.trainers.openrlhf_agent import AgentExecutor  # noqa: E402
from itpo_core.trainers.openrlhf_broken import BrokenBudgetError, broken_output  # noqa: E402
from itpo_core.trainers.openrlhf_credit import TurnRewards, stage_batch  # noqa: E402
from itpo_core.trainers.openrlhf_online import OnlineCredit  # noqa: E402
from itpo_core.trainers.openrlhf_openings import OpeningLabel  # noqa: E402
from itpo_core.trainers.openrlhf_prompts import HistoryLabel  # noqa: E402
from itpo_core.trainers.openrlhf_spoken import leave_out  # noqa: E402
from itpo_core.types import Split  # noqa: E402

ROWS, PLACES = 4, 7


def arguments(estimator: str, *, kl: float = 0.0, use_loss: bool = False) -> SimpleNamespace:
    """What the makers read of OpenRLHF's arguments."""
    name = SimpleNamespace
    return name(
        algo=name(
            advantage=name(estimator=estimator, gamma=0.9, lambd=0.8, no_std_norm=False),
            kl=name(init_coef=kl, use_loss=use_loss),
        ),
        rollout=name(n_samples_per_prompt=1),
        reward=name(
            clip_range=(-10.0, 10.0),
            overlong_buffer_len=None,
            stop_properly_penalty_coef=None,
            overlong_penalty_factor=1,
        ),
    )


def maker(kind: type, args: SimpleNamespace) -> Any:
    """An experience maker without the actors that it would ask."""
    made = kind.__new__(kind)
    made.strategy, made.args = SimpleNamespace(args=args), args
    made.advantage_estimator = args.algo.advantage.estimator
    made.kl_ctl = SimpleNamespace(value=args.algo.kl.init_coef)
    return made


def experience(rewards: list[float]) -> Any:
    """Two ranges of the policy's own places: 1 to 2 and 5 to 6; the second row ends earlier."""
    generator = torch.Generator().manual_seed(0)
    mask = torch.zeros(ROWS, PLACES, dtype=torch.bool)
    mask[:, 1:3] = True
    mask[:, 5:7] = True
    mask[1, 6] = False
    return Experience(
        sequences=torch.zeros(ROWS, PLACES + 1, dtype=torch.long),
        action_mask=mask,
        rewards=torch.tensor(rewards),
        kl=0.1 * torch.randn(ROWS, PLACES, generator=generator) * mask,
        values=torch.randn(ROWS, PLACES, generator=generator),
        index=list(range(ROWS)),
        labels=["{}"] * ROWS,
        info={},
    )


def same_as_stock(estimator: str) -> dict[str, float]:
    """All of the reward on the last turn is what OpenRLHF does itself: the largest difference of the two."""
    rewards = [1.0, 2.0, 3.0, 6.0]
    args = arguments(estimator, kl=0.5)
    (theirs,) = maker(RemoteExperienceMaker, args).compute_advantages_and_returns([experience(rewards)])
    given = experience(rewards)
    ends = [8, 7, 8, 8]
    given.labels = [
        TurnRewards((0.0, reward), (4, end)).label() for reward, end in zip(rewards, ends, strict=True)
    ]
    (found,) = maker(ours.TurnRewardAdvantages, args).compute_advantages_and_returns([given])
    mask = found.action_mask
    return {
        "advantages": float(((found.advantages - theirs.advantages) * mask).abs().max()),
        "returns": float(((found.returns - theirs.returns) * mask).abs().max()),
        "spread": float((theirs.advantages * mask).abs().max()),
    }


def earlier_turn() -> list[float]:
    """A reward of the first turn alone, gamma 0.9 and no whitening: the first row's advantages."""
    args = arguments("reinforce")
    args.algo.advantage.no_std_norm = True
    given = experience([0.0] * ROWS)
    given.labels = [TurnRewards((1.0, 0.0), (4, 7)).label()] * ROWS
    (found,) = maker(ours.TurnRewardAdvantages, args).compute_advantages_and_returns([given])
    return found.advantages[0].tolist()


def online() -> list[list[float]]:
    """Outcomes 1, 0, 1 and a broken one, two prompts of two: RLOO of the outcome, as the lake credits it."""
    os.environ["ITPO_ONLINE_CREDIT"] = OnlineCredit(
        CreditMethod("outcome", "rloo"), token_cost=0.0, samples=2
    ).text()
    args = arguments("reinforce", kl=0.5, use_loss=True)
    given = experience([1.0, 0.0, 1.0, float("nan")])
    given.info = {"reward": given.rewards.clone(), "broken": torch.tensor([0.0, 0.0, 0.0, 1.0])}
    held = [TurnRewards((0.0, 0.0), (4, 8), (2, 2), (0.0, 0.0), outcome) for outcome in (1.0, 0.0, 1.0)]
    given.labels = [*(one.label() for one in held), str(broken_output("gone", prompt="p", logs={})["label"])]
    (found,) = maker(ours.OnlineAdvantages, args).compute_advantages_and_returns([given])
    return found.advantages.tolist()


def with_broken(estimator: str) -> dict[str, Any]:
    """The last of four samples is broken: advantages, and OpenRLHF's own where that row has no tokens."""
    args = arguments(estimator)
    args.rollout.n_samples_per_prompt = 2 if estimator == "rloo" else 1
    given = experience([1.0, 2.0, 3.0, float("nan")])
    given.labels = [*["{}"] * 3, broken_output("engine", prompt="", logs={})["label"]]
    given.action_mask[3] = False
    given.info = {"reward": given.rewards.clone(), "broken": torch.tensor([0.0, 0.0, 0.0, 1.0])}
    whole = experience([1.0, 2.0, 3.0, 0.0])
    whole.action_mask[3] = False
    stock = maker(RemoteExperienceMaker, args).compute_advantages_and_returns([whole])[0]
    by = maker(ours.WholeAdvantages, args)
    (found,) = by.compute_advantages_and_returns([given])
    mask = found.action_mask
    return {
        "gap": float(((found.advantages - stock.advantages) * mask)[:3].abs().max()),
        "ends": [found.advantages[row, 5].item() for row in range(3)],
        "finite": bool(found.advantages.isfinite().all() and found.returns.isfinite().all()),
        "reward": found.info["reward"].tolist(),
        "broken": found.info["broken"].tolist(),
        "estimator": by.advantage_estimator,
    }


def turns_with_broken() -> dict[str, Any]:
    """A conversation of two turns beside a broken one."""
    args = arguments("reinforce")
    args.algo.advantage.no_std_norm = True
    given = experience([0.0] * ROWS)
    labels = [TurnRewards((1.0, 0.0), (4, 7)).label()] * 3
    given.labels = [*labels, str(broken_output("judge", prompt="", logs={})["label"])]
    given.action_mask[3] = False
    given.info = {"reward": torch.tensor([1.0, 1.0, 4.0, float("nan")])}
    (found,) = maker(ours.TurnRewardAdvantages, args).compute_advantages_and_returns([given])
    return {
        "first": found.advantages[0].tolist(),
        "broken": found.advantages[3].tolist(),
        "reward": found.info["reward"].tolist(),
    }


def counted(broken: int) -> str:
    """A round of five samples: what the sampler says of it."""
    sampler = ours.CountedSamples.__new__(ours.CountedSamples)
    sampler.begin_round()
    whole = {
        "prompt": "", "label": "{}", "reward": 1.0, "scores": 1.0, "observation_tokens": [1, 2, 3],
        "action_ranges": [(1, 3)], "rollout_log_probs": [0.0, -1.0, -1.0], "extra_logs": {"broken": 0.0},
    }  # fmt: skip
    lost = broken_output("the judge broke", prompt="", logs={})
    for response in [*[lost] * broken, *[whole] * (5 - broken)]:
        made = sampler._process_response_into_experience(response)
        assert made.action_mask.sum() == (0 if response is lost else 2)
    return refused(sampler.end_round)


def spoken_mass() -> dict[str, float]:
    """Chance of all tokens together that the policy never speaks, before and after they are left out."""
    policy, _ = create_policy(("good", "bad"), "xs", seed=0)
    tokens, never = torch.tensor([[1, 3, 6, 2, 4]]), list(suppressed_ids(policy))
    with torch.no_grad():
        before = policy(tokens).logits.softmax(-1)[..., never].sum(-1).max()
        leave_out(policy)
        after = policy(tokens).logits.softmax(-1)[..., never].sum(-1).max()
    return {"before": float(before), "after": float(after)}


def batch() -> TrainingBatch:
    """Three conversations of lengths 6, 8 and 5, an advantage for every token of theirs."""
    is_policy = torch.zeros(3, 8, dtype=torch.bool)
    is_policy[:, 3:5] = True
    is_policy[1, 6:8] = True
    numbers = torch.arange(24.0).reshape(3, 8)
    return TrainingBatch(
        tokens_BT=torch.arange(24).reshape(3, 8),
        is_policy_BT=is_policy,
        behaviour_logprobs_BT=torch.where(is_policy, -0.1 * numbers, 0.0),
        advantages_BT=torch.where(is_policy, numbers - 10, 0.0),
        lengths_B=torch.tensor([6, 8, 5]),
        policy_versions=frozenset({"sales-0000"}),
        reward_B=torch.tensor([0.0, 1.0, 0.5]),
    )


def replayed(folder: Path) -> dict[str, Any]:
    """The committed batch after OpenRLHF's own sampler, split and experience."""
    prompts = stage_batch(batch(), folder)
    rows = [json.loads(line) for line in prompts.read_text().splitlines()]
    args = arguments("reinforce", kl=0.1, use_loss=True)
    args.train = SimpleNamespace(dynamic_batch_enable=False)
    args.rollout.micro_batch_size = 2
    samples = ours.CommittedSamples.__new__(ours.CommittedSamples)
    loader = iter([([""], [row["input"]], [row["label"]], [None]) for row in rows])
    given, consumed, exhausted = samples._generate_vllm(loader, 8, False)
    keeper = maker(ours.CommittedAdvantages, args)
    keeper.tokenizer = SimpleNamespace(pad_token_id=0)
    made = keeper.split_rollout_samples(given)
    for one in made:
        one.kl = torch.zeros(one.action_mask.shape)
    done = keeper.compute_advantages_and_returns(made)
    return {
        "consumed": consumed,
        "exhausted": exhausted,
        "tokens": [one.sequences.tolist() for one in done],
        "masks": [one.action_mask.long().tolist() for one in done],
        "advantages": [one.advantages.tolist() for one in done],
        "logprobs": [one.rollout_log_probs.tolist() for one in done],
        "rewards": [one.rewards.tolist() for one in done],
        "cosine": gradient_cosine(done[0]),
    }


def gradient_cosine(one: Any) -> float:
    """OpenRLHF's own loss on what was replayed: minus its gradient against the advantages, at ratio 1."""
    logprobs = torch.zeros(one.action_mask.shape, requires_grad=True)
    loss, *_ = PolicyLoss(0.2, 0.2)(
        logprobs, torch.zeros_like(logprobs), one.advantages, action_mask=one.action_mask.float()
    )
    loss.backward()
    given = one.advantages * one.action_mask
    return float(torch.nn.functional.cosine_similarity(-logprobs.grad.flatten(), given.flatten(), dim=0))


def refused(action: Any) -> str:
    """The error that an action raises."""
    try:
        action()
    except (ValueError, BrokenBudgetError) as error:
        return str(error)
    return ""


def refused_by(kind: type, args: SimpleNamespace) -> str:
    """What a maker says to these arguments."""
    return refused(lambda: maker(kind, args).compute_advantages_and_returns([]))


class ScriptedEngine:
    """OpenRLHF's engine: says the same turn again and again, with log-probability -1 for each token."""

    def __init__(self, said: list[int], *, logprob: float = -1.0) -> None:
        self.said, self.logprob = said, logprob
        self.asked: list[tuple[list[int], Any]] = []

    async def generate(self, ids: list[int], parameters: Any, multi_modal_data: object = None) -> Any:
        """As RolloutRayActor's."""
        self.asked.append((ids, parameters))
        logprobs = [{token: SimpleNamespace(logprob=self.logprob)} for token in self.said]
        return SimpleNamespace(outputs=[SimpleNamespace(token_ids=self.said, logprobs=logprobs)])


def executed(label: str, parameters: Any, engine: Any, *, tokenizer: Any, max_length: int) -> Any:
    """One sample by our agent, asked as OpenRLHF asks."""
    named = {"hf_tokenizer": tokenizer, "max_length": max_length, "llm_engine": engine}
    return asyncio.run(AgentExecutor().execute("p", label, sampling_params=parameters, **named))


def conversation() -> dict[str, Any]:
    """A whole conversation of our sales domain through the agent."""
    known = sales("small")
    policy, tokenizer = create_policy(known.vocabulary, "xs", seed=0)
    (scenario,) = known.environment.scenarios(Split.SEEN, count=1, seed=0)
    label = OpeningLabel("sales", "small", scenario, 5, turn_tokens=9, suppressed_ids=suppressed_ids(policy))
    said = [*tokenizer(" ".join(known.vocabulary[:3]), add_special_tokens=False)["input_ids"], 2]
    engine = ScriptedEngine(said)
    parameters = SimpleNamespace(temperature=0.7, top_p=1.0, max_tokens=None, logprobs=None, logit_bias=None)

    def hold(max_length: int) -> Any:
        return executed(label.label(), parameters, engine, tokenizer=tokenizer, max_length=max_length)

    held = hold(512)
    tokens = held["observation_tokens"]
    return {
        "said": said,
        "turns": [tokens[start:end] for start, end in held["action_ranges"]],
        "asked": [
            ids == tokens[:start]
            for (ids, _), (start, _) in zip(engine.asked, held["action_ranges"], strict=True)
        ],
        "logprobs": held["rollout_log_probs"],
        "ranges": held["action_ranges"],
        "reward": held["reward"],
        "label": json.loads(held["label"]),
        "most": [parameters.max_tokens for _, parameters in engine.asked],
        "bias": sorted(engine.asked[0][1].logit_bias),
        "biases": sorted({str(bias) for bias in engine.asked[0][1].logit_bias.values()}),
        "least": engine.asked[0][1].min_tokens,
        "suppressed": sorted(suppressed_ids(policy)),
        "max_turns": known.environment.max_turns,
        "untouched": parameters.max_tokens is None,
        "too_long": refused(lambda: hold(12)),
        "same_label": OpeningLabel.read(label.label()) == label,
    }


def replies() -> dict[str, Any]:
    """Histories answered by the agent, valued by a service that says how many tokens a reply has."""
    policy, tokenizer = create_policy(("good", "bad"), "xs", seed=0)
    label = HistoryLabel("c7", 1, (1, 3, 6, 2, 4), suppressed_ids(policy))
    parameters = SimpleNamespace(temperature=0.7, top_p=1.0, max_tokens=4, logprobs=None, logit_bias=None)

    def said(ids: list[int], *, logprob: float = -1.0, max_length: int = 16) -> Any:
        engine = ScriptedEngine(ids, logprob=logprob)
        made = executed(label.label(), parameters, engine, tokenizer=tokenizer, max_length=max_length)
        return made | {"asked": engine.asked[0][0]}

    def lengths(asked: Any) -> list[float]:
        return [float(len(one.said)) for one in asked]

    with RewardService(lengths, "q-1") as service:
        os.environ["ITPO_REWARD_URL"] = service.url
        found = {
            "whole": said([6, 7, 2]),
            "cut": said([6, 7, 7, 7]),
            "never": said([6, 0, 2]),
            "no_number": said([6, 2], logprob=float("nan")),
            "too_long": refused(lambda: said([6, 2], max_length=8)),
        }
    found["service_down"] = said([6, 2])
    del os.environ["ITPO_REWARD_URL"]
    return found | {"no_service": refused(lambda: said([6, 2]))}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        figures = {
            "gae": same_as_stock("gae"),
            "reinforce": same_as_stock("reinforce"),
            "earlier_turn": earlier_turn(),
            "online": online(),
            "replayed": replayed(Path(made)),
            "kl_in_reward": refused_by(ours.CommittedAdvantages, arguments("gae", kl=0.1)),
            "groups": refused_by(ours.TurnRewardAdvantages, arguments("rloo")),
            "conversation": conversation(),
            "with_broken": {name: with_broken(name) for name in ("gae", "reinforce", "rloo")},
            "turns_with_broken": turns_with_broken(),
            "counted": [counted(0), counted(1), counted(2)],
            "spoken_mass": spoken_mass(),
            "replies": replies(),
        }
    print(json.dumps(figures))
