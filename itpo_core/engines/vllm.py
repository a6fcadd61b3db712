"""The engine on vLLM in our own process: the one file that knows it (0.29 and 0.30).

All that goes in and out are token ids. A row that is ready is one request, which joins the running batch at
the next step; rows that wait for a user are no request and hold up nobody. Log-probabilities are of the
distribution that was drawn from ("processed"), so that temperature, top_p and suppressed tokens are in them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from vllm import EngineArgs, LLMEngine, RequestOutput, SamplingParams, TokensPrompt
from vllm.lora.request import LoRARequest
from vllm.sampling_params import RequestOutputKind

from itpo_core.adapter_files import base_of, is_adapter, read_adapter
from itpo_core.engines.base import BrokenTurn, Sampling, SpokenTurn
from itpo_core.engines.token_rows import Ask, Heard, TokenRows
from itpo_core.tokens import ChatFormat
from itpo_core.types import Failure, FailureKind, Message

# What vLLM reserves per adapter comes in these sizes.
ADAPTER_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
# The strongest bias that it takes; beside it a token's chance is below any float32's rounding.
NEVER = -100.0
LARGEST_SEED = 2**63 - 1


@dataclass(frozen=True, slots=True)
class VllmSettings:
    """How much of the GPU it takes, in which precision it computes, and whether it starts without graphs."""

    memory_share: float = 0.9
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    eager: bool = False


class VllmEngine:
    """Opens sessions on the policy in a folder, an adapter's base and adapter kept apart."""

    def __init__(
        self,
        folder: Path,
        chat_format: ChatFormat,
        *,
        max_context_tokens: int,
        settings: VllmSettings,
    ) -> None:
        self._format = chat_format
        self._max_context_tokens = max_context_tokens
        self._requests = Requests(
            LLMEngine.from_engine_args(
                EngineArgs(
                    model=str(base_of(folder)),
                    max_model_len=max_context_tokens,
                    gpu_memory_utilization=settings.memory_share,
                    dtype=settings.dtype,
                    enforce_eager=settings.eager,
                    logprobs_mode="processed_logprobs",
                    # Else the folder's own generation settings would bend the distribution unasked.
                    generation_config="vllm",
                    enable_prefix_caching=True,
                    **_adapter_arguments(folder),
                )
            ),
            adapter_of(folder),
        )

    def open(
        self,
        openings: Sequence[Sequence[Message]],
        *,
        seeds: Sequence[int],
        sampling: Sampling,
        temperatures: Sequence[Sequence[float]] | None = None,
    ) -> "VllmSession":
        """See `Engine.open`. Raises ValueError for an opening that leaves no room for a turn."""
        rows = TokenRows(
            openings,
            self._format,
            seeds=seeds,
            sampling=sampling,
            temperatures=temperatures,
            max_context_tokens=self._max_context_tokens,
        )
        return VllmSession(self._requests, rows)


def adapter_of(folder: Path) -> LoRARequest | None:
    """The adapter that every request of this policy names; None for whole weights."""
    if not is_adapter(folder):
        return None
    return LoRARequest(lora_name=folder.resolve().name, lora_int_id=1, lora_path=str(folder))


def _adapter_arguments(folder: Path) -> Mapping[str, bool | int]:
    if not is_adapter(folder):
        return {}
    rank = read_adapter(folder).settings.rank
    return {"enable_lora": True, "max_loras": 1, "max_lora_rank": adapter_room(rank)}


def adapter_room(rank: int) -> int:
    """The smallest room that takes an adapter of this rank. Raises ValueError beyond the largest."""
    fitting = [room for room in ADAPTER_RANKS if room >= rank]
    if not fitting:
        raise ValueError(
            f"lora.rank {rank}: vLLM takes {ADAPTER_RANKS[-1]} at most; merge it with `itpo merge`"
        )
    return fitting[0]


def sampling_params(ask: Ask) -> SamplingParams:
    """One turn as vLLM is asked for it: by its own seed, to its own end, nothing turned into text."""
    return SamplingParams(
        temperature=ask.temperature,
        top_p=ask.top_p,
        seed=ask.seed % LARGEST_SEED,
        max_tokens=ask.max_new_tokens,
        stop_token_ids=[ask.end_of_turn_id],
        ignore_eos=True,
        logprobs=0,
        detokenize=False,
        logit_bias=dict.fromkeys(ask.suppressed_ids, NEVER) or None,
        output_kind=RequestOutputKind.FINAL_ONLY,
    )


def heard_of(output: RequestOutput, text: str = "") -> Heard | Failure:
    """What a finished request says, or why it is no turn."""
    (spoken,) = output.outputs
    if spoken.finish_reason not in ("stop", "length") or spoken.logprobs is None:
        cause = f"vLLM finished with {spoken.finish_reason!r} after {len(spoken.token_ids)} tokens"
        return Failure(FailureKind.ENGINE_ERROR, cause)
    ids = tuple(spoken.token_ids)
    return Heard(
        text=text,
        stopped=spoken.finish_reason == "stop",
        prompt_ids=tuple(output.prompt_token_ids or ()),
        response_ids=ids,
        logprobs=tuple(at[token].logprob for at, token in zip(spoken.logprobs, ids, strict=False)),
        prompt_tokens=len(output.prompt_token_ids or ()),
        response_tokens=len(ids),
    )


@dataclass(slots=True)
class Requests:
    """All requests of all sessions on one vLLM engine; finished ones wait here for their session."""

    engine: LLMEngine
    adapter: LoRARequest | None
    _named: int = 0
    _landed: dict[str, RequestOutput] = field(default_factory=dict)

    def add(self, ask: Ask) -> str:
        """Let a turn join the batch; its name."""
        self._named += 1
        name = f"turn-{self._named}"
        prompt = TokensPrompt(prompt_token_ids=list(ask.stream_ids))
        self.engine.add_request(name, prompt, sampling_params(ask), lora_request=self.adapter)
        return name

    def step(self) -> None:
        """One step of the whole batch."""
        for output in self.engine.step():
            if isinstance(output, RequestOutput) and output.finished:
                self._landed[output.request_id] = output

    def take(self, name: str) -> RequestOutput | None:
        """The finished request of this name, once."""
        return self._landed.pop(name, None)

    def drop(self, name: str) -> None:
        """Nobody waits for it any more."""
        if self._landed.pop(name, None) is None:
            self.engine.abort_request([name])


@dataclass(slots=True)
class VllmSession:
    """A batch of conversations, each ready one a request (see `Session`)."""

    _requests: Requests
    _rows: TokenRows
    _asked: dict[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Ask for every row's first turn."""
        for row in range(len(self._rows)):
            self._asked[row] = self._requests.add(self._rows.ask(row))

    def advance(self) -> list[SpokenTurn | BrokenTurn]:
        """See `Session.advance`."""
        turns: list[SpokenTurn | BrokenTurn] = []
        while self._asked and not turns:
            turns = self._landed()
            if not turns:
                self._requests.step()
        return turns

    def append(self, row: int, messages: Sequence[Message]) -> bool:
        """See `Session.append`."""
        is_taken = self._rows.take(row, messages)
        if is_taken:
            self._asked[row] = self._requests.add(self._rows.ask(row))
        return is_taken

    def close(self, row: int) -> None:
        """See `Session.close`."""
        self._rows.close(row)
        name = self._asked.pop(row, None)
        if name is not None:
            self._requests.drop(name)

    def _landed(self) -> list[SpokenTurn | BrokenTurn]:
        found = {row: self._requests.take(name) for row, name in self._asked.items()}
        done = {row: output for row, output in found.items() if output is not None}
        self._asked = {row: name for row, name in self._asked.items() if row not in done}
        return [self._rows.settle(row, heard_of(output)) for row, output in done.items()]
