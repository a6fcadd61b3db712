"""The pieces of DAPO that act before the loss: which groups teach anything, what excessive length costs.

Pure: tensors in, tensors out. Axis: B conversations. Source: DAPO (arXiv:2503.14476), sections 3.2 and 3.4.
"""

import torch
from torch import Tensor


def varied_groups(rewards_B: Tensor, group_B: Tensor, *, tolerance: float = 0.0) -> Tensor:
    """Which conversations belong to a group whose rewards differ by more than `tolerance`, bool [B].

    A group of one has nothing to differ from and goes too.
    """
    _, index_B = group_B.unique(return_inverse=True)
    groups = int(index_B.max()) + 1 if len(index_B) else 0
    high_G = rewards_B.new_full((groups,), -torch.inf).scatter_reduce(0, index_B, rewards_B, reduce="amax")
    low_G = rewards_B.new_full((groups,), torch.inf).scatter_reduce(0, index_B, rewards_B, reduce="amin")
    return (high_G - low_G > tolerance)[index_B]


def overlong_penalties(lengths: Tensor, *, limit: int, buffer: int) -> Tensor:
    """0 up to limit - buffer tokens, falling linearly to -1 at the limit and staying there; float32.

    Any shape: tokens of turns or of whole conversations. It is added to a reward, times a weight of its own.
    Raises ValueError unless 0 < buffer <= limit. Source: eq. 13.
    """
    if not 0 < buffer <= limit:
        raise ValueError(f"overlong buffer {buffer} for a limit of {limit} tokens: give 0 < buffer <= limit")
    excess = (lengths.to(torch.float32) - (limit - buffer)).clamp(0, buffer)
    return -excess / buffer
