"""The embedded policy: its tokenizers, its weights, its folder."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerFast

from itpo_core.tiny_policy import (
    SPECIALS,
    PolicyFolderError,
    build_bpe_tokenizer,
    build_tokenizer,
    create_policy,
    load_policy,
    save_policy,
    suppressed_ids,
)

WORDS = ("hi", "i", "need", "a", "tent", ",", ".", "?")


def saved(folder: Path) -> Path:
    """The folder of a fresh policy over WORDS."""
    save_policy(*create_policy(WORDS, "xs", seed=0), folder=folder)
    return folder


def embedding(model: PreTrainedModel) -> torch.Tensor:
    """The first weights of the model, which are those of its words."""
    return next(model.parameters()).detach()


def test_specials_come_first_and_words_follow_in_order() -> None:
    tokenizer = build_tokenizer(WORDS)

    assert tokenizer.convert_ids_to_tokens(list(range(14))) == [*SPECIALS, *WORDS]


@pytest.mark.parametrize("word", ["don't", "two words", "<eot>", ""])
def test_a_word_that_would_fall_into_pieces_is_refused_by_name(word: str) -> None:
    with pytest.raises(ValueError, match=f"word {word!r} is read as"):
        build_tokenizer(["fine", word])


def test_a_word_given_twice_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"more than once: \['hi'\]"):
        build_tokenizer(["hi", "need", "hi"])


def test_the_chat_template_opens_with_the_system_text_and_ends_where_the_assistant_speaks() -> None:
    messages = [{"role": "system", "content": "a tent"}, {"role": "user", "content": "hi"}]

    text = build_tokenizer(WORDS).apply_chat_template(messages, tokenize=False, add_generation_prompt=True)

    assert text == "<bos>a tent<eot><user>hi<eot><asst>"


def test_byte_pairs_decode_to_the_very_text_they_were_made_from() -> None:
    tokenizer = build_bpe_tokenizer(["flight to Boston", "a flight"], vocabulary_size=280)
    text = "Größe 42 <flight>\n  to\tBoston"

    assert tokenizer.decode(tokenizer(text).input_ids) == text
    assert tokenizer.convert_ids_to_tokens(list(range(6))) == list(SPECIALS)
    assert len(tokenizer) <= 280


def test_a_vocabulary_without_room_for_the_bytes_is_refused() -> None:
    with pytest.raises(ValueError, match="vocabulary_size 100"):
        build_bpe_tokenizer(["a"], vocabulary_size=100)


def test_the_same_seed_gives_the_same_weights_and_leaves_the_global_generator_alone() -> None:
    before = torch.random.get_rng_state()

    first, _ = create_policy(WORDS, "xs", seed=7)
    again, _ = create_policy(WORDS, "xs", seed=7)
    other, _ = create_policy(WORDS, "xs", seed=8)

    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(embedding(first), embedding(again))
    assert not torch.equal(embedding(first), embedding(other))


def test_initial_weights_are_as_wide_as_the_network_needs() -> None:
    model, _ = create_policy([f"w{i}" for i in range(500)], "xs", seed=0)

    assert float(embedding(model).std()) == pytest.approx(64**-0.5, rel=0.05)


def test_only_the_end_of_turn_among_the_specials_is_the_policys_to_say() -> None:
    model, tokenizer = create_policy(WORDS, "xs", seed=0)

    assert suppressed_ids(model) == (0, 1, 3, 4, 5)
    assert model.generation_config.eos_token_id == tokenizer.convert_tokens_to_ids("<eot>") == 2


def test_a_saved_policy_loads_with_plain_from_pretrained_and_speaks_the_same_ids(tmp_path: Path) -> None:
    model, tokenizer = create_policy(WORDS, "xs", seed=0)
    save_policy(model, tokenizer, folder=tmp_path)

    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    read = AutoTokenizer.from_pretrained(tmp_path)

    assert isinstance(read, PreTrainedTokenizerFast)
    assert read.backend_tokenizer.to_str() == tokenizer.backend_tokenizer.to_str()
    assert read("hi , a tent ?").input_ids == [6, 11, 9, 10, 13]
    ids = torch.tensor([[1, 3, 6]])
    assert torch.equal(loaded(ids).logits, model(ids).logits)


def test_a_policy_is_the_same_bytes_however_often_it_is_made_loaded_and_saved(tmp_path: Path) -> None:
    first, second = saved(tmp_path / "first"), saved(tmp_path / "second")
    save_policy(*load_policy(first), folder=tmp_path / "third")

    names = sorted(path.name for path in first.iterdir())
    for other in (second, tmp_path / "third"):
        assert sorted(path.name for path in other.iterdir()) == names
        assert all((first / name).read_bytes() == (other / name).read_bytes() for name in names)
    assert not any(name.endswith((".bin", ".pt", ".pkl")) for name in names)


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PolicyFolderError, match=r"no config\.json"):
        load_policy(tmp_path / "nowhere")


def test_pickled_weights_are_refused_by_name(tmp_path: Path) -> None:
    (saved(tmp_path) / "model.safetensors").rename(tmp_path / "pytorch_model.bin")

    with pytest.raises(PolicyFolderError, match=r"convert \['pytorch_model\.bin'\] to safetensors"):
        load_policy(tmp_path)


def test_a_tokenizer_without_a_chat_template_is_refused(tmp_path: Path) -> None:
    (saved(tmp_path) / "chat_template.jinja").unlink()

    with pytest.raises(PolicyFolderError, match="no chat template"):
        load_policy(tmp_path)
