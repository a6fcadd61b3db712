"""A candidate's folder is taken only when it is whole, of the parent's kind, and trained."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from itpo_core.tiny_policy import PolicyFolderError, create_policy, load_policy, save_policy
from itpo_core.trainers.candidate_folder import check_candidate

WORDS = ("hi", "i", "need", "a", "tent", ",", ".", "?")
WEIGHTS, EMBEDDINGS = "model.safetensors", "model.embed_tokens.weight"
Change = Callable[[dict[str, Tensor]], dict[str, Tensor]]


@pytest.fixture
def parent(tmp_path: Path) -> Path:
    save_policy(*create_policy(WORDS, "xs", seed=0), folder=tmp_path / "parent")
    return tmp_path / "parent"


@pytest.fixture
def candidate(parent: Path) -> Path:
    """The parent after a step, as OpenRLHF writes it: bfloat16, and a tied head beside the embeddings."""
    folder = parent.with_name("candidate")
    shutil.copytree(parent, folder)
    rewrite(folder, lambda weights: {name: (one + 0.01).bfloat16() for name, one in weights.items()})
    rewrite(folder, lambda weights: weights | {"lm_head.weight": weights[EMBEDDINGS].clone()})
    return folder


def rewrite(folder: Path, change: Change) -> None:
    """The folder's weights, changed."""
    save_file(change(load_file(folder / WEIGHTS)), folder / WEIGHTS, metadata={"format": "pt"})


def split(folder: Path) -> None:
    """The folder's weights in two shards with an index."""
    weights = load_file(folder / WEIGHTS)
    names = sorted(weights)
    halves = {
        "model-1.safetensors": names[: len(names) // 2],
        "model-2.safetensors": names[len(names) // 2 :],
    }
    for file, held in halves.items():
        save_file({name: weights[name] for name in held}, folder / file, metadata={"format": "pt"})
    places = {name: file for file, held in halves.items() for name in held}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    (folder / WEIGHTS).unlink()


def refusal(candidate: Path, parent: Path) -> str:
    with pytest.raises(PolicyFolderError) as error:
        check_candidate(candidate, parent=parent)
    return str(error.value)


def test_a_trained_folder_is_taken_with_its_facts(candidate: Path, parent: Path):
    facts = check_candidate(candidate, parent=parent)

    assert (facts.dtype, facts.has_extra_head) == ("bfloat16", True)
    assert facts.weights == sum(one.numel() for one in load_file(parent / WEIGHTS).values())
    assert 0.5 < facts.moved_share <= 1
    assert facts.largest_move == pytest.approx(0.01, rel=0.5)


def test_what_is_taken_loads_as_a_policy(candidate: Path, parent: Path):
    check_candidate(candidate, parent=parent)

    model, _ = load_policy(candidate)

    spoken = dict(model.named_parameters())
    assert torch.equal(spoken[EMBEDDINGS], load_file(candidate / WEIGHTS)["lm_head.weight"].float())


def test_a_parent_with_the_extra_head_has_candidates_without_it(candidate: Path, parent: Path):
    rewrite(parent, lambda weights: {name: one - 0.5 for name, one in weights.items()})

    facts = check_candidate(parent, parent=candidate)

    assert not facts.has_extra_head


def test_shards_are_taken_by_their_index(candidate: Path, parent: Path):
    whole = check_candidate(candidate, parent=parent)

    split(candidate)

    assert check_candidate(candidate, parent=parent) == whole


def test_the_parents_weights_are_no_candidate(parent: Path, candidate: Path):
    shutil.copyfile(parent / WEIGHTS, candidate / WEIGHTS)
    rewrite(candidate, lambda weights: {name: one.bfloat16() for name, one in weights.items()})

    assert "no step was taken" in refusal(candidate, parent)


def test_a_head_of_its_own_is_refused_where_it_is_tied(candidate: Path, parent: Path):
    rewrite(candidate, lambda weights: weights | {"lm_head.weight": weights["lm_head.weight"] * 2})

    assert "lm_head.weight differs from the embeddings" in refusal(candidate, parent)


def one_broken(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    weights["model.norm.weight"][3] = float("nan")
    return weights


WRONG: dict[str, tuple[Change, str]] = {
    "nan": (one_broken, "1 weights of model.norm.weight are NaN or infinite"),
    "missing": (lambda w: {k: v for k, v in w.items() if k != "model.norm.weight"}, "has no ['model.norm.w"),
    "unknown": (
        lambda w: w | {"value_head.weight": torch.ones(2).bfloat16()},
        "holds unknown ['value_head.w",
    ),
    "dtypes": (lambda w: w | {"model.norm.weight": w["model.norm.weight"].float()}, "'bfloat16', 'float32'"),
    "integers": (lambda w: {k: v.to(torch.int8) for k, v in w.items()}, "weights are in ['int8']"),
    "vocabulary": (
        lambda w: (
            w
            | dict.fromkeys((EMBEDDINGS,), w[EMBEDDINGS][:-1].clone())
            | {"lm_head.weight": w[EMBEDDINGS][:-1]}
        ),
        "the vocabulary of",
    ),
}


@pytest.mark.parametrize(("change", "words"), WRONG.values(), ids=WRONG.keys())
def test_wrong_weights_are_refused(candidate: Path, parent: Path, change: Change, words: str):
    rewrite(candidate, change)

    assert words in refusal(candidate, parent)


def test_a_file_that_is_cut_off_is_refused(candidate: Path, parent: Path):
    whole = (candidate / WEIGHTS).read_bytes()

    (candidate / WEIGHTS).write_bytes(whole[: len(whole) // 2])

    assert "model.safetensors is cut off or damaged" in refusal(candidate, parent)


def test_a_missing_shard_is_named(candidate: Path, parent: Path):
    split(candidate)

    (candidate / "model-2.safetensors").unlink()

    assert "model-2.safetensors is missing" in refusal(candidate, parent)


def test_a_shard_without_its_tensors_is_named(candidate: Path, parent: Path):
    split(candidate)

    shutil.copyfile(candidate / "model-1.safetensors", candidate / "model-2.safetensors")

    assert "model-2.safetensors: ['model.layers" in refusal(candidate, parent)


def test_adapters_are_told_from_missing_weights(candidate: Path, parent: Path):
    (candidate / WEIGHTS).rename(candidate / "adapter_model.safetensors")

    assert "it holds adapters: merge them first" in refusal(candidate, parent)


def test_pickled_weights_are_refused(candidate: Path, parent: Path):
    (candidate / "adapter_model.bin").write_bytes(b"")

    assert "['adapter_model.bin'] may be pickled" in refusal(candidate, parent)


def test_an_empty_folder_says_that_the_training_ended_early(tmp_path: Path, parent: Path):
    assert "the training ended before it wrote its weights" in refusal(tmp_path, parent)


def test_a_half_written_configuration_is_refused(candidate: Path, parent: Path):
    (candidate / "config.json").write_text('{"model_type": "qwen2", ')

    assert "config" in refusal(candidate, parent)


def test_another_tokenizer_of_the_same_size_is_refused(candidate: Path, parent: Path):
    told = (candidate / "tokenizer.json").read_text()

    (candidate / "tokenizer.json").write_text(told.replace('"tent"', '"tarp"'))

    assert "its tokenizer is not the parent's" in refusal(candidate, parent)


def test_how_a_tokenizer_was_last_called_is_no_difference(candidate: Path, parent: Path):
    told = json.loads((candidate / "tokenizer.json").read_text())
    called = {"strategy": "LongestFirst", "max_length": 9, "stride": 0, "direction": "Left"}

    (candidate / "tokenizer.json").write_text(json.dumps(told | {"truncation": called}))

    assert check_candidate(candidate, parent=parent).moved_share > 0


def test_another_chat_template_is_refused(candidate: Path, parent: Path):
    (candidate / "chat_template.jinja").write_text("{{ messages[0]['content'] }}")

    assert "its chat template is not the parent's" in refusal(candidate, parent)
