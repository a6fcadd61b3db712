"""Questions of a reward service as token streams, with what has no value refused.

Axes: N replies, T tokens (right-padded).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedTokenizerBase

from itpo_core.reward_model import ConversationTokens
from itpo_core.rewards.answers import Asked, RewardRefusedError, TokenQuestion


@dataclass(frozen=True, slots=True)
class ReplyTokens:
    """Reads questions for a model that takes `max_tokens` and knows no reply with `suppressed_ids`."""

    tokenizer: PreTrainedTokenizerBase
    suppressed_ids: tuple[int, ...]
    max_tokens: int

    def __call__(self, questions: Sequence[Asked]) -> ConversationTokens:
        """Each reply as turn 0 of a conversation. Raises RewardRefusedError for what has no value."""
        return _conversations([self._checked(question) for question in questions])

    def _checked(self, question: Asked) -> tuple[Sequence[int], Sequence[int]]:
        history, said = self._of(question)
        if not history or not said:
            raise RewardRefusedError(
                f"nothing was asked or said in {str(question)[:80]!r}: replies have a value"
            )
        if len(history) + len(said) > self.max_tokens:
            raise RewardRefusedError(
                f"{len(history) + len(said)} tokens, more than the {self.max_tokens} that are read: a shorter"
                " history would be another one"
            )
        beyond = [token for token in (*history, *said) if token >= len(self.tokenizer)]
        if beyond:
            raise RewardRefusedError(f"tokens {beyond[:5]} are not of this tokenizer ({len(self.tokenizer)})")
        never = set(self.suppressed_ids).intersection(said)
        if never:
            raise RewardRefusedError(
                f"the reply holds tokens {sorted(never)}, which the policy never speaks: they have no value"
            )
        return history, said

    def _of(self, question: Asked) -> tuple[Sequence[int], Sequence[int]]:
        if isinstance(question, TokenQuestion):
            return question.history, question.said
        return self._ids(question.prompt), self._ids(question.reply)

    def _ids(self, text: str) -> list[int]:
        found: Mapping[str, list[int]] = self.tokenizer(text, add_special_tokens=False)
        return found["input_ids"]


def _conversations(tokens: Sequence[tuple[Sequence[int], Sequence[int]]]) -> ConversationTokens:
    whole = [torch.tensor([*history, *said]) for history, said in tokens]
    turns = [torch.tensor([-1] * len(history) + [0] * len(said)) for history, said in tokens]
    return ConversationTokens(
        pad_sequence(whole, batch_first=True),
        pad_sequence(turns, batch_first=True, padding_value=-1),
        torch.tensor([len(each) for each in whole]),
    )
