"""How a request of the fake is sampled."""

from dataclasses import dataclass
from enum import Enum


class RequestOutputKind(Enum):
    """When outputs come."""

    FINAL_ONLY = 2


@dataclass
class SamplingParams:
    """The parameters that the engine sets."""

    temperature: float
    top_p: float
    seed: int
    max_tokens: int
    stop_token_ids: list[int]
    ignore_eos: bool
    logprobs: int
    detokenize: bool
    logit_bias: dict[int, float] | None
    output_kind: RequestOutputKind
