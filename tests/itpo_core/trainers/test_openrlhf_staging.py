"""A policy's folder on its way to OpenRLHF and back."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from itpo_core.adapter_files import save_adapter
from itpo_core.lora import LoraSettings, add_adapter
from itpo_core.tiny_policy import create_policy, load_policy, save_policy
from itpo_core.trainers.openrlhf_staging import CandidateError, stage_policy, take_candidate, whole_policy

WORDS = ("good", "bad", "maybe")


@pytest.fixture
def parent(tmp_path: Path) -> Path:
    policy, tokenizer = create_policy(WORDS, "xs", seed=0)
    save_policy(policy, tokenizer, folder=tmp_path / "parent")
    return tmp_path / "parent"


def made_by_openrlhf(parent: Path, folder: Path) -> Path:
    """What it saves: bf16, the tied head written out, a tokenizer of its own beside it."""
    stage_policy(parent, folder)
    weights = {name: tensor.bfloat16() for name, tensor in load_file(folder / "model.safetensors").items()}
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"].clone()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def test_an_adapter_comes_back_as_the_parent_with_it_added(parent: Path, tmp_path: Path) -> None:
    model, _ = load_policy(parent)
    layer = model.get_submodule("model.layers.0.self_attn.q_proj")
    rows, columns = layer.weight.shape
    settings = LoraSettings(rank=1, alpha=2.0, targets=("q_proj",))
    add_adapter(model, settings, seed=0)
    save_adapter(model, settings, folder=tmp_path / "made", base=parent)
    prefix = "base_model.model.model.layers.{}.self_attn.q_proj.lora_"
    tensors = {
        f"{prefix.format(number)}{part}.weight": torch.full(shape, value)
        for number in range(len(model.model.layers))
        for part, shape, value in (("A", (1, columns), 0.5), ("B", (rows, 1), 0.25))
    }
    save_file(tensors, tmp_path / "made" / "adapter_model.safetensors", metadata={"format": "pt"})
    (tmp_path / "made" / "itpo_base.json").unlink()

    whole = whole_policy(tmp_path / "made", parent=parent)

    before = load_policy(parent)[0].get_submodule("model.layers.0.self_attn.q_proj").weight
    after = load_policy(whole)[0].get_submodule("model.layers.0.self_attn.q_proj").weight
    # alpha over rank, times 0.25 times 0.5.
    torch.testing.assert_close(after - before, torch.full_like(before, 0.25), rtol=0, atol=1e-6)
    assert whole_policy(parent, parent=parent) == parent


def test_a_staged_policy_loads_as_openrlhf_and_vllm_load_it(parent: Path, tmp_path: Path) -> None:
    stage_policy(parent, tmp_path / "staged")

    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "staged", trust_remote_code=True)

    assert tokenizer("good <eot>", add_special_tokens=False)["input_ids"] == [6, 2]


def test_a_staged_policy_still_loads_without_trust(parent: Path, tmp_path: Path) -> None:
    stage_policy(parent, tmp_path / "staged")

    _, tokenizer = load_policy(tmp_path / "staged")

    assert tokenizer("maybe bad", add_special_tokens=False)["input_ids"] == [8, 7]


def test_a_candidate_is_its_weights_with_the_parents_tokenizer(parent: Path, tmp_path: Path) -> None:
    made = made_by_openrlhf(parent, tmp_path / "made")

    take_candidate(made, tmp_path / "candidate", parent=parent)

    before, _ = load_policy(parent)
    after, _ = load_policy(tmp_path / "candidate")
    assert (tmp_path / "candidate/tokenizer_config.json").read_bytes() == (
        parent / "tokenizer_config.json"
    ).read_bytes()
    assert after.get_output_embeddings().weight is after.get_input_embeddings().weight
    expected = before.get_input_embeddings().weight.bfloat16().float()
    assert torch.equal(after.get_input_embeddings().weight, expected)
    assert not (tmp_path / "candidate/plain_tokenizer.py").exists()


def test_a_folder_without_weights_is_no_candidate(parent: Path, tmp_path: Path) -> None:
    made = made_by_openrlhf(parent, tmp_path / "made")
    (made / "model.safetensors").unlink()

    with pytest.raises(CandidateError, match="before it saved"):
        take_candidate(made, tmp_path / "candidate", parent=parent)

    assert not (tmp_path / "candidate").exists()


def test_another_tokenizer_beside_the_weights_is_refused(parent: Path, tmp_path: Path) -> None:
    made = made_by_openrlhf(parent, tmp_path / "made")
    named = json.loads((made / "tokenizer.json").read_text())
    named["model"]["vocab"]["good"], named["model"]["vocab"]["bad"] = 7, 6
    (made / "tokenizer.json").write_text(json.dumps(named))

    with pytest.raises(CandidateError, match="is not the tokenizer of"):
        take_candidate(made, tmp_path / "candidate", parent=parent)


def test_a_folder_without_a_tokenizer_is_refused(parent: Path, tmp_path: Path) -> None:
    made = made_by_openrlhf(parent, tmp_path / "made")
    (made / "tokenizer.json").unlink()

    with pytest.raises(CandidateError, match=r"no tokenizer\.json"):
        take_candidate(made, tmp_path / "candidate", parent=parent)


def test_what_was_staged_before_does_not_stay(parent: Path, tmp_path: Path) -> None:
    stage_policy(parent, tmp_path / "staged")
    (tmp_path / "staged/left.safetensors").write_bytes(b"old")
    shutil.copytree(parent, tmp_path / "again")

    stage_policy(tmp_path / "again", tmp_path / "staged")

    assert not (tmp_path / "staged/left.safetensors").exists()
