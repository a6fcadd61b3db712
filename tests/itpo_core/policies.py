"""Tiny policies and users that several tests of engine and rollout share."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedModel

from itpo_core.engines.transformers import TransformersEngine
from itpo_core.tiny_policy import build_tokenizer, create_policy, suppressed_ids
from itpo_core.tokens import ChatFormat
from itpo_core.types import Message, Role

SENTENCE = "hi i need a tent what size do you want large small please bye . ? ,"
WORDS = tuple(SENTENCE.split())
CONTEXT = 96
Config = TypeVar("Config")


def said(text: str) -> list[Message]:
    """One user message."""
    return [Message(Role.USER, text)]


def tiny_format(suppressed: Sequence[int] = (0, 1, 3, 4, 5)) -> ChatFormat:
    """The format of the tiny policy over WORDS."""
    return ChatFormat.from_tokenizer(build_tokenizer(WORDS), suppressed)


def qwen2() -> PreTrainedModel:
    """A random tiny policy whose norms and biases are not the trivial ones of a fresh network."""
    model, _ = create_policy(WORDS, "xs", seed=0)
    return _stirred(model, seed=1)


def llama() -> PreTrainedModel:
    """A random Llama over the same words: a foreign architecture with rotary positions."""
    config = LlamaConfig(
        vocab_size=6 + len(WORDS),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        initializer_range=0.2,
    )
    return _seeded(LlamaForCausalLM, config, seed=1)


def gpt2() -> PreTrainedModel:
    """A random GPT-2 over the same words: learned absolute positions, so a wrong position shows."""
    config = GPT2Config(
        vocab_size=6 + len(WORDS), n_positions=128, n_embd=32, n_layer=2, n_head=4, initializer_range=0.2
    )
    return _seeded(GPT2LMHeadModel, config, seed=2)


def engine_of(
    model: PreTrainedModel, *, max_context_tokens: int = CONTEXT, max_fed_tokens: int = 4096
) -> TransformersEngine:
    """An engine on the model with the tiny format."""
    return TransformersEngine(
        model,
        tiny_format(suppressed_ids(model) or (0, 1, 3, 4, 5)),
        max_context_tokens=max_context_tokens,
        max_fed_tokens=max_fed_tokens,
    )


def _seeded(make: Callable[[Config], PreTrainedModel], config: Config, *, seed: int) -> PreTrainedModel:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return _stirred(make(config), seed=seed)


def _stirred(model: PreTrainedModel, *, seed: int) -> PreTrainedModel:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    return model.eval()
