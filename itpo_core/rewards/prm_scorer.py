"""A committed process reward model as the score of replies: ITPO's implicit reward of a turn.

Source: ITPO (arXiv:2603.23550): the reward of turn k is S_k, beta times the summed log-ratio of its tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from itpo_core.reward_model import ConversationTokens, ImplicitRewardModel, reference_logprobs
from itpo_core.rewards.answers import Asked
from itpo_core.rewards.reply_tokens import ReplyTokens
from itpo_core.tiny_policy import load_policy, suppressed_ids


@dataclass(frozen=True, slots=True)
class PrmScorer:
    """S of a reply: beta times how much likelier the model finds its tokens than `reference` does.

    In logits, of either sign; 0 is a reply that tells nothing of the outcome. `reference` is the policy that
    the fit was held against.
    """

    prm: ImplicitRewardModel
    reference: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    max_tokens: int = 4096

    @classmethod
    def load(cls, reward_folder: Path, reference_folder: Path, *, beta: float, max_tokens: int) -> Self:
        """From a committed reward version and its reference. Raises ValueError for other folders, and for
        a beta that is not above 0."""
        if not beta > 0:
            raise ValueError(f"beta {beta}: the log-ratio's weight must lie above 0, that of [reward]")
        model, _ = load_policy(reward_folder)
        reference, tokenizer = load_policy(reference_folder)
        if model.config.vocab_size != reference.config.vocab_size:
            raise ValueError(f"{reward_folder} and {reference_folder} know other tokens: give its reference")
        prm = ImplicitRewardModel(model, beta, suppressed_ids(reference))
        return cls(prm, reference, tokenizer, max_tokens)

    def __call__(self, questions: Sequence[Asked]) -> list[float]:
        """One score per question, in order. Raises RewardRefusedError for what has none."""
        read = ReplyTokens(self.tokenizer, self.prm.suppressed_ids, self.max_tokens)
        return self.values(read(questions)).tolist()

    @torch.no_grad()
    def values(self, conversations: ConversationTokens) -> Tensor:
        """S of each conversation's turn 0, [N]."""
        known_BT = reference_logprobs(self.reference, conversations, suppressed_ids=self.prm.suppressed_ids)
        return self.prm.score(conversations, reference_logprobs_BT=known_BT, turns=1)[:, 0]
