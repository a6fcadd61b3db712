"""OpenRLHF with turn credit: the classes that we put in place of its own, and the entry that does so.

Runs in OpenRLHF's environment: `python -m itpo_core.trainers.openrlhf_ray <arguments of train_ppo_ray>`. What
is in place is chosen by ITPO_CREDIT: `stock`, `turns` (conversations held by our agent, a reward per turn) or
`committed` (conversations of a committed batch, an advantage per token).

Stock OpenRLHF adds the rewards of all steps of a conversation and lays the sum on its last token. Its trainer
takes its parts by name, so a subclass of the trainer replaces two of them after they were made: what gives
samples, and what makes advantages. Losses, optimiser, checkpoints and weight sync stay OpenRLHF's.

Axes: B conversations, T tokens, A = T - 1 places that predict a token.
"""

import os
import runpy
import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from typing import Any

import openrlhf.trainer.ppo_trainer as stock
import ray
import torch
from openrlhf.models.utils import compute_reward
from openrlhf.trainer.ppo_utils.experience import Experience
from openrlhf.trainer.ppo_utils.experience_maker import RemoteExperienceMaker
from openrlhf.trainer.ppo_utils.samples_generator import SamplesGenerator, _collect_prompt_batch

from itpo_core.trainers.openrlhf_credit import (
    CreditedRow,
    committed_row,
    rewards_on_places,
    stacked,
    turn_rewards,
    whitened,
)
from itpo_core.trainers.openrlhf_flags import MODULE, check_version

CREDIT_VARIABLE = "ITPO_CREDIT"
# Ray keeps a trainer's class only inside the actor class that it makes of it.
StockTrainer = stock.PPOTrainer.__ray_metadata__.modified_class
RETURNS = ("reinforce", "gae")


class CommittedSamples(SamplesGenerator):
    """Gives the conversations that the prompts' labels name; nothing is generated."""

    def _generate_vllm(
        self, dataloader_iter: Iterator[Any], num_prompts: int, dynamic_filtering: bool, **sampling: Any
    ) -> tuple[list[Experience], int, bool]:
        prompts, labels, _, exhausted = _collect_prompt_batch(dataloader_iter, num_prompts)
        samples = [
            sample(committed_row(label), prompt=prompt, label=label)
            for prompt, label in zip(prompts, labels, strict=True)
        ]
        return samples, len(prompts), exhausted


class CommittedAdvantages(RemoteExperienceMaker):
    """Advantages as they were committed, token by token; log-probabilities and KL are the actors'."""

    def compute_advantages_and_returns(self, experiences: list[Experience]) -> list[Experience]:
        """Put each row's advantages on its places. Raises ValueError for a KL in the reward."""
        kl = self.args.algo.kl
        if kl.init_coef > 0 and not kl.use_loss:
            raise ValueError("committed advantages take a KL in the loss only: set --algo.kl.use_loss")
        for experience in experiences:
            rows = [committed_row(label).advantages_A for label in experience.labels]
            experience.advantages = stacked(rows, experience.action_mask.shape[1])
            experience.returns = experience.advantages.clone()
            experience.info["return"] = experience.advantages.sum(dim=-1)
            experience.kl = None
        return experiences


class TurnRewardAdvantages(RemoteExperienceMaker):
    """Advantages from rewards that lie where their turns end; everything else is OpenRLHF's arithmetic."""

    def compute_advantages_and_returns(self, experiences: list[Experience]) -> list[Experience]:
        """GAE or discounted returns of the turns' rewards, whitened over the batch as OpenRLHF does."""
        if self.advantage_estimator not in RETURNS:
            raise ValueError(
                f"estimator {self.advantage_estimator!r} compares conversations: use {' or '.join(RETURNS)}"
            )
        for experience in experiences:
            self._credit(experience)
        if not self.args.algo.advantage.no_std_norm:
            _whiten(experiences)
        return experiences

    def _credit(self, experience: Experience) -> None:
        chosen, mask_BA = self.args.algo.advantage, experience.action_mask
        given = [turn_rewards(label) for label in experience.labels]
        rewards_BA = rewards_on_places(given, mask_BA).clamp(*self.args.reward.clip_range)
        # OpenRLHF's own function for a reward of nothing leaves its penalty for the divergence.
        rewards_BA = rewards_BA + compute_reward(
            torch.zeros(len(given)), self.kl_ctl.value, experience.kl, action_mask=mask_BA
        )
        if self.advantage_estimator == "gae":
            found = self.get_advantages_and_returns(
                experience.values, rewards_BA, mask_BA, chosen.gamma, chosen.lambd
            )
            experience.advantages, experience.returns = found
        else:
            experience.returns = self.get_cumulative_returns(rewards_BA, mask_BA, chosen.gamma)
            experience.advantages = experience.returns.clone()
        experience.info["return"] = rewards_BA.sum(dim=-1)
        experience.kl = None


def _whiten(experiences: Sequence[Experience]) -> None:
    width = max(one.advantages.shape[1] for one in experiences)
    flat = [row for one in experiences for row in one.advantages.float()]
    masks = [row for one in experiences for row in one.action_mask.float()]
    rows_BA = iter(whitened(stacked(flat, width), stacked(masks, width)))
    for one in experiences:
        places = one.advantages.shape[1]
        one.advantages = torch.stack([next(rows_BA)[:places] for _ in range(len(one.advantages))])


class CommittedTrainer(StockTrainer):
    """OpenRLHF's trainer on a committed batch. Its signature is OpenRLHF's to choose, so it is passed on."""

    def __init__(self, *args: Any, **sampling: Any) -> None:
        super().__init__(*args, **sampling)
        self.experience_maker = _maker(CommittedAdvantages, self)
        self.samples_generator = CommittedSamples(
            self.strategy, self.prompts_dataloader, self.eval_dataloader, self.tokenizer, self.vllm_engines
        )


class TurnCreditTrainer(StockTrainer):
    """OpenRLHF's trainer on conversations that our agent holds; the signature is passed on, as above."""

    def __init__(self, *args: Any, **sampling: Any) -> None:
        super().__init__(*args, **sampling)
        self.experience_maker = _maker(TurnRewardAdvantages, self)


def _maker(kind: type[RemoteExperienceMaker], trainer: StockTrainer) -> RemoteExperienceMaker:
    return kind(
        trainer.actor_model_group,
        trainer.critic_model_group,
        trainer.reward_model_group,
        trainer.reference_model_group,
        trainer.kl_ctl,
        trainer.strategy,
        trainer.tokenizer,
    )


TRAINERS = {"turns": TurnCreditTrainer, "committed": CommittedTrainer}


def sample(row: CreditedRow, *, prompt: str, label: str) -> Experience:
    """A conversation as OpenRLHF's generator would have given it, a batch of one."""
    mask_A, length = row.is_policy_A.long(), len(row.tokens_T)
    places = mask_A.nonzero()[:, 0]
    return Experience(
        sequences=row.tokens_T.unsqueeze(0),
        attention_mask=torch.ones(1, length, dtype=torch.long),
        action_mask=mask_A.unsqueeze(0),
        rollout_log_probs=row.behaviour_logprobs_A.unsqueeze(0),
        prompts=[prompt],
        labels=[label],
        images=[None],
        mm_train_inputs=[None],
        rewards=torch.tensor([row.reward]),
        response_length=torch.tensor([int(places[-1] - places[0]) + 1 if len(places) else 0]),
        truncated=torch.tensor([False]),
        total_length=torch.tensor([float(length)]),
        info={"reward": torch.tensor([row.reward]), "response_clip_ratio": torch.tensor([False])},
    )


def put_in_place(credit: str) -> None:
    """Make OpenRLHF's command build our trainer. Raises ValueError for an unknown kind of credit."""
    if credit == "stock":
        return
    if credit not in TRAINERS:
        raise ValueError(f"{CREDIT_VARIABLE}={credit!r}: use one of stock, {', '.join(TRAINERS)}")
    # The command looks the name up when it starts the trainer.
    stock.PPOTrainer = ray.remote(TRAINERS[credit])


def main(argv: Sequence[str]) -> None:
    """Run OpenRLHF's training with these arguments and the chosen credit. Raises OpenRlhfVersionError."""
    check_version(version("openrlhf"))
    put_in_place(os.environ.get(CREDIT_VARIABLE, "stock"))
    sys.argv = [MODULE, *argv]
    runpy.run_module(MODULE, run_name="__main__")


if __name__ == "__main__":
    # Ray sends a class of __main__ by value, without its imports: the entry is that of the named module.
    from itpo_core.trainers import openrlhf_ray

    openrlhf_ray.main(sys.argv[1:])
