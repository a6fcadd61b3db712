"""What one would write without an engine: a multi-turn loop over `model.generate`, in two honest versions.

Both hold the same conversations with the same users as our rollouts, drop conversations that ended, and pad
on the left. One feeds the whole history again at every turn, the other carries the cache over.
Axes: S conversations still open, T tokens.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

import torch
from torch import Tensor
from transformers import DynamicCache, GenerationConfig, PreTrainedModel

from itpo_core.engines.base import Sampling
from itpo_core.envs.base import Environment, Reply, UserSimulator
from itpo_core.identifiers import derive_seed
from itpo_core.rollout import RolloutSpec
from itpo_core.tokens import ChatFormat
from itpo_core.types import Message, Role


@dataclass(slots=True)
class Talk:
    """One conversation under way: what was said, the whole stream, and what is new since the last turn."""

    user: UserSimulator
    messages: list[Message]
    stream: list[int]
    new_ids: list[int]
    turns: list[list[int]] = field(default_factory=list)
    is_open: bool = True


class Speaker(Protocol):
    """Lets every open conversation speak one turn."""

    def turn(self, talks: Sequence[Talk]) -> list[list[int]]:
        """The policy's ids of each conversation's turn, its end of turn included."""
        ...

    def drop(self, kept: Sequence[int]) -> None:
        """Only these of the last conversations go on."""
        ...


def generate(
    model: PreTrainedModel,
    tokens_ST: Tensor,
    *,
    is_token_ST: Tensor,
    generation: GenerationConfig,
    cache: DynamicCache | None = None,
) -> Tensor:
    """The library's own loop: the given tokens with what it wrote after them.

    Where the config asks for scores, the log-probability of every written token is taken from them, as
    training on the conversations needs it.
    """
    writer = cast(Any, model)  # Any: the library types its own mixin so that no model fits
    output = writer.generate(
        inputs=tokens_ST, attention_mask=is_token_ST, past_key_values=cache, generation_config=generation
    )
    if not generation.output_scores:
        return output
    writer.compute_transition_scores(output.sequences, output.scores, normalize_logits=True)
    return output.sequences


class AgainFromTheStart:
    """Every turn feeds the whole history again."""

    def __init__(self, model: PreTrainedModel, generation: GenerationConfig) -> None:
        self._model = model
        self._generation = generation

    def turn(self, talks: Sequence[Talk]) -> list[list[int]]:
        """See `Speaker.turn`."""
        tokens_ST, is_token_ST = left_padded([talk.stream for talk in talks])
        output = generate(self._model, tokens_ST, is_token_ST=is_token_ST, generation=self._generation)
        return spoken(output[:, tokens_ST.shape[1] :], self._generation)

    def drop(self, kept: Sequence[int]) -> None:
        """Nothing is carried over."""


class CarriedCache:
    """Every turn feeds what is new; the cache of the earlier turns is carried over."""

    def __init__(self, model: PreTrainedModel, generation: GenerationConfig) -> None:
        self._model = model
        self._generation = generation
        self._cache = DynamicCache(config=model.config)
        self._tokens_ST = torch.empty(0, 0, dtype=torch.long)
        self._is_token_ST = torch.empty(0, 0, dtype=torch.long)

    def turn(self, talks: Sequence[Talk]) -> list[list[int]]:
        """See `Speaker.turn`."""
        new_ST, is_new_ST = left_padded([talk.new_ids for talk in talks])
        if not self._tokens_ST.numel():
            self._tokens_ST = self._is_token_ST = torch.empty(len(talks), 0, dtype=torch.long)
        tokens_ST = torch.cat([self._tokens_ST, new_ST], dim=1)
        is_token_ST = torch.cat([self._is_token_ST, is_new_ST], dim=1)
        output = generate(
            self._model,
            tokens_ST,
            is_token_ST=is_token_ST,
            generation=self._generation,
            cache=self._cache,
        )
        added_ST = output[:, tokens_ST.shape[1] :]
        # What generate writes after a row's end of turn is padding, and is masked from then on.
        is_added_ST = (added_ST != self._generation.pad_token_id).long()
        self._tokens_ST, self._is_token_ST = output, torch.cat([is_token_ST, is_added_ST], dim=1)
        return spoken(added_ST, self._generation)

    def drop(self, kept: Sequence[int]) -> None:
        """Carry only these rows over."""
        index = torch.tensor(kept, dtype=torch.long)
        self._tokens_ST, self._is_token_ST = self._tokens_ST[index], self._is_token_ST[index]
        self._cache.batch_select_indices(index)


SPEAKERS: dict[str, Callable[[PreTrainedModel, GenerationConfig], Speaker]] = {
    "every turn from the start": AgainFromTheStart,
    "cache carried over": CarriedCache,
}


def generation_of(
    model: PreTrainedModel, sampling: Sampling, *, with_logprobs: bool = False
) -> GenerationConfig:
    """The policy's own generation config with the sampling of our rollouts."""
    own = model.generation_config
    greedy = sampling.temperature == 0
    return GenerationConfig(
        do_sample=not greedy,
        temperature=None if greedy else sampling.temperature,
        top_p=None if greedy else sampling.top_p,
        top_k=None if greedy else 0,
        max_new_tokens=sampling.max_new_tokens,
        pad_token_id=own.pad_token_id,
        eos_token_id=own.eos_token_id,
        suppress_tokens=own.suppress_tokens,
        output_scores=with_logprobs,
        return_dict_in_generate=with_logprobs,
    )


def left_padded(rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Rows of ids aligned at their ends, padded with 0, and where their tokens are."""
    width = max(map(len, rows))
    tokens = torch.tensor([[0] * (width - len(row)) + list(row) for row in rows])
    is_token = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
    return tokens, is_token


def spoken(added_ST: Tensor, generation: GenerationConfig) -> list[list[int]]:
    """Each row up to its end of turn, or whole."""
    rows = added_ST.tolist()
    end = generation.eos_token_id
    return [row[: row.index(end) + 1] if end in row else row for row in rows]


@torch.inference_mode()
def hold(
    speaker: Speaker, chat: ChatFormat, *, environment: Environment, specs: Sequence[RolloutSpec]
) -> list[Talk]:
    """Every conversation to its end, in lock-step of whole turns."""
    talks = [_begin(chat, environment, spec) for spec in specs]
    open_talks = talks
    while open_talks:
        for talk, ids in zip(open_talks, speaker.turn(open_talks), strict=True):
            _go_on(talk, ids, chat=chat, max_turns=environment.max_turns)
        kept = [index for index, talk in enumerate(open_talks) if talk.is_open]
        open_talks = [open_talks[index] for index in kept]
        speaker.drop(kept)
    return talks


def _begin(chat: ChatFormat, environment: Environment, spec: RolloutSpec) -> Talk:
    ids = chat.opening_ids(spec.scenario.opening)
    user = environment.user(spec.scenario, seed=derive_seed(spec.seed, "user"))
    return Talk(user, messages=list(spec.scenario.opening), stream=list(ids), new_ids=list(ids))


def _go_on(talk: Talk, ids: list[int], *, chat: ChatFormat, max_turns: int) -> None:
    closed = ids[-1] == chat.end_of_turn_id
    talk.turns.append(ids)
    talk.messages.append(Message(Role.ASSISTANT, chat.decode(ids[:-1] if closed else ids)))
    reply = talk.user.reply(talk.messages)
    if not isinstance(reply, Reply) or reply.stop or reply.text is None or len(talk.turns) >= max_turns:
        talk.is_open = False
        return
    talk.messages.append(Message(Role.USER, reply.text))
    forced = [] if closed else [chat.end_of_turn_id]
    talk.new_ids = forced + chat.continuation_ids(talk.messages[-1:])
    talk.stream += ids + talk.new_ids
