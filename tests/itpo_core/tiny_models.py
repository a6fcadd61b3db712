"""Small models for tests: a vocabulary of a dozen ids, weights that are the same in every run."""

import torch
from torch import Tensor
from transformers import PreTrainedModel

from itpo_core.tiny_policy import create_model

VOCABULARY = 12
END = 2
NEVER = (0, 1, 3, 4, 5)


def tiny_model(seed: int = 0) -> PreTrainedModel:
    """The embedded policy's network over twelve ids."""
    return create_model(VOCABULARY, "xs", seed=seed)


def streams(lengths: list[int], *, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Random streams of two turns of two tokens: tokens_BT, turn_BT, lengths_B; the shortest is 7 long."""
    generator = torch.Generator().manual_seed(seed)
    width = max(lengths)
    tokens_BT = torch.randint(6, VOCABULARY, (len(lengths), width), generator=generator)
    turn_BT = torch.full((len(lengths), width), -1)
    turn_BT[:, 2:4] = 0
    turn_BT[:, 5:7] = 1
    for row, length in enumerate(lengths):
        tokens_BT[row, length:] = 0
    return tokens_BT, turn_BT, torch.tensor(lengths)
