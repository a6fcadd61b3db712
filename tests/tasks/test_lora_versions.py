"""Adapters as policy versions: fetched with their base, gone on with, merged on command."""

from pathlib import Path

import pytest
import torch

from itpo_core.adapter_files import is_adapter, read_adapter, save_adapter
from itpo_core.lora import AdapterError, LoraSettings, add_adapter
from itpo_core.tiny_policy import create_policy, load_policy, save_policy
from itpo_core.trainers.checkpoints import trained_parameters
from storage import commits, registry, weights
from storage.commits import Commit
from storage.errors import MissingPolicy
from storage.registry import PolicyVersion
from tasks import merge
from tasks.adapter_receipts import base_breaks, base_of
from tasks.config import ConfigError
from tasks.context import Context
from tasks.receipts import Desk
from tasks.train_policy import base_input, local_trainer
from tests.builders import make_context

LORA = LoraSettings(rank=2, alpha=4.0, targets=("q_proj", "v_proj"))


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ITPO_WORK", str(tmp_path / "work"))
    model, tokenizer = create_policy(["size", "price"], "xs", seed=0)
    save_policy(model, tokenizer, folder=tmp_path / "base")
    return tmp_path / "base"


def adapter_of(base: Path, folder: Path) -> Path:
    """An adapter that changes something."""
    model, _ = load_policy(base)
    add_adapter(model, LORA, seed=1)
    with torch.no_grad():
        for each in trained_parameters(model).values():
            each.fill_(0.05)
    save_adapter(model, LORA, folder=folder, base=base)
    return folder


def registered(context: Context, folder: Path, *, inputs: dict[str, str]) -> tuple[Commit, PolicyVersion]:
    """The folder as this iteration's version."""
    key = context.key("policy")
    artifacts = weights.put_folder(context.store, key, folder=folder)
    made = commits.commit(
        context.store, key, tables={}, parents={}, inputs=inputs, artifacts=artifacts, attempt="a"
    )
    name = registry.version_name(context.experiment, context.iteration)
    version = PolicyVersion(name, context.experiment, context.iteration, None, made.digest, key.text)
    registry.register_candidate(context.store, version)
    return made, version


def test_an_adapter_comes_out_of_the_lake_with_the_base_that_its_commit_names(
    base: Path, tmp_path: Path
) -> None:
    first, second = make_context(tmp_path), make_context(tmp_path, iteration=1)
    adapter = adapter_of(base, tmp_path / "adapter")
    registered(first, base, inputs={})
    made, version = registered(second, adapter, inputs={"base_version": "shop/v0000"})

    folder = second.policy_folder(version)

    assert sorted(made.artifacts) == ["adapter_config.json", "adapter_model.safetensors", "itpo_base.json"]
    found, wanted = load_policy(folder)[0].state_dict(), load_policy(adapter)[0].state_dict()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


def test_an_adapter_whose_base_is_not_registered_is_refused(base: Path, tmp_path: Path) -> None:
    second = make_context(tmp_path, iteration=1)
    _, version = registered(second, adapter_of(base, tmp_path / "a"), inputs={"base_version": "shop/v0000"})

    with pytest.raises(MissingPolicy, match="an adapter of shop/v0000, which is not registered"):
        second.policy_folder(version)


def test_a_commit_that_names_another_base_is_found_out_by_digest(base: Path, tmp_path: Path) -> None:
    first, second = make_context(tmp_path), make_context(tmp_path, iteration=1)
    other, tokenizer = create_policy(["size", "price"], "xs", seed=9)
    save_policy(other, tokenizer, folder=tmp_path / "other")
    registered(first, tmp_path / "other", inputs={})
    _, version = registered(second, adapter_of(base, tmp_path / "a"), inputs={"base_version": "shop/v0000"})

    with pytest.raises(AdapterError, match="the adapter belongs to weights"):
        load_policy(second.policy_folder(version))


def test_a_receipt_names_an_adapters_base_and_says_when_it_is_another(base: Path, tmp_path: Path) -> None:
    first, second = make_context(tmp_path), make_context(tmp_path, iteration=1)
    other, tokenizer = create_policy(["size", "price"], "xs", seed=9)
    save_policy(other, tokenizer, folder=tmp_path / "other")
    whole, _ = registered(first, tmp_path / "other", inputs={})
    right = adapter_of(tmp_path / "other", tmp_path / "right")
    wrong = adapter_of(base, tmp_path / "wrong")
    fitting, _ = registered(second, right, inputs={"base_version": "shop/v0000"})
    third = make_context(tmp_path, iteration=2)
    foreign, _ = registered(third, wrong, inputs={"base_version": "shop/v0000"})
    desk = Desk(first.store, first.experiment)

    assert base_of(desk, whole) is None
    assert base_of(desk, fitting) == {
        "version": "shop/v0000",
        "digest": whole.digest,
        "weights": {"model.safetensors": whole.artifacts["model.safetensors"].sha256},
    }
    assert base_breaks(desk, whole) == base_breaks(desk, fitting) == []
    (line,) = base_breaks(desk, foreign)
    assert "policy/0002 was trained on weights" in line


def test_a_candidate_belongs_to_its_parents_base_and_not_to_its_parents_adapter(
    base: Path, tmp_path: Path
) -> None:
    lora = {"train__lora": {"rank": 2, "alpha": 4.0, "targets": ["q_proj", "v_proj"]}}
    first, second = make_context(tmp_path), make_context(tmp_path, iteration=1)
    whole, _ = registered(first, base, inputs={})
    adapted, _ = registered(second, base, inputs={"base_version": "shop/v0000"})
    third = make_context(tmp_path, iteration=2, **lora)

    assert base_input(third, whole, parent_name="shop/v0000") == {"base_version": "shop/v0000"}
    assert base_input(third, adapted, parent_name="shop/v0001") == {"base_version": "shop/v0000"}
    assert base_input(second, whole, parent_name="shop/v0000") == {}
    assert local_trainer(third.config.train).lora == LORA


def test_merging_writes_whole_weights_with_the_same_logits(base: Path, tmp_path: Path) -> None:
    adapter = adapter_of(base, tmp_path / "adapter")

    gap = merge.run(adapter, tmp_path / "whole")

    assert gap <= 1e-5
    assert not is_adapter(tmp_path / "whole")
    whole, merged = (load_policy(folder)[0].state_dict() for folder in (tmp_path / "whole", adapter))
    assert all(torch.equal(whole[name], merged[name]) for name in merged)


def test_a_merge_of_something_else_is_seen_in_the_logits(base: Path, tmp_path: Path) -> None:
    adapter = adapter_of(base, tmp_path / "adapter")

    assert merge.gap_of(adapter, base) > 1e-3
    assert read_adapter(adapter).settings == LORA


def test_whole_weights_and_existing_folders_are_refused_by_merge(base: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="whole weights already"):
        merge.run(base, tmp_path / "out")
    with pytest.raises(ConfigError, match="exists"):
        merge.run(adapter_of(base, tmp_path / "adapter"), base)
