"""A committed Q as the score of replies: what OpenRLHF calls a reward.

Axes: N replies, T tokens (right-padded).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from itpo_core.q_ensemble import pessimistic
from itpo_core.q_files import load_members
from itpo_core.q_models import QModel
from itpo_core.reward_model import ConversationTokens, reference_logprobs
from itpo_core.rewards.answers import Asked
from itpo_core.rewards.reply_tokens import ReplyTokens
from itpo_core.tiny_policy import load_policy


@dataclass(frozen=True, slots=True)
class QScorer:
    """Q of a reply at its history on the scale of success: the members' mean less `pessimism` deviations.

    `reference` is the policy that collected what Q was fitted on. A reply of a kind of Q that sums over turns
    counts by itself: what was said before is the same for all replies to one history.
    """

    members: tuple[QModel, ...]
    reference: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    pessimism: float = 0.0
    max_tokens: int = 4096

    @classmethod
    def load(cls, q_folder: Path, policy_folder: Path, *, pessimism: float, max_tokens: int) -> Self:
        """From a committed Q and the policy it was fitted on. Raises ValueError for other folders."""
        reference, tokenizer = load_policy(policy_folder)
        return cls(load_members(q_folder), reference, tokenizer, pessimism, max_tokens)

    def __call__(self, questions: Sequence[Asked]) -> list[float]:
        """One value per question, in order. Raises RewardRefusedError for what has no value."""
        read = ReplyTokens(self.tokenizer, self.members[0].suppressed_ids, self.max_tokens)
        return self.values(read(questions)).tolist()

    @torch.no_grad()
    def values(self, conversations: ConversationTokens) -> Tensor:
        """Q of each conversation's turn 0, [N]."""
        suppressed = self.members[0].suppressed_ids
        known_BT = reference_logprobs(self.reference, conversations, suppressed_ids=suppressed)
        scores = [q.score(conversations, reference_logprobs_BT=known_BT, turns=1) for q in self.members]
        outputs_M1N = torch.stack([each.logits_BK for each in scores])
        return torch.sigmoid(pessimistic(outputs_M1N, pessimism=self.pessimism))[:, 0]
