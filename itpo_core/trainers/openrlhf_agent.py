"""The agent file of OpenRLHF: what is said on its vLLM engine, a conversation or one reply to a history.

OpenRLHF loads it in vLLM's process and calls `AgentExecutor().execute` once per sample. A prompt's label says
what is wanted: a conversation with our environments and users (`OpeningLabel`), or a reply to a visited
history (`openrlhf_prompts.HistoryLabel`). The sample's own label then carries the rewards of its turns to the
trainer (`openrlhf_credit.TurnRewards`). Tokens are those sampled, never tokenised again.

Replies and turns are valued by the service at ITPO_REWARD_URL; without an address a conversation's last turn
gets the outcome. ITPO_REWARD_KIND says what it serves: `q` (default) or `prm`. What breaks is a row of its
own kind (`openrlhf_broken`), not a reward and not the end of the training.
"""

import asyncio
import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from openrlhf.utils.agent import AgentExecutorBase
from transformers import PreTrainedTokenizerBase

from itpo_core.engines.base import Sampling
from itpo_core.engines.remote_row import OneRowEngine, Said, Speak
from itpo_core.envs.catalogue import ENVIRONMENTS, Domain
from itpo_core.identifiers import derive_seed
from itpo_core.rewards.answers import RewardRefusedError
from itpo_core.rewards.client import RewardServiceError, ask_tokens
from itpo_core.rollout import RolloutSpec, run_conversations
from itpo_core.tokens import ChatFormat
from itpo_core.trainers.openrlhf_broken import broken_output
from itpo_core.trainers.openrlhf_credit import TurnRewards, implicit_rewards, shaped_rewards
from itpo_core.trainers.openrlhf_openings import HELD_VARIABLE, OpeningLabel, record
from itpo_core.trainers.openrlhf_prompts import HistoryLabel
from itpo_core.types import Conversation, Scored

Ids = Sequence[int]
# histories, replies -> one value per turn
TurnValues = Callable[[Sequence[Ids], Sequence[Ids]], list[float]]
VALUES_VARIABLE, KIND_VARIABLE = "ITPO_REWARD_URL", "ITPO_REWARD_KIND"
DEADLINE_S = 120.0
# Users may be slow, and every conversation waits in a thread of its own.
THREADS = 256


class ConversationBrokenError(RuntimeError):
    """A conversation has no outcome; the message holds the cause. It is not trained on as a failure."""


BREAKS = (ConversationBrokenError, RewardServiceError, RewardRefusedError)


@dataclass(frozen=True, slots=True)
class Call:
    """What OpenRLHF asks: the prompt, vLLM's parameters as made of its flags, and whatever has `generate`."""

    prompt: str
    label: str
    parameters: Any
    max_length: int
    tokenizer: PreTrainedTokenizerBase
    engine: Any


class AgentExecutor(AgentExecutorBase):
    """Holds one conversation, or gives one reply, per call; calls overlap."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="conversation")
        self._held = 0
        self._formats: dict[tuple[str, tuple[int, ...]], ChatFormat] = {}
        self._values = turn_values_from(os.environ.get(VALUES_VARIABLE))
        self._credit = CREDITS[os.environ.get(KIND_VARIABLE, "q")]

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
        """See OpenRLHF's AgentExecutorBase. What broke is a row that counts as such; ValueError for a label
        or an opening that was wrong from the start, which ends the training."""
        is_history = "history" in json.loads(label)
        said_by = self._reply if is_history else self._conversation
        try:
            call = Call(prompt, label, sampling_params, max_length, hf_tokenizer, llm_engine)
            return await said_by(call)
        except BREAKS as error:
            logs = REPLY_LOGS if is_history else TURN_LOGS
            return broken_output(str(error), prompt=prompt, logs=logs)

    async def _reply(self, call: Call) -> dict[str, object]:
        asked = HistoryLabel.read(call.label)
        if len(asked.history) + call.parameters.max_tokens > call.max_length:
            raise ValueError(
                f"{asked.conversation} turn {asked.turn}: {len(asked.history)} tokens leave no room for"
                f" {call.parameters.max_tokens} of {call.max_length}; nothing is cut: stage it without"
            )
        if VALUES_VARIABLE not in os.environ:
            raise ValueError(f"a reply is worth what the service says, and {VALUES_VARIABLE} names none")
        wanted = asked_of(
            call.parameters,
            asked.suppressed_ids,
            most=call.parameters.max_tokens,
            temperature=call.parameters.temperature,
        )
        said = checked(await generated(call.engine, asked.history, wanted=wanted), asked.suppressed_ids)
        loop = asyncio.get_running_loop()
        (value,) = await loop.run_in_executor(self._threads, self._values, [asked.history], [said.ids])
        is_whole = said.ids[-1] == self._chat(call.tokenizer, asked.suppressed_ids).end_of_turn_id
        return reply_output(asked, said, value=value, prompt=call.prompt, truncated=not is_whole)

    async def _conversation(self, call: Call) -> dict[str, object]:
        asked, loop = OpeningLabel.read(call.label), asyncio.get_running_loop()
        self._held += 1
        speak = speaker(call.engine, call.parameters, suppressed_ids=asked.suppressed_ids, loop=loop)
        chat = self._chat(call.tokenizer, asked.suppressed_ids)
        row = OneRowEngine(speak, chat, max_context_tokens=call.max_length)
        sampling = Sampling(call.parameters.temperature, call.parameters.top_p, asked.turn_tokens)
        # Samples of one prompt share its label: what they draw must not be shared.
        seed = derive_seed(asked.seed, "sample", self._held)
        held = await loop.run_in_executor(
            self._threads, partial(hold, asked, row, sampling=sampling, seed=seed)
        )
        stream = laid_out(held)
        histories = [stream.tokens[:start] for start, _ in stream.ranges]
        replies = [stream.tokens[start:end] for start, end in stream.ranges]
        values = await loop.run_in_executor(self._threads, self._values, histories, replies)
        if HELD_VARIABLE in os.environ:
            record(held, values, folder=Path(os.environ[HELD_VARIABLE]))
        rewards = self._credit(values, outcome_of(held))
        return output(stream, rewards, values=values, outcome=outcome_of(held), prompt=call.prompt)

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
    """What the service at `url` says of every turn; without one no turn has a value, all are 0."""
    if url is None:
        return lambda histories, replies: [0.0] * len(replies)
    return lambda histories, replies: ask_tokens(url, histories, replies=replies, deadline_s=DEADLINE_S)


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

    def _speak(ids: Ids, most: int, temperature: float) -> Said:
        wanted = asked_of(parameters, suppressed_ids, most=most, temperature=temperature)
        coming = generated(engine, ids, wanted=wanted)
        return checked(asyncio.run_coroutine_threadsafe(coming, loop).result(), suppressed_ids)

    return _speak


def asked_of(parameters: Any, suppressed_ids: Ids, *, most: int, temperature: float) -> Any:
    """OpenRLHF's sampling parameters for one turn, from the distribution that the trainer computes with.

    OpenRLHF forbids to end with the first token, which its trainer knows nothing of.
    """
    wanted = copy(parameters)
    wanted.max_tokens, wanted.min_tokens, wanted.temperature, wanted.logprobs = most, 0, temperature, 1
    # vLLM's constructor for requests holds a bias to 100 at most; minus infinity leaves no chance at all.
    wanted.logit_bias = dict.fromkeys(suppressed_ids, -math.inf) or None
    return wanted


async def generated(engine: Any, ids: Ids, *, wanted: Any) -> Said:
    """What OpenRLHF's engine says next, with log-probabilities."""
    said = (await engine.generate(list(ids), wanted, multi_modal_data=None)).outputs[0]
    tokens = tuple(said.token_ids)
    given = zip(tokens, said.logprobs, strict=True)
    return Said(tokens, tuple(float(by_id[token].logprob) for token, by_id in given))


def checked(said: Said, suppressed_ids: Ids) -> Said:
    """The same. Raises ConversationBrokenError for tokens that cannot have been drawn from the policy."""
    if not said.ids:
        raise ConversationBrokenError("the engine said nothing, not even the end of a turn")
    never = set(suppressed_ids)
    for place, (token, logprob) in enumerate(zip(said.ids, said.logprobs, strict=True)):
        if token in never or not math.isfinite(logprob):
            raise ConversationBrokenError(
                "the engine drew what the policy cannot speak:"
                f" token {token} at place {place} of a turn, log-probability {logprob:.3g}"
            )
    return said


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


def output(
    stream: Stream, rewards: Sequence[float], *, values: Sequence[float], outcome: float, prompt: str
) -> dict[str, object]:
    """The mapping that OpenRLHF makes a sample of: one range of actions per turn.

    The sum over turns is the conversation's reward, which OpenRLHF reports and filters by.
    """
    ends = tuple(end for _, end in stream.ranges)
    tokens = tuple(end - start for start, end in stream.ranges)
    return {
        "prompt": prompt,
        "label": TurnRewards(tuple(rewards), ends, tokens, tuple(values), outcome).label(),
        "images": None,
        "mm_train_inputs": None,
        "reward": sum(rewards),
        "scores": sum(rewards),
        "observation_tokens": stream.tokens,
        "action_ranges": stream.ranges,
        "rollout_log_probs": stream.logprobs,
        "truncated": False,
        "extra_logs": {"turns": float(len(rewards)), "outcome": outcome, "broken": 0.0},
    }


def reply_output(
    asked: HistoryLabel, said: Said, *, value: float, prompt: str, truncated: bool
) -> dict[str, object]:
    """`output` for a single reply, whose reward is its value."""
    start = len(asked.history)
    return {
        "prompt": prompt,
        "label": json.dumps({"conversation": asked.conversation, "turn": asked.turn}),
        "images": None,
        "mm_train_inputs": None,
        "reward": value,
        "scores": value,
        "observation_tokens": [*asked.history, *said.ids],
        "action_ranges": [(start, start + len(said.ids))],
        "rollout_log_probs": [*[0.0] * start, *said.logprobs],
        "truncated": truncated,
        "extra_logs": {"value": value, "broken": 0.0},
    }


# kind of what the service serves -> from its values and the outcome to the rewards of the turns
CREDITS: Mapping[str, Callable[[Sequence[float], float], tuple[float, ...]]] = MappingProxyType(
    {"q": shaped_rewards, "prm": implicit_rewards}
)
# What the logs of a whole row hold; a broken one needs the same names.
REPLY_LOGS: Mapping[str, float] = MappingProxyType({"value": 0.0})
TURN_LOGS: Mapping[str, float] = MappingProxyType({"turns": 0.0, "outcome": 0.0})
