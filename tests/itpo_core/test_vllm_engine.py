"""The engine on vLLM, against a fake of the classes that it touches."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from itpo_core.adapter_files import save_adapter
from itpo_core.engines.base import BrokenTurn, Sampling, SpokenTurn
from itpo_core.lora import LoraSettings, add_adapter
from itpo_core.tiny_policy import create_policy, load_chat_format, load_policy, save_policy
from itpo_core.types import FailureKind
from tests.itpo_core.policies import WORDS, qwen2, said

TALK = [said("hi"), said("i need a tent ."), said("bye")]
SAMPLING = Sampling(max_new_tokens=5)
OURS = "itpo_core.engines.vllm"


@pytest.fixture
def vllm(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """Our adapter, imported over the fake, which is forgotten again."""
    monkeypatch.syspath_prepend(str(Path(__file__).with_name("fake_vllm")))
    before = {name: module for name, module in sys.modules.items() if name.split(".")[0] == "vllm"}
    for name in [*before, OURS]:
        sys.modules.pop(name, None)
    yield importlib.import_module(OURS)
    for name in [name for name in sys.modules if name.split(".")[0] == "vllm" or name == OURS]:
        del sys.modules[name]
    sys.modules.update(before)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    _, tokenizer = create_policy(WORDS, "xs", seed=0)
    save_policy(qwen2(), tokenizer, folder=tmp_path / "policy")
    return tmp_path / "policy"


def engine(vllm: ModuleType, folder: Path, *, context: int = 96):
    """Our engine over the fake."""
    chat = load_chat_format(folder)
    return vllm.VllmEngine(folder, chat, max_context_tokens=context, settings=vllm.VllmSettings())


def test_a_turn_appends_tokens_and_never_tokenises_again(vllm: ModuleType, folder: Path) -> None:
    speaker = engine(vllm, folder)
    session = speaker.open(TALK[:1], seeds=[1], sampling=SAMPLING)
    (first,) = session.advance()
    assert session.append(0, said("bye"))
    core = speaker._requests.engine

    (asked,) = [output for output, _, _ in core.requests.values()]

    assert asked.prompt_token_ids[: len(first.prompt_ids) + len(first.response_ids)] == [
        *first.prompt_ids,
        *first.response_ids,
    ]


def test_rows_that_wait_for_a_user_hold_up_nobody_and_join_again(vllm: ModuleType, folder: Path) -> None:
    speaker = engine(vllm, folder)
    session = speaker.open(TALK, seeds=[1, 2, 3], sampling=SAMPLING)
    spoken = dict[int, int]()
    while finished := session.advance():
        for turn in finished:
            assert isinstance(turn, SpokenTurn)
            spoken[turn.row] = spoken.get(turn.row, 0) + 1
            if turn.row == 0 and spoken[0] < 3:
                session.append(0, said("bye"))

    assert spoken == {0: 3, 1: 1, 2: 1}
    assert max(speaker._requests.engine.batch_sizes) == 3


def test_what_is_asked_is_the_rows_own_seed_and_the_policys_end(vllm: ModuleType, folder: Path) -> None:
    speaker = engine(vllm, folder)
    speaker.open(TALK[:2], seeds=[1, 2], sampling=SAMPLING, temperatures=[[2.0], []])

    hot, plain = [params for _, params, _ in speaker._requests.engine.requests.values()]

    assert (hot.temperature, plain.temperature) == (2.0, 1.0)
    assert hot.seed != plain.seed
    assert (hot.stop_token_ids, hot.ignore_eos, hot.detokenize) == ([2], True, False)
    assert hot.logit_bias == {0: -100.0, 1: -100.0, 3: -100.0, 4: -100.0, 5: -100.0}


def test_log_probabilities_are_asked_for_as_sampled_and_the_folders_settings_ignored(
    vllm: ModuleType, folder: Path
) -> None:
    args = engine(vllm, folder)._requests.engine.args

    assert args.logprobs_mode == "processed_logprobs"
    assert args.generation_config == "vllm"
    assert (args.model, args.max_model_len, args.enable_lora) == (str(folder), 96, False)


def test_an_adapter_is_named_by_every_request_and_its_base_is_what_is_loaded(
    vllm: ModuleType, folder: Path, tmp_path: Path
) -> None:
    model, settings = load_policy(folder)[0], LoraSettings(4, 8.0, ("q_proj",))
    add_adapter(model, settings, seed=1)
    save_adapter(model, settings, folder=tmp_path / "adapter", base=folder)

    speaker = engine(vllm, tmp_path / "adapter")
    speaker.open(TALK[:1], seeds=[1], sampling=SAMPLING)

    core = speaker._requests.engine
    assert (core.args.model, core.args.enable_lora, core.args.max_lora_rank) == (str(folder), True, 8)
    assert [adapter.lora_path for adapter in core.adapters] == [str(tmp_path / "adapter")]


def test_a_rank_beyond_the_largest_room_is_refused(vllm: ModuleType) -> None:
    assert [vllm.adapter_room(rank) for rank in (1, 8, 9, 512)] == [8, 8, 16, 512]
    with pytest.raises(ValueError, match=r"lora\.rank 513.*itpo merge"):
        vllm.adapter_room(513)


def test_a_request_that_ended_otherwise_is_a_broken_turn(vllm: ModuleType, folder: Path) -> None:
    speaker = engine(vllm, folder)
    session = speaker.open(TALK[:1], seeds=[1], sampling=SAMPLING)
    ((output, _, _),) = speaker._requests.engine.requests.values()
    output.outputs[0].finish_reason, output.finished = "abort", True
    speaker._requests.engine._speak = lambda *request: None

    (turn,) = session.advance()

    assert isinstance(turn, BrokenTurn)
    assert turn.failure.kind is FailureKind.ENGINE_ERROR
    assert "'abort'" in turn.failure.cause


def test_a_closed_row_is_no_longer_asked_for(vllm: ModuleType, folder: Path) -> None:
    speaker = engine(vllm, folder)
    session = speaker.open(TALK, seeds=[1, 2, 3], sampling=SAMPLING)
    session.close(1)

    rows: list[int] = []
    while finished := session.advance():
        rows += [turn.row for turn in finished]

    assert sorted(rows) == [0, 2]
    assert speaker._requests.engine.aborted == ["turn-2"]


def test_equal_seeds_give_equal_turns_whoever_else_speaks(vllm: ModuleType, folder: Path) -> None:
    together = engine(vllm, folder).open(TALK, seeds=[1, 2, 3], sampling=SAMPLING)
    alone = engine(vllm, folder).open(TALK[2:], seeds=[3], sampling=SAMPLING)
    turns = list[SpokenTurn]()
    while finished := together.advance():
        turns += finished

    (third,) = [turn for turn in turns if turn.row == 2]
    (same,) = alone.advance()
    assert third.response_ids == same.response_ids
    assert third.logprobs == pytest.approx(same.logprobs, abs=1e-5)
