"""The few classes of vLLM that its engine touches, with a tiny policy on the CPU behind them."""

from dataclasses import dataclass, field
from pathlib import Path

import torch

from itpo_core.tiny_policy import load_policy
from vllm.sampling_params import SamplingParams as SamplingParams


@dataclass
class EngineArgs:
    """What the engine is started with."""

    model: str
    max_model_len: int
    gpu_memory_utilization: float
    dtype: str
    enforce_eager: bool
    logprobs_mode: str
    generation_config: str
    enable_prefix_caching: bool
    enable_lora: bool = False
    max_loras: int = 0
    max_lora_rank: int = 0


@dataclass
class TokensPrompt:
    """A prompt as ids."""

    prompt_token_ids: list[int]


@dataclass
class Logprob:
    """Of one token at one place."""

    logprob: float


@dataclass
class CompletionOutput:
    """What was sampled."""

    token_ids: list[int] = field(default_factory=list)
    logprobs: list[dict[int, Logprob]] | None = field(default_factory=list)
    finish_reason: str | None = None


@dataclass
class RequestOutput:
    """One request as it stands."""

    request_id: str
    prompt_token_ids: list[int]
    outputs: list[CompletionOutput]
    finished: bool = False


class LLMEngine:
    """Draws one token a step for every request; `batch_sizes` says for how many at each step."""

    def __init__(self, args: EngineArgs) -> None:
        self.args = args
        self.model, _ = load_policy(Path(args.model))
        self.requests: dict[str, tuple[RequestOutput, SamplingParams, torch.Generator]] = {}
        self.adapters: list[object] = []
        self.batch_sizes: list[int] = []
        self.aborted: list[str] = []

    @classmethod
    def from_engine_args(cls, args: EngineArgs) -> "LLMEngine":
        """Start."""
        return cls(args)

    def add_request(
        self, request_id: str, prompt: TokensPrompt, params: SamplingParams, lora_request: object = None
    ) -> str:
        """Let a request join the batch."""
        self.adapters.append(lora_request)
        output = RequestOutput(request_id, prompt.prompt_token_ids, [CompletionOutput()])
        self.requests[request_id] = (output, params, torch.Generator().manual_seed(params.seed))
        return request_id

    def abort_request(self, request_ids: list[str]) -> None:
        """Forget requests."""
        self.aborted += request_ids
        for name in request_ids:
            self.requests.pop(name, None)

    def step(self) -> list[RequestOutput]:
        """One token for everybody; those that are finished."""
        self.batch_sizes.append(len(self.requests))
        for output, params, generator in self.requests.values():
            self._speak(output, params, generator)
        finished = [output for output, _, _ in self.requests.values() if output.finished]
        self.requests = {name: one for name, one in self.requests.items() if not one[0].finished}
        return finished

    def _speak(self, output: RequestOutput, params: SamplingParams, generator: torch.Generator) -> None:
        (spoken,) = output.outputs
        with torch.inference_mode():
            ids = torch.tensor([[*output.prompt_token_ids, *spoken.token_ids]])
            logits_V = self.model(ids).logits[0, -1]
            for token, bias in (params.logit_bias or {}).items():
                logits_V[token] += bias
            logprobs_V = (logits_V / params.temperature).log_softmax(0)
        token = int(torch.multinomial(logprobs_V.exp(), 1, generator=generator))
        spoken.token_ids.append(token)
        spoken.logprobs.append({token: Logprob(float(logprobs_V[token]))})
        has_ended = token in params.stop_token_ids
        output.finished = has_ended or len(spoken.token_ids) == params.max_tokens
        spoken.finish_reason = None if not output.finished else "stop" if has_ended else "length"
