"""Section [engine]: what is refused, what commits know of it, and that a key is nowhere."""

import importlib.util
from pathlib import Path

import pytest

from itpo_core.engines.base import Sampling
from itpo_core.rollout_gap import GapCorrection
from itpo_core.tiny_policy import create_policy, save_policy
from itpo_core.types import Message, Role
from tasks import build
from tasks.config import Config, ConfigError, load
from tasks.config_engine import engine_inputs, gap_inputs
from tasks.train_policy import policy_settings
from tasks.training import UntrainableTurnsError, check_spoken_exactly
from tests.builders import CONFIG_FILE, make_context
from tests.itpo_core.fake_server import FakeServer, serving
from tests.itpo_core.policies import WORDS, qwen2, tiny_format

REMOTE = {"collect.engine": "openai_api"}


def config(**changes: object) -> Config:
    named = {key.replace("__", "."): value for key, value in changes.items()}
    return load(CONFIG_FILE, overrides={**REMOTE, **named})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"engine__dialect": "chat"}, "without token ids, which cannot train"),
        ({"engine__logprobs": "raw", "sampling__temperature": 0.7}, "--logprobs-mode"),
        ({"engine__address": "localhost:8000"}, r"engine\.address"),
        ({"engine__address": "http://user:key@host/v1"}, r"engine\.address"),
        ({"engine__api_key_env": "sk-123"}, r"engine\.api_key_env"),
        ({"engine__gap_limit": 0.5}, r"engine\.gap_limit"),
        ({"engine__memory_share": 1.5}, r"engine\.memory_share"),
        ({"collect__engine": "ollama"}, r"collect\.engine"),
    ],
)
def test_an_engine_that_cannot_serve_is_refused_with_its_key(changes: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config(**changes)


def test_text_without_ids_may_be_evaluated() -> None:
    chosen = config(collect__engine="transformers", evaluate__engine="openai_api", engine__dialect="chat")

    assert chosen.evaluator == "openai_api"


def test_the_built_in_engine_commits_under_what_it_did_before() -> None:
    plain = load(CONFIG_FILE)

    assert engine_inputs(plain.engine, plain.collect.engine) == {}
    assert gap_inputs(plain.engine, plain.collect.engine) == {}
    assert "engine" not in plain.section("evaluate")["evaluate"]


def test_commits_know_the_model_and_neither_the_address_nor_the_name_of_the_key() -> None:
    chosen = config(engine__model="m", engine__address="https://far.away/v1", engine__api_key_env="SECRET")

    inputs = engine_inputs(chosen.engine, chosen.collect.engine)

    assert inputs == {"engine": '{"dialect":"tokens","logprobs":"processed","model":"m"}'}
    assert chosen.digest == config(engine__model="m").digest
    assert chosen.digest != config(engine__model="n").digest


def test_a_key_that_is_not_set_is_named_by_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = config(engine__api_key_env="ITPO_TEST_KEY")
    monkeypatch.delenv("ITPO_TEST_KEY", raising=False)

    with pytest.raises(ConfigError, match="ITPO_TEST_KEY"):
        build.api_key(chosen)

    monkeypatch.setenv("ITPO_TEST_KEY", "sk-1")
    assert build.api_key(chosen) == "sk-1"


def test_rows_of_another_engine_are_corrected_by_truncated_weights(tmp_path: Path) -> None:
    built_in = policy_settings(make_context(tmp_path, iteration=1))
    served = policy_settings(make_context(tmp_path, iteration=1, collect__engine="openai_api"))
    uncorrected = make_context(tmp_path, iteration=1, collect__engine="openai_api", engine__gap="none")

    assert built_in.gap.is_off
    assert served.gap == GapCorrection(weight="token", weight_high=2.0)
    assert policy_settings(uncorrected).gap.is_off


def test_text_without_ids_is_refused_for_training_by_its_conversation() -> None:
    rows = [
        {"conversation_id": "a", "turn_index": 0, "response_ids": [7, 2]},
        {"conversation_id": "b", "turn_index": 1, "response_ids": []},
    ]

    with pytest.raises(UntrainableTurnsError, match="1 of 2 turns have no token ids, first turn 1 of b"):
        check_spoken_exactly(rows)


def test_a_served_policy_speaks_through_the_configuration(tmp_path: Path) -> None:
    model, tokenizer = create_policy(WORDS, "xs", seed=0)
    save_policy(model, tokenizer, folder=tmp_path / "d1gest")
    with serving(qwen2(), tiny_format()) as server:
        speaker = speaker_on(server, tmp_path / "d1gest")
        session = speaker.engine.open([[Message(Role.USER, "hi")]], seeds=[1], sampling=Sampling())
        (turn,) = session.advance()

    assert server.asked[0][1]["model"] == "d1gest"
    assert "asked model 'd1gest', model 'tiny' answered" in turn.failure.cause
    assert speaker.spent()["calls"] == 1
    assert speaker.tokenizer_digest == tiny_format().tokenizer_digest


def test_vllm_where_it_is_not_installed_is_refused_with_the_remedy(tmp_path: Path) -> None:
    if importlib.util.find_spec("vllm") is not None:
        pytest.skip("vllm is installed here")

    with pytest.raises(ConfigError, match=r'vllm is not installed here; .*"openai_api"'):
        build.speaker(config(collect__engine="vllm"), tmp_path)


def speaker_on(server: FakeServer, folder: Path) -> build.Speaker:
    """The configured speaker on this server."""
    return build.speaker(config(engine__address=server.address, engine__model="{policy}"), folder)
