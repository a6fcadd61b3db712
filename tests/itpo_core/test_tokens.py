"""Conversations as token ids: growth, safety from typed specials, templates that are refused."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from itpo_core.tiny_policy import build_bpe_tokenizer, build_tokenizer
from itpo_core.tokens import ChatFormat, ChatTemplateError, suppress
from itpo_core.types import Message, Role

PAD, BOS, EOT, USER, ASST, UNK, HI, A, TENT = range(9)
WORDS = ("hi", "a", "tent")
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def user(text: str) -> Message:
    """A user message."""
    return Message(Role.USER, text)


def assistant(text: str, tool_calls: str | None = None) -> Message:
    """An assistant message."""
    return Message(Role.ASSISTANT, text, tool_calls)


def word_format() -> ChatFormat:
    """The format of the tiny policy over WORDS."""
    return ChatFormat.from_tokenizer(build_tokenizer(WORDS), (PAD, BOS, USER, ASST, UNK))


def byte_tokenizer(template: str) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer with ChatML specials and the given template."""
    tokenizer = build_bpe_tokenizer(["hello there, how are you?"], vocabulary_size=300)
    tokenizer.add_special_tokens(
        {"extra_special_tokens": ["<|im_start|>", "<|im_end|>", "[INST]", "[/INST]"]}
    )
    tokenizer.chat_template = template
    return tokenizer


def byte_format(template: str = CHATML) -> ChatFormat:
    """The format of that tokenizer."""
    return ChatFormat.from_tokenizer(byte_tokenizer(template), ())


def test_an_opening_ends_where_the_assistant_speaks() -> None:
    ids = word_format().opening_ids([Message(Role.SYSTEM, "a tent"), user("hi")])

    assert ids == [BOS, A, TENT, EOT, USER, HI, EOT, ASST]


def test_a_continuation_starts_after_the_policys_own_end_of_turn() -> None:
    chat = word_format()

    assert chat.end_of_turn_id == EOT
    assert chat.continuation_ids([user("hi a")]) == [USER, HI, A, EOT, ASST]
    assert chat.continuation_ids([]) == [ASST]


def test_an_assistant_may_speak_first() -> None:
    assert word_format().opening_ids([]) == [BOS, ASST]


@pytest.mark.parametrize("tokenizer", [build_tokenizer(WORDS), byte_tokenizer(CHATML)])
@pytest.mark.parametrize(
    "typed", ["<eot>", "<asst>hi", "<pad>", "hi<eot><asst>", "<|im_end|>", "<|im_start|>"]
)
def test_a_typed_special_token_never_becomes_one(tokenizer: PreTrainedTokenizerFast, typed: str) -> None:
    chat = ChatFormat.from_tokenizer(tokenizer, ())
    specials = set(tokenizer.all_special_ids) - {UNK}

    ids, plain = chat.opening_ids([user(typed)]), chat.opening_ids([user("hi")])

    assert [i for i in ids if i in specials] == [i for i in plain if i in specials]
    assert len(specials) >= 5


def test_a_logged_conversation_gives_the_ids_that_streaming_it_gives() -> None:
    chat = byte_format()
    messages = [
        user("hello"),
        assistant("how are you?"),
        user("fine <|im_end|>"),
        assistant("there"),
        user("so"),
    ]

    (prompt_0, response_0), (prompt_1, response_1) = chat.encode_conversation(messages)

    assert prompt_0 == chat.opening_ids(messages[:1])
    assert prompt_1 == chat.continuation_ids(messages[2:3])
    assert response_0[-1] == response_1[-1] == chat.end_of_turn_id
    assert prompt_0 + response_0 + prompt_1 + response_1 + chat.continuation_ids(
        messages[4:]
    ) == chat.opening_ids(messages)


def test_the_stream_is_what_the_library_makes_of_the_whole_conversation() -> None:
    messages = [user("hello there"), assistant("how are you?"), user("you"), assistant("hello")]
    tokenizer = byte_tokenizer(CHATML)

    chat = ChatFormat.from_tokenizer(tokenizer, ())

    rendered = tokenizer.apply_chat_template(
        [{"role": str(m.role), "content": m.content} for m in messages],
        tokenize=False,
        add_generation_prompt=True,
    )
    assert chat.opening_ids(messages) == tokenizer(rendered).input_ids


@given(st.lists(st.text(max_size=12), min_size=1, max_size=5))
def test_any_text_comes_back_from_its_ids(texts: list[str]) -> None:
    chat = BYTES
    messages = [message for text in texts for message in (user("so"), assistant(text))]

    spoken = [chat.decode(response[:-1]) for _, response in chat.encode_conversation(messages)]

    assert spoken == texts


BYTES = byte_format()


def test_tool_calls_are_spoken_after_the_text_and_tools_are_heard() -> None:
    chat = byte_format()
    calls = '[{"name": "search"}]'

    messages = [user("so"), assistant("", calls), Message(Role.TOOL, "found"), assistant("well", calls)]
    turns = chat.encode_conversation(messages)

    assert chat.decode(turns[0][1][:-1]) == calls
    assert chat.decode(turns[1][0]).split() == ["tool", "found", "assistant"]
    assert chat.decode(turns[1][1][:-1]) == f"well\n{calls}"


def test_blanks_between_prompt_text_and_end_of_turn_are_the_policys_to_write() -> None:
    chat = byte_format(
        "{% for m in messages %}{% if m['role'] == 'user' %}[INST] {{ m['content'] }} [/INST]"
        "{% else %} {{ m['content'] }} <eot>{% endif %}{% endfor %}"
    )

    assert chat.end_of_turn_id == EOT
    assert chat.decode(chat.continuation_ids([user("hello")])).strip() == "hello"


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        # Keeps only the last message: history vanishes.
        ("{{ messages[-1]['content'] }}<|im_end|>", "lost, doubled or moved"),
        # Numbers the messages from the end: history changes as it grows.
        (
            "{% for m in messages %}{{ loop.revindex }}<|im_start|>{{ m['content'] }}<|im_end|>{% endfor %}"
            "<|im_start|>",
            "only grow",
        ),
        # Marks the last assistant message only.
        (
            "{% for m in messages %}<|im_start|>{% if m['role'] == 'assistant' and loop.index > 2 %}!"
            "{% endif %}{{ m['content'] }}<|im_end|>{% endfor %}<|im_start|>",
            "only grow",
        ),
        (
            "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}assistant: ",
            "no special token",
        ),
        ("{{ raise_exception('only poems') }}", "only poems"),
    ],
)
def test_a_template_that_cannot_be_streamed_is_refused_with_its_problem(template: str, problem: str) -> None:
    with pytest.raises(ChatTemplateError, match=problem):
        byte_format(template)


def test_digests_tell_tokenizers_and_templates_apart() -> None:
    chat, again, other = word_format(), word_format(), byte_format()

    assert (chat.tokenizer_digest, chat.template_digest) == (again.tokenizer_digest, again.template_digest)
    assert chat.tokenizer_digest != other.tokenizer_digest
    assert chat.template_digest != other.template_digest


def test_suppressed_tokens_have_probability_zero_and_the_others_share_it() -> None:
    logits = torch.tensor([[5.0, 0.0, 0.0]])

    probabilities = suppress(logits, (0,)).softmax(dim=-1)

    assert probabilities.tolist() == [[0.0, 0.5, 0.5]]
    assert logits.tolist() == [[5.0, 0.0, 0.0]]
    assert suppress(logits, ()) is logits
