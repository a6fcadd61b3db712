"""Losses of the implicit process reward model. Pure: tensors in, tensors out.

Axes: B conversations, N policy tokens of the batch; `row_N` names each token's conversation.
"""

from torch import Tensor
from torch.nn import functional


def conversation_logits(
    logprobs_N: Tensor, reference_logprobs_N: Tensor, *, row_N: Tensor, rows: int, beta: float
) -> Tensor:
    """beta times the summed log-ratio of each conversation's policy tokens, [rows]; 0 for one without any."""
    ratios_N = logprobs_N - reference_logprobs_N
    return beta * ratios_N.new_zeros(rows).index_add(0, row_N, ratios_N)


def outcome_loss(logits_B: Tensor, labels_B: Tensor) -> Tensor:
    """Mean binary cross-entropy with logits against labels in [0, 1]; soft labels are not rounded.

    Source: ITPO (arXiv:2603.23550), the implicit reward's outcome objective. Raises ValueError for a label
    outside [0, 1] or NaN.
    """
    check_labels(labels_B)
    return functional.binary_cross_entropy_with_logits(logits_B, labels_B.to(logits_B.dtype))


def check_labels(labels_B: Tensor) -> None:
    """Raises ValueError for a label outside [0, 1] or NaN: having no outcome is not having failed."""
    if not bool(((labels_B >= 0) & (labels_B <= 1)).all()):
        wrong = labels_B[~((labels_B >= 0) & (labels_B <= 1))][0]
        raise ValueError(f"label {float(wrong)} is not in [0, 1]: leave conversations without outcome out")
