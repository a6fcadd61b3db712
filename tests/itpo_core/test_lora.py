"""Adapters: an untrained one changes nothing, merged and unmerged agree, and a wrong base is refused."""

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel

from itpo_core.adapter_files import is_adapter, link_base, read_adapter, save_adapter
from itpo_core.lora import AdapterError, LoraSettings, adapter_tensors, add_adapter
from itpo_core.tiny_policy import create_policy, load_policy, save_policy
from itpo_core.trainers.checkpoints import trained_parameters
from itpo_core.trainers.starts import starting

LORA = LoraSettings(rank=2, alpha=4.0, targets=("q_proj", "down_proj"))
TOKENS_BT = torch.tensor([[1, 6, 7, 8], [1, 8, 6, 7]])


@pytest.fixture
def base(tmp_path: Path) -> Path:
    model, tokenizer = create_policy([f"w{index}" for index in range(6)], "xs", seed=0)
    save_policy(model, tokenizer, folder=tmp_path / "base")
    return tmp_path / "base"


def trained(base: Path) -> PreTrainedModel:
    """The base with an adapter whose matrices are all random."""
    model, _ = load_policy(base)
    add_adapter(model, LORA, seed=1)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for each in trained_parameters(model).values():
            each.copy_(0.1 * torch.randn(each.shape, generator=generator))
    return model


def logits(model: PreTrainedModel) -> torch.Tensor:
    with torch.inference_mode():
        return model(TOKENS_BT).logits


def test_an_untrained_adapter_changes_no_logit(base: Path) -> None:
    plain, adapted = load_policy(base)[0], load_policy(base)[0]
    add_adapter(adapted, LORA, seed=1)

    assert torch.equal(logits(plain), logits(adapted))


def test_only_the_adapters_matrices_are_trained_and_they_are_few(base: Path) -> None:
    model, _ = load_policy(base)
    add_adapter(model, LORA, seed=1)

    moved = trained_parameters(model)

    # xs: 2 layers, 64 wide, feed-forward 192; q_proj is 64 to 64 and down_proj 192 to 64, at rank 2.
    assert sum(each.numel() for each in moved.values()) == 2 * (2 * (64 + 64) + 2 * (192 + 64))
    assert all(name.endswith(("lora_A", "lora_B")) for name in moved)


def test_loading_an_adapters_folder_gives_base_and_adapter_merged(base: Path, tmp_path: Path) -> None:
    model = trained(base)
    save_adapter(model, LORA, folder=tmp_path / "adapter", base=base)

    merged, tokenizer = load_policy(tmp_path / "adapter")

    assert torch.allclose(logits(model), logits(merged), atol=1e-5)
    assert not torch.allclose(logits(load_policy(base)[0]), logits(merged), atol=1e-2)
    assert merged.state_dict().keys() == load_policy(base)[0].state_dict().keys()
    assert tokenizer.chat_template


def test_the_files_are_those_of_the_peft_library(base: Path, tmp_path: Path) -> None:
    save_adapter(trained(base), LORA, folder=tmp_path / "adapter", base=base)

    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    names = read_adapter(tmp_path / "adapter").tensors

    assert (config["peft_type"], config["r"], config["lora_alpha"]) == ("LORA", 2, 4.0)
    assert config["target_modules"] == ["down_proj", "q_proj"]
    assert names["base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"].shape == (2, 64)
    assert names["base_model.model.model.layers.1.mlp.down_proj.lora_B.weight"].shape == (64, 2)


def test_the_folder_says_the_same_wherever_its_base_lies(base: Path, tmp_path: Path) -> None:
    model = trained(base)
    shutil.copytree(base, tmp_path / "elsewhere")
    save_adapter(model, LORA, folder=tmp_path / "one", base=base)
    save_adapter(model, LORA, folder=tmp_path / "two", base=tmp_path / "elsewhere")

    one, two = (
        {p.name: p.read_bytes() for p in (tmp_path / x).iterdir() if p.is_file()} for x in ("one", "two")
    )

    assert one == two
    assert one.keys() == {"adapter_config.json", "adapter_model.safetensors", "itpo_base.json"}


def test_an_adapter_beside_another_base_is_refused_by_digest(base: Path, tmp_path: Path) -> None:
    other, tokenizer = create_policy([f"w{index}" for index in range(6)], "xs", seed=9)
    save_policy(other, tokenizer, folder=tmp_path / "other")
    save_adapter(trained(base), LORA, folder=tmp_path / "adapter", base=base)
    link_base(tmp_path / "adapter", tmp_path / "other")

    with pytest.raises(AdapterError, match="the adapter belongs to weights"):
        load_policy(tmp_path / "adapter")


def test_an_adapter_without_its_base_is_refused(base: Path, tmp_path: Path) -> None:
    save_adapter(trained(base), LORA, folder=tmp_path / "adapter", base=base)
    (tmp_path / "adapter" / ".base").unlink()

    with pytest.raises(AdapterError, match=r"not linked at \.base"):
        load_policy(tmp_path / "adapter")


def test_a_half_copied_adapter_is_refused_by_what_is_missing(base: Path, tmp_path: Path) -> None:
    save_adapter(trained(base), LORA, folder=tmp_path / "adapter", base=base)
    (tmp_path / "adapter" / "adapter_model.safetensors").unlink()

    with pytest.raises(AdapterError, match=r"adapter_model\.safetensors missing"):
        load_policy(tmp_path / "adapter")


@pytest.mark.parametrize(("key", "value"), [("use_dora", True), ("lora_dropout", 0.1), ("bias", "all")])
def test_a_kind_of_adapter_that_would_be_read_wrongly_is_refused(
    base: Path, tmp_path: Path, key: str, value: object
) -> None:
    save_adapter(trained(base), LORA, folder=tmp_path / "adapter", base=base)
    path = tmp_path / "adapter" / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))

    with pytest.raises(AdapterError, match=f"'{key}'.*not supported"):
        load_policy(tmp_path / "adapter")


def test_targets_that_the_model_does_not_have_are_named(base: Path) -> None:
    model, _ = load_policy(base)

    with pytest.raises(AdapterError, match=r"lora.targets \['qq'\]: the linear layers .*'q_proj'"):
        add_adapter(model, dataclasses.replace(LORA, targets=("q_proj", "qq")), seed=1)


def test_training_from_an_adapter_goes_on_with_it_on_the_same_base(base: Path, tmp_path: Path) -> None:
    model = trained(base)
    save_adapter(model, LORA, folder=tmp_path / "first", base=base)

    start = starting(tmp_path / "first", LORA, seed=5)
    start.write(tmp_path / "second")

    before, after = adapter_tensors(model), adapter_tensors(start.model)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert (tmp_path / "second" / ".base").resolve() == base


def test_an_adapter_of_other_settings_is_not_gone_on_from(base: Path, tmp_path: Path) -> None:
    save_adapter(trained(base), LORA, folder=tmp_path / "first", base=base)

    with pytest.raises(AdapterError, match="itpo merge"):
        starting(tmp_path / "first", dataclasses.replace(LORA, rank=4), seed=5)


def test_without_lora_an_adapter_is_trained_on_as_whole_weights(base: Path, tmp_path: Path) -> None:
    save_adapter(trained(base), LORA, folder=tmp_path / "first", base=base)

    starting(tmp_path / "first", None, seed=5).write(tmp_path / "whole")

    assert not is_adapter(tmp_path / "whole")
    whole, merged = load_policy(tmp_path / "whole")[0], load_policy(tmp_path / "first")[0]
    assert torch.equal(logits(whole), logits(merged))
