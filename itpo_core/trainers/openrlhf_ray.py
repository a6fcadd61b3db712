"""OpenRLHF with turn credit: the classes that we put in place of its own, and the entry that does so.

Runs in OpenRLHF's environment: `python -m itpo_core.trainers.openrlhf_ray <arguments of train_ppo_ray>`. What
is in place is chosen by ITPO_CREDIT: `stock`; `replies` (our agent answers visited histories, one reward
each); `turns` (our agent holds conversations, a reward per turn); `online` (the same conversations, with the
lake's credit as ITPO_ONLINE_CREDIT says); `committed` (a committed batch, an advantage per token).

Stock OpenRLHF adds the rewards of all steps of a conversation and lays the sum on its last token. Its trainer
takes its parts by name, so a subclass of the trainer replaces two of them after they were made: what gives
samples, and what makes advantages. Losses, optimiser, checkpoints and weight sync stay OpenRLHF's. In all
ways but `stock` the policy and its reference leave out the tokens that are never spoken (`openrlhf_spoken`).

Axes: B conversations, T tokens, A = T - 1 places that predict a token, G prompts, N samples of each.
"""

import itertools
import os
import runpy
import sys
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any

import openrlhf.trainer.ppo_trainer as stock
import openrlhf.trainer.ray.launcher as stock_launcher
import openrlhf.trainer.ray.ppo_actor as stock_actor
import ray
import torch
from openrlhf.models.utils import compute_reward
from openrlhf.trainer.ppo_utils.experience import Experience
from openrlhf.trainer.ppo_utils.experience_maker import RemoteExperienceMaker
from openrlhf.trainer.ppo_utils.samples_generator import SamplesGenerator, _collect_prompt_batch

from itpo_core.trainers.openrlhf_broken import (
    BUDGET,
    BUDGET_VARIABLE,
    COMPARING,
    broken_cause,
    check_budget,
    compared,
    filled,
)
from itpo_core.trainers.openrlhf_credit import (
    CreditedRow,
    committed_row,
    rewards_on_places,
    stacked,
    turn_rewards,
    whitened,
)
from itpo_core.trainers.openrlhf_flags import MODULE, check_version
from itpo_core.trainers.openrlhf_online import OnlineCredit, advantages, held_turns, on_places
from itpo_core.trainers.openrlhf_spoken import SpokenPolicy, SpokenReference
from itpo_core.trainers.with_parent import end_with_parent

CREDIT_VARIABLE, ONLINE_VARIABLE = "ITPO_CREDIT", "ITPO_ONLINE_CREDIT"
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


class CountedSamples(SamplesGenerator):
    """Samples of our agent: what broke among them is counted, and too much of it ends the training."""

    def _generate_vllm(
        self, dataloader_iter: Iterator[Any], num_prompts: int, dynamic_filtering: bool, **sampling: Any
    ) -> tuple[list[Experience], int, bool]:
        self.begin_round()
        given = super()._generate_vllm(
            dataloader_iter=dataloader_iter,
            num_prompts=num_prompts,
            dynamic_filtering=dynamic_filtering,
            **sampling,
        )
        self.end_round()
        return given

    def begin_round(self) -> None:
        """Count from nothing."""
        self._causes: list[str | None] = []

    def end_round(self) -> None:
        """Raises BrokenBudgetError when too much of the round broke."""
        broken = [cause for cause in self._causes if cause is not None]
        budget = float(os.environ.get(BUDGET_VARIABLE, BUDGET))
        check_budget(broken, asked=len(self._causes), budget=budget)

    def _process_response_into_experience(self, response: dict[str, Any], **sampling: Any) -> Experience:
        # Also of samples that a filter then drops.
        self._causes.append(broken_cause(response["label"]))
        return super()._process_response_into_experience(response, **sampling)


class WholeAdvantages(RemoteExperienceMaker):
    """OpenRLHF's advantages, over what did not break; with nothing broken its arithmetic is untouched."""

    def compute_advantages_and_returns(self, experiences: list[Experience]) -> list[Experience]:
        """See OpenRLHF's. Broken rows are compared with nothing and have no part in any figure."""
        is_whole_B = _whole(experiences)
        if bool(is_whole_B.all()):
            return super().compute_advantages_and_returns(experiences)
        # OpenRLHF reports the rewards that it is given, here those already compared.
        rewards = [one.rewards for one in experiences]
        with self._compared(experiences, is_whole_B):
            made = super().compute_advantages_and_returns(experiences)
        for one, reward_B in zip(made, rewards, strict=True):
            one.info["reward"] = reward_B
        _fill_figures(made, is_whole_B)
        return made

    @contextmanager
    def _compared(self, experiences: list[Experience], is_whole_B: torch.Tensor) -> Generator[None]:
        """Compare here, where rows may be missing, and have OpenRLHF subtract a mean that is 0."""
        before = self.advantage_estimator
        _set_rewards(
            experiences,
            is_whole_B,
            estimator=before,
            samples=self.args.rollout.n_samples_per_prompt,
        )
        # Those two divide again; what is left to do for them is what this one does.
        if before in ("group_norm", "rloo"):
            self.advantage_estimator = self.args.algo.advantage.estimator = "dr_grpo"
        try:
            yield
        finally:
            self.advantage_estimator = self.args.algo.advantage.estimator = before


def _whole(experiences: Sequence[Experience]) -> torch.Tensor:
    labels = [label for one in experiences for label in one.labels]
    return torch.tensor([broken_cause(label) is None for label in labels])


def _set_rewards(
    experiences: Sequence[Experience], is_whole_B: torch.Tensor, *, estimator: str, samples: int
) -> None:
    rewards_B = torch.cat([one.rewards.float() for one in experiences])
    if estimator in COMPARING:
        # Rows may have been sorted by length; the samples of a prompt stand together in the first order.
        order_B = torch.tensor(list(itertools.chain.from_iterable(one.index for one in experiences)))
        sorted_B, whole_B = torch.empty_like(rewards_B), torch.empty_like(is_whole_B)
        sorted_B[order_B], whole_B[order_B] = rewards_B, is_whole_B
        found_GN = compared(sorted_B.reshape(-1, samples), whole_B.reshape(-1, samples), estimator=estimator)
        rewards_B = found_GN.flatten()[order_B]
    else:
        rewards_B = filled(rewards_B, is_whole_B)
    parts = rewards_B.split([len(one.labels) for one in experiences])
    for one, part in zip(experiences, parts, strict=True):
        one.rewards = part


def _fill_figures(experiences: Sequence[Experience], is_whole_B: torch.Tensor) -> None:
    """OpenRLHF averages figures over all rows: those of broken ones become the mean of the others."""
    sizes = [len(one.labels) for one in experiences]
    for name in set(experiences[0].info) - {"broken"}:
        values_B = filled(torch.cat([one.info[name] for one in experiences]), is_whole_B)
        for one, part in zip(experiences, values_B.split(sizes), strict=True):
            one.info[name] = part


class CommittedAdvantages(RemoteExperienceMaker):
    """Advantages as they were committed, token by token; log-probabilities and KL are the actors'."""

    def compute_advantages_and_returns(self, experiences: list[Experience]) -> list[Experience]:
        """Put each row's advantages on its places. Raises ValueError for a KL in the reward."""
        _check_kl_in_loss(self.args)
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
        _fill_figures(experiences, _whole(experiences))
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


class OnlineAdvantages(RemoteExperienceMaker):
    """Advantages of turns as the lake's credit gives them, over the conversations of a round."""

    def compute_advantages_and_returns(self, experiences: list[Experience]) -> list[Experience]:
        """Credit all rows at once, then lay each turn's advantage on its places; errors as for committed."""
        _check_kl_in_loss(self.args)
        own = OnlineCredit.read(os.environ[ONLINE_VARIABLE])
        held = [held_turns(label) for one in experiences for label in one.labels]
        # Rows may have been sorted by length; the samples of a prompt stand together in the first order.
        order_B = torch.tensor(list(itertools.chain.from_iterable(one.index for one in experiences)))
        turns_BK = iter(advantages(held, own, prompt_B=order_B // own.samples))
        rows = iter(held)
        for one in experiences:
            places = one.action_mask.shape[1]
            laid = [on_places(next(rows), next(turns_BK), places=places) for _ in one.labels]
            one.advantages = torch.stack(laid) * one.action_mask
            one.returns = one.advantages.clone()
            one.info["return"] = one.advantages.sum(dim=-1)
            one.kl = None
        _fill_figures(experiences, _whole(experiences))
        return experiences


def _check_kl_in_loss(args: Any) -> None:
    if args.algo.kl.init_coef > 0 and not args.algo.kl.use_loss:
        raise ValueError("given advantages take a KL in the loss only: set --algo.kl.use_loss")


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
        self.samples_generator = CountedSamples(
            self.strategy, self.prompts_dataloader, self.eval_dataloader, self.tokenizer, self.vllm_engines
        )


class OnlineTrainer(TurnCreditTrainer):
    """The same conversations with the lake's credit."""

    def __init__(self, *args: Any, **sampling: Any) -> None:
        super().__init__(*args, **sampling)
        self.experience_maker = _maker(OnlineAdvantages, self)


class ReplyTrainer(StockTrainer):
    """OpenRLHF's trainer on replies to visited histories by our agent; the signature is passed on."""

    def __init__(self, *args: Any, **sampling: Any) -> None:
        super().__init__(*args, **sampling)
        self.experience_maker = _maker(WholeAdvantages, self)
        self.samples_generator = CountedSamples(
            self.strategy, self.prompts_dataloader, self.eval_dataloader, self.tokenizer, self.vllm_engines
        )


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


TRAINERS = {
    "replies": ReplyTrainer,
    "turns": TurnCreditTrainer,
    "online": OnlineTrainer,
    "committed": CommittedTrainer,
}


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
    # The command looks these names up when it starts.
    stock.PPOTrainer = ray.remote(TRAINERS[credit])
    stock_actor.PolicyModelActor = ray.remote(num_gpus=1)(SpokenPolicy)
    stock_launcher.ReferenceModelActor = ray.remote(num_gpus=1)(SpokenReference)


def main(argv: Sequence[str]) -> None:
    """Run OpenRLHF's training with these arguments and the chosen credit. Raises OpenRlhfVersionError."""
    end_with_parent()
    check_version(version("openrlhf"))
    put_in_place(os.environ.get(CREDIT_VARIABLE, "stock"))
    sys.argv = [MODULE, *argv]
    runpy.run_module(MODULE, run_name="__main__")


if __name__ == "__main__":
    # Ray sends a class of __main__ by value, without its imports: the entry is that of the named module.
    from itpo_core.trainers import openrlhf_ray

    openrlhf_ray.main(sys.argv[1:])
