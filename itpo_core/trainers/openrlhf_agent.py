"""The agent file of OpenRLHF: conversations with our environments and users, held on its vLLM engine.

OpenRLHF loads it in vLLM's process and calls `AgentExecutor().execute` once per sample. A prompt's label says
which domain and scenario it is about (`OpeningLabel`); the sample's own label then carries the rewards of its
turns to the trainer (`openrlhf_credit.TurnRewards`). Tokens are those sampled, never tokenised again.

Turns are rewarded by what Q says at ITPO_REWARD_URL; without an address the last turn gets the outcome.
"""

import asyncio
import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from dataclasses import asdict, dataclass
from functools import cache, partial
from typing import Any, Self

from openrlhf.utils.agent import AgentExecutorBase
from transformers import PreTrainedTokenizerBase

from itpo_core.engines.base import Sampling
from itpo_core.engines.remote_row import OneRowEngine, Said, Speak
from itpo_core.envs.catalogue import ENVIRONMENTS, Domain
from itpo_core.identifiers import derive_seed
from itpo_core.rewards.client import ask
from itpo_core.rollout import RolloutSpec, run_conversations
from itpo_core.tokens import ChatFormat
from itpo_core.trainers.openrlhf_credit import TurnRewards, shaped_rewards
from itpo_core.types import Conversation, Message, Role, Scenario, Scored, Split

# queries, prompts -> one value per turn
TurnValues = Callable[[Sequence[str], Sequence[str]], list[float]]
VALUES_VARIABLE = "ITPO_REWARD_URL"
DEADLINE_S = 120.0
# Users may be slow, and every conversation waits in a thread of its own.
THREADS = 256


class ConversationBrokenError(RuntimeError):
    """A conversation has no outcome; the message holds the cause. It is not trained on as a failure."""


@dataclass(frozen=True, slots=True)
class OpeningLabel:
    """Which conversation to hold: domain and preset, the scenario, the root of the user's draws, limits.

    `turn_tokens` is the most of one turn. `suppressed_ids` are the tokens that the policy never speaks.
    """

    domain: str
    preset: str
    scenario: Scenario
    seed: int
    turn_tokens: int
    suppressed_ids: tuple[int, ...] = ()

    def label(self) -> str:
        """As a prompt's label."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def read(cls, label: str) -> Self:
        """What `label` wrote. Raises ValueError for another text."""
        try:
            found = json.loads(label)
            scenario = found.pop("scenario")
            opening = tuple(Message(**{**one, "role": Role(one["role"])}) for one in scenario.pop("opening"))
            split = Split(scenario.pop("split"))
            suppressed = tuple(found.pop("suppressed_ids"))
            return cls(
                scenario=Scenario(opening=opening, split=split, **scenario),
                suppressed_ids=suppressed,
                **found,
            )
        except (KeyError, TypeError, json.JSONDecodeError) as error:
            raise ValueError(f"label {label[:80]!r} names no conversation to hold: {error!r}") from None


class AgentExecutor(AgentExecutorBase):
    """Holds one conversation per call; calls overlap."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="conversation")
        self._held = 0
        self._formats: dict[tuple[str, tuple[int, ...]], ChatFormat] = {}
        self._values = turn_values_from(os.environ.get(VALUES_VARIABLE))

    async def execute(
        self,
        prompt: str,
        label: str,
        *,
        sampling_params: Any,  # vLLM's; whatever OpenRLHF made of its flags
        max_length: int,
        hf_tokenizer: PreTrainedTokenizerBase,
        llm_engine: Any,  # whatever has OpenRLHF's `generate`
        images: object = None,
    ) -> dict[str, object]:
        """See OpenRLHF's AgentExecutorBase. Raises ConversationBrokenError when there is no outcome."""
        asked, loop = OpeningLabel.read(label), asyncio.get_running_loop()
        self._held += 1
        speak = speaker(llm_engine, sampling_params, suppressed_ids=asked.suppressed_ids, loop=loop)
        chat = self._chat(hf_tokenizer, asked.suppressed_ids)
        engine = OneRowEngine(speak, chat, max_context_tokens=max_length)
        sampling = Sampling(sampling_params.temperature, sampling_params.top_p, asked.turn_tokens)
        # Samples of one prompt share its label: what they draw must not be shared.
        seed = derive_seed(asked.seed, "sample", self._held)
        held = await loop.run_in_executor(
            self._threads, partial(hold, asked, engine, sampling=sampling, seed=seed)
        )
        stream = laid_out(held)
        texts = [hf_tokenizer.decode(stream.tokens[:place]) for bounds in stream.ranges for place in bounds]
        values = await loop.run_in_executor(self._threads, self._values, texts[1::2], texts[::2])
        return output(stream, shaped_rewards(values, outcome_of(held)), prompt=prompt)

    def _chat(self, tokenizer: PreTrainedTokenizerBase, suppressed_ids: tuple[int, ...]) -> ChatFormat:
        # OpenRLHF sends a fresh copy of the tokenizer with every prompt.
        key = (tokenizer.name_or_path, suppressed_ids)
        if key not in self._formats:
            self._formats[key] = ChatFormat.from_tokenizer(tokenizer, suppressed_ids)
        return self._formats[key]


@dataclass(frozen=True, slots=True)
class Stream:
    """A conversation's tokens with their log-probabilities (0 off the policy) and each turn's range."""

    tokens: list[int]
    logprobs: list[float]
    ranges: list[tuple[int, int]]


def turn_values_from(url: str | None) -> TurnValues:
    """Q of every turn from the reward service at `url`; without one no turn has a value, all are 0."""
    if url is None:
        return lambda queries, prompts: [0.0] * len(queries)
    return lambda queries, prompts: ask(url, queries, prompts=prompts, deadline_s=DEADLINE_S)


@cache
def domain(name: str, preset: str) -> Domain:
    """The domain, built once."""
    return ENVIRONMENTS[name](preset)


def hold(asked: OpeningLabel, engine: OneRowEngine, *, sampling: Sampling, seed: int) -> Conversation:
    """One whole conversation. Raises ConversationBrokenError when a user, judge or engine broke."""
    known = domain(asked.domain, asked.preset)
    spec = RolloutSpec("online", "online", 0, seed, asked.scenario)
    (held,) = run_conversations(
        engine, known.environment, oracle=None, specs=[spec], sampling=sampling, businesses=known.businesses
    )
    outcome_of(held)
    return held


def speaker(
    engine: Any, parameters: Any, *, suppressed_ids: Sequence[int], loop: asyncio.AbstractEventLoop
) -> Speak:
    """OpenRLHF's engine as a function for another thread: it runs on the loop that the engine lives on."""

    def _speak(ids: Sequence[int], most: int, temperature: float) -> Said:
        asked = copy(parameters)
        asked.max_tokens, asked.temperature, asked.logprobs = most, temperature, 1
        # -100 is the least that vLLM takes.
        asked.logit_bias = dict.fromkeys(suppressed_ids, -100.0) or None
        coming = engine.generate(list(ids), asked, multi_modal_data=None)
        said = asyncio.run_coroutine_threadsafe(coming, loop).result().outputs[0]
        tokens = tuple(said.token_ids)
        given = zip(tokens, said.logprobs, strict=True)
        return Said(tokens, tuple(float(by_id[token].logprob) for token, by_id in given))

    return _speak


def laid_out(held: Conversation) -> Stream:
    """The turns of a conversation end to end."""
    stream = Stream([], [], [])
    for turn in held.turns:
        start = len(stream.tokens) + len(turn.prompt_ids)
        stream.tokens.extend([*turn.prompt_ids, *turn.response_ids])
        stream.logprobs.extend([*[0.0] * len(turn.prompt_ids), *turn.logprobs])
        stream.ranges.append((start, len(stream.tokens)))
    return stream


def outcome_of(held: Conversation) -> float:
    """The judged outcome. Raises ConversationBrokenError when there is none."""
    if not isinstance(held.outcome, Scored):
        raise ConversationBrokenError(f"{held.scenario.scenario_id}: {held.outcome.reason}")
    return held.outcome.value


def output(stream: Stream, rewards: Sequence[float], *, prompt: str) -> dict[str, object]:
    """The mapping that OpenRLHF makes a sample of: one range of actions per turn.

    The sum over turns is the conversation's reward, which OpenRLHF reports and filters by.
    """
    return {
        "prompt": prompt,
        "label": TurnRewards(tuple(rewards), tuple(end for _, end in stream.ranges)).label(),
        "images": None,
        "mm_train_inputs": None,
        "reward": sum(rewards),
        "scores": sum(rewards),
        "observation_tokens": stream.tokens,
        "action_ranges": stream.ranges,
        "rollout_log_probs": stream.logprobs,
        "truncated": False,
        "extra_logs": {"turns": float(len(rewards))},
    }
