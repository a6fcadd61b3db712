"""Talking to a policy by hand: what stands in the way is told in words."""

from pathlib import Path

import pytest

from itpo_core.tiny_policy import create_model, save_policy
from tasks import chat
from tasks.config import Config, ConfigError
from tasks.context import Context
from tests.itpo_core.chat_templates import FAMILIES
from tests.loop.tiny import tiny_config


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """The smallest experiment, nothing of which is made."""
    return tiny_config(tmp_path / "lake")


def folder_of(name: str, folder: Path) -> Path:
    """A policy of this family of templates on disk."""
    tokenizer = FAMILIES[name].tokenizer()
    save_policy(create_model(len(tokenizer), "xs", seed=0), tokenizer, folder=folder)
    return folder


def test_a_template_that_cannot_be_streamed_is_named_with_the_remedy(config: Config, tmp_path: Path) -> None:
    folder = folder_of("begun thought", tmp_path / "policy")

    with pytest.raises(ConfigError) as refused:
        chat.speaker_of(config, folder)

    said = str(refused.value)
    assert said.startswith(f"{folder / 'chat_template.jinja'}: nobody can be talked to")
    assert "take '<think>" in said
    assert f"`itpo doctor --policy {folder}`" in said


def test_a_folder_that_holds_no_policy_is_named(config: Config, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no config\.json"):
        chat.speaker_of(config, tmp_path)


def test_a_policy_with_a_sound_template_can_be_talked_to(config: Config, tmp_path: Path) -> None:
    speaker = chat.speaker_of(config, folder_of("headers", tmp_path / "policy"))

    assert speaker.chat_template_digest


def test_a_version_that_is_not_there_is_named_with_those_that_are(config: Config) -> None:
    with pytest.raises(ConfigError, match=r"'v7': not a folder, nor a version of .*, which has none yet"):
        chat.policy_folder(Context(config, 0), "v7")
