"""The improvement step from folder to folder: killed, repeated, refused, given up."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from itpo_core.q_files import save_members
from itpo_core.q_models import new_q
from itpo_core.single_turn import improve
from itpo_core.single_turn_settings import AbortReason, SingleTurnSettings
from itpo_core.tiny_policy import build_tokenizer, load_policy, save_policy
from itpo_core.trainers.base import TrainingResult
from itpo_core.trainers.single_turn import LoggedConversations, SingleTurnTrainer, abort_of, training_result
from tests.itpo_core.policies import WORDS
from tests.itpo_core.single_turn_cases import SETTINGS, SILENT, near, policy, problem, spoken_conversations

LOGGED = LoggedConversations(spoken_conversations(), frozenset({"v0"}), torch.tensor([1.0, 0.0] * 4))


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with a policy `start` and the Q-functions `q` fitted on its conversations."""
    reference, tokenizer = policy(), build_tokenizer(WORDS)
    save_policy(reference, tokenizer, folder=tmp_path / "start")
    q = new_q("dueling_logratio", near(reference), suppressed_ids=SILENT)
    save_members([q], tokenizer, folder=tmp_path / "q")
    return tmp_path


def run(
    place: Path,
    out: str,
    *,
    settings: SingleTurnSettings = SETTINGS,
    logged: LoggedConversations = LOGGED,
    on_step: Callable[[int, int], None] = lambda done, total: None,
) -> TrainingResult:
    return SingleTurnTrainer().train(
        logged,
        q_folder=place / "q",
        parent_version="v0",
        start_folder=place / "start",
        out_folder=place / out,
        settings=settings,
        on_step=on_step,
    )


def stop_at(step: int) -> Callable[[int, int], None]:
    """A listener that breaks the training off at a step, as an interrupt would."""

    def listen(done: int, total: int) -> None:
        if done == step:
            raise KeyboardInterrupt

    return listen


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


def test_the_folder_holds_what_improving_in_memory_gives(place: Path) -> None:
    found = run(place, "candidate")

    reference, model = policy(), policy()
    expected = improve(model, problem(reference, near(reference)), settings=SETTINGS)
    candidate, _ = load_policy(place / "candidate")
    assert found == training_result(expected)
    for ours, theirs in zip(candidate.parameters(), model.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_a_killed_step_called_again_ends_bit_for_bit_the_same(place: Path) -> None:
    whole = run(place, "whole")

    with pytest.raises(KeyboardInterrupt):
        run(place, "broken", on_step=stop_at(4))
    assert not (place / "broken").exists()
    told = list[int]()
    resumed = run(place, "broken", on_step=lambda done, total: told.append(done))

    assert told == [3, 4]
    assert resumed == whole
    assert weights(place / "broken") == weights(place / "whole")


def test_a_step_that_is_given_up_says_so_and_ends_the_same_after_a_kill(place: Path) -> None:
    settings = dataclasses.replace(
        SETTINGS, passes=3, learning_rate=1e-2, abort_divergence=0.02, abort_window=3
    )
    whole = run(place, "whole", settings=settings)

    with pytest.raises(KeyboardInterrupt):
        run(place, "broken", settings=settings, on_step=stop_at(len(whole.steps)))
    resumed = run(place, "broken", settings=settings)

    abort = abort_of(whole.summary)
    assert abort is not None
    assert (abort.reason, abort.pass_index, abort.limit) == (AbortReason.DIVERGENCE, 1, 0.02)
    assert resumed == whole
    assert weights(place / "broken") == weights(place / "whole")


def test_a_finished_step_called_again_answers_at_once(place: Path) -> None:
    first = run(place, "candidate")

    assert run(place, "candidate", on_step=stop_at(1)) == first


def test_other_inputs_do_not_resume_what_was_broken_off(place: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(place, "candidate", on_step=stop_at(4))
    other = dataclasses.replace(SETTINGS, seed=1)

    run(place, "candidate", settings=other)
    run(place, "fresh", settings=other)

    assert weights(place / "candidate") == weights(place / "fresh")


def test_every_figure_of_a_step_is_recorded(place: Path) -> None:
    found = run(place, "candidate")

    assert len(found.steps) == found.summary["steps"] == 4
    assert {"loss", "kl", "reward_mean", "unclosed_share", "entropy", "clip_fraction"} <= found.steps[
        0
    ].keys()
    assert {"kl_per_response", "kl_largest_state", "q_gain_per_turn", "reward_rise"} <= found.summary.keys()
    assert abort_of(found.summary) is None


@pytest.mark.parametrize("versions", [frozenset({"v1"}), frozenset({"v0", "v1"}), frozenset[str]()])
def test_conversations_that_the_parent_did_not_speak_alone_are_refused(
    place: Path, versions: frozenset[str]
) -> None:
    with pytest.raises(ValueError, match="the parent is 'v0'"):
        run(place, "candidate", logged=dataclasses.replace(LOGGED, policy_versions=versions))

    assert not (place / "candidate").exists()


@pytest.mark.filterwarnings("ignore:overflow|invalid value:RuntimeWarning")
@pytest.mark.parametrize("per_step", [4, 8])
def test_a_training_that_breaks_is_an_error_and_leaves_nothing(place: Path, per_step: int) -> None:
    settings = dataclasses.replace(
        SETTINGS, learning_rate=1e30, conversations_per_step=per_step, abort_window=50
    )

    with pytest.raises(ArithmeticError, match="lower the learning rate"):
        run(place, "candidate", settings=settings)

    assert sorted(path.name for path in place.iterdir()) == ["q", "start"]
