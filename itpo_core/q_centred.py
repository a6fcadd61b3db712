"""The log-ratio with its mean under the speaker taken off, token by token.

Axes: B conversations, K turns, T tokens, N policy tokens, V vocabulary.
"""

import torch
from torch import Tensor
from transformers import PreTrainedModel

from itpo_core.logprobs import wanted_logits
from itpo_core.q_models import QModel, rows_of
from itpo_core.reward_model import ConversationTokens
from itpo_core.tokens import suppress
from itpo_core.turn_rewards import turn_sums

BATCH = 64


def centred_token_ratios(
    phi_logits_NV: Tensor, reference_logits_NV: Tensor, *, speaker_logits_NV: Tensor, tokens_N: Tensor
) -> Tensor:
    """l(a_t) - sum_a pi(a | prefix) l(a), with l = log phi - log ref and pi the speaker; float32 [N].

    Its mean under the speaker is 0 at every prefix, whatever the reference, and so is that of any sum over
    the tokens of a turn.
    """
    ratios_NV = phi_logits_NV.log_softmax(dim=-1) - reference_logits_NV.log_softmax(dim=-1)
    chances_NV = speaker_logits_NV.softmax(dim=-1)
    # A suppressed id has chance 0 and a ratio that is only rounding of a huge number.
    expected_N = torch.where(chances_NV > 0, chances_NV * ratios_NV, 0).sum(dim=-1)
    return ratios_NV.gather(1, tokens_N[:, None])[:, 0] - expected_N


@torch.no_grad()
def centred_log_ratios(
    q: QModel,
    conversations: ConversationTokens,
    *,
    reference: PreTrainedModel,
    turns: int,
    speaker: PreTrainedModel | None = None,
    temperature: float = 1.0,
) -> Tensor:
    """beta times every turn's centred log-ratio, [B, K]: an advantage estimate of exactly zero mean.

    `speaker` is the policy under which the mean is taken (the reference where it is left out), sampled at
    `temperature`. Raises ValueError for a temperature that is not above 0.
    """
    if temperature <= 0:
        raise ValueError(f"temperature {temperature}: a mean over what is sampled needs one above 0")
    ratios_BT = torch.zeros(conversations.tokens_BT.shape)
    for picked in conversations.lengths_B.argsort(stable=True).split(BATCH):
        part = rows_of(conversations, picked)
        found_N = _centred(q, part, reference=reference, speaker=speaker, temperature=temperature)
        width = part.tokens_BT.shape[1]
        ratios_BT[picked, :width] = torch.zeros(part.tokens_BT.shape).masked_scatter(
            part.is_policy_BT, found_N
        )
    return q.beta * turn_sums(ratios_BT, conversations.turn_BT, turns=turns)


def _centred(
    q: QModel,
    part: ConversationTokens,
    *,
    reference: PreTrainedModel,
    speaker: PreTrainedModel | None,
    temperature: float,
) -> Tensor:
    def logits(model: PreTrainedModel) -> Tensor:
        found = wanted_logits(model, part.tokens_BT, wanted_BT=part.is_policy_BT)
        return suppress(found, q.suppressed_ids)

    reference_NV = logits(reference)
    speaker_NV = reference_NV if speaker is None or speaker is reference else logits(speaker)
    return centred_token_ratios(
        logits(q.model),
        reference_NV,
        speaker_logits_NV=speaker_NV / temperature,
        tokens_N=part.tokens_BT[part.is_policy_BT],
    )
