"""What every `Trainer` has to do; a new one joins by a line in TRAINERS.

OpenRLHF's own runs take a minute each and an environment of their own: `make test-openrlhf`. What it refuses
before it starts is asked of it with the others. It does not repeat itself bit for bit: what must leave the
same bytes is asked of the local trainers; of OpenRLHF what it is given is compared (test_openrlhf_credit).
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from itpo_core.kl import AdaptiveKl
from itpo_core.logprobs import scored_logprobs
from itpo_core.lora import LoraSettings
from itpo_core.tiny_policy import create_policy, load_policy, save_policy, suppressed_ids
from itpo_core.trainers.base import PolicySettings, Trainer, TrainingBatch, TrainingResult
from itpo_core.trainers.checks import rows_of
from itpo_core.trainers.torch_local import TorchLocalTrainer
from tests.itpo_core.tiny_models import streams
from tests.openrlhf.on_cpu import openrlhf_on_cpu

LORA = LoraSettings(rank=4, alpha=8.0, targets=("q_proj", "v_proj", "down_proj"))
LOCAL: dict[str, Callable[[], Trainer]] = {
    "torch_local": TorchLocalTrainer,
    "torch_local_lora": lambda: TorchLocalTrainer(LORA),
}
TRAINERS = {**LOCAL, "openrlhf_ray": openrlhf_on_cpu}
SLOW = {"openrlhf_ray": (pytest.mark.e2e, pytest.mark.timeout(3600))}
SETTINGS = PolicySettings(epochs=2, minibatch_conversations=4, learning_rate=1e-3, seed=3)
ROWS = 8


@pytest.fixture(params=[pytest.param(name, marks=SLOW.get(name, ())) for name in TRAINERS])
def trainer(request: pytest.FixtureRequest) -> Trainer:
    return TRAINERS[request.param]()


@pytest.fixture(params=LOCAL)
def local_trainer(request: pytest.FixtureRequest) -> Trainer:
    """One whose step is this project's own: all its figures, epochs to go on from, the same bytes again."""
    return LOCAL[request.param]()


@pytest.fixture(params=TRAINERS)
def unasked(request: pytest.FixtureRequest) -> Trainer:
    """A trainer that never comes to training."""
    return TRAINERS[request.param]()


@pytest.fixture
def start(tmp_path: Path) -> Path:
    model, tokenizer = create_policy([f"w{index}" for index in range(6)], "xs", seed=0)
    save_policy(model, tokenizer, folder=tmp_path / "start")
    return tmp_path / "start"


def make_batch(start: Path, *, first_turn: float = 1.0, second_turn: float = -1.0) -> TrainingBatch:
    """Random conversations of two turns, spoken by v0, whose turns got the given advantages."""
    model, _ = load_policy(start)
    tokens_BT, turn_BT, lengths_B = streams([7 + row % 4 for row in range(ROWS)])
    logprobs_BT = scored_logprobs(
        model,
        tokens_BT,
        wanted_BT=turn_BT >= 0,
        lengths_B=lengths_B,
        suppressed_ids=suppressed_ids(model),
        temperature=1.0,
    )
    advantages_BT = first_turn * (turn_BT == 0) + second_turn * (turn_BT == 1)
    return TrainingBatch(
        tokens_BT=tokens_BT,
        is_policy_BT=turn_BT >= 0,
        behaviour_logprobs_BT=logprobs_BT,
        advantages_BT=advantages_BT,
        lengths_B=lengths_B,
        policy_versions=frozenset({"v0"}),
    )


def run(
    trainer: Trainer,
    batch: TrainingBatch,
    *,
    start: Path,
    out: Path,
    settings: PolicySettings = SETTINGS,
    on_step: Callable[[int, int], None] = lambda done, total: None,
) -> TrainingResult:
    return trainer.train(
        batch, parent_version="v0", start_folder=start, out_folder=out, settings=settings, on_step=on_step
    )


def test_praised_tokens_become_likelier_and_blamed_ones_less_likely(
    trainer: Trainer, start: Path, tmp_path: Path
) -> None:
    batch = make_batch(start)

    run(trainer, batch, start=start, out=tmp_path / "candidate")

    model, _ = load_policy(tmp_path / "candidate")
    after_BT = scored_logprobs(
        model,
        batch.tokens_BT,
        wanted_BT=batch.is_policy_BT,
        lengths_B=batch.lengths_B,
        suppressed_ids=suppressed_ids(model),
        temperature=1.0,
    )
    change_BT = after_BT - batch.behaviour_logprobs_BT
    assert change_BT[batch.advantages_BT > 0].mean() > 0
    assert change_BT[batch.advantages_BT < 0].mean() < 0


def test_without_credit_no_weight_moves(local_trainer: Trainer, start: Path, tmp_path: Path) -> None:
    batch = make_batch(start, first_turn=0.0, second_turn=0.0)
    settings = dataclasses.replace(SETTINGS, kl_weight=0.0)

    run(local_trainer, batch, start=start, out=tmp_path / "candidate", settings=settings)

    before, after = (load_policy(folder)[0].state_dict() for folder in (start, tmp_path / "candidate"))
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_user_tokens_and_their_numbers_are_never_read(
    local_trainer: Trainer, start: Path, tmp_path: Path
) -> None:
    batch = make_batch(start)
    elsewhere_BT = torch.where(batch.is_policy_BT, 0.0, 7.0)
    noisy = dataclasses.replace(
        batch,
        behaviour_logprobs_BT=batch.behaviour_logprobs_BT + elsewhere_BT,
        advantages_BT=batch.advantages_BT + elsewhere_BT,
    )

    run(local_trainer, batch, start=start, out=tmp_path / "one")
    run(local_trainer, noisy, start=start, out=tmp_path / "two")

    assert weights(tmp_path / "one") == weights(tmp_path / "two")


def test_the_gap_to_the_rollouts_log_probabilities_is_reported(
    trainer: Trainer, start: Path, tmp_path: Path
) -> None:
    batch = make_batch(start)
    shifted_BT = batch.behaviour_logprobs_BT.clone()
    shifted_BT[0, 2] -= 0.5

    exact = run(trainer, batch, start=start, out=tmp_path / "one").summary
    off = run(
        trainer,
        dataclasses.replace(batch, behaviour_logprobs_BT=shifted_BT),
        start=start,
        out=tmp_path / "two",
    ).summary

    assert exact["logprob_gap_max"] < 1e-5
    assert off["logprob_gap_max"] == pytest.approx(0.5, abs=1e-5)
    assert off["logprob_gap_mean"] == pytest.approx(0.5 / (4 * ROWS), abs=1e-5)


def test_every_step_is_told_and_recorded(local_trainer: Trainer, start: Path, tmp_path: Path) -> None:
    told = list[tuple[int, int]]()

    result = run(
        local_trainer,
        make_batch(start),
        start=start,
        out=tmp_path / "c",
        on_step=lambda done, total: told.append((done, total)),
    )

    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert len(result.steps) == result.summary["steps"] == 4
    assert result.steps[0]["ratio_mean"] == pytest.approx(1.0, abs=1e-5)
    assert {"loss", "kl", "entropy", "clip_fraction", "gradient_norm"} <= result.steps[0].keys()
    assert {"final_kl", "final_entropy"} <= result.summary.keys()


def test_a_killed_training_called_again_ends_bit_for_bit_the_same(
    local_trainer: Trainer, start: Path, tmp_path: Path
) -> None:
    batch = make_batch(start)
    whole = run(local_trainer, batch, start=start, out=tmp_path / "whole")

    with pytest.raises(KeyboardInterrupt):
        run(local_trainer, batch, start=start, out=tmp_path / "broken", on_step=stop_at(3))
    assert not (tmp_path / "broken").exists()
    told = list[int]()
    resumed = run(
        local_trainer,
        batch,
        start=start,
        out=tmp_path / "broken",
        on_step=lambda done, total: told.append(done),
    )

    assert told == [3, 4]
    assert resumed == whole
    assert weights(tmp_path / "broken") == weights(tmp_path / "whole")


def test_a_training_broken_off_and_called_again_is_done_to_its_end(
    trainer: Trainer, start: Path, tmp_path: Path
) -> None:
    batch = make_batch(start)

    with pytest.raises(KeyboardInterrupt):
        run(trainer, batch, start=start, out=tmp_path / "candidate", on_step=stop_at(1))
    assert not (tmp_path / "candidate").exists()
    told = list[tuple[int, int]]()
    again = run(
        trainer, batch, start=start, out=tmp_path / "candidate", on_step=lambda *done: told.append(done)
    )

    assert told[-1] == (len(again.steps), len(again.steps))
    assert again.summary["final_kl"] > 0
    assert weights(tmp_path / "candidate") != weights(start)


def test_a_killed_training_goes_on_with_its_adaptive_weight(
    local_trainer: Trainer, start: Path, tmp_path: Path
) -> None:
    batch = make_batch(start)
    adaptive = AdaptiveKl(target=1e-3, horizon=50)
    settings = dataclasses.replace(SETTINGS, adaptive_kl=adaptive, kl_weight=0.5, micro_batch=3)
    whole = run(local_trainer, batch, start=start, out=tmp_path / "whole", settings=settings)

    with pytest.raises(KeyboardInterrupt):
        run(local_trainer, batch, start=start, out=tmp_path / "broken", settings=settings, on_step=stop_at(3))
    resumed = run(local_trainer, batch, start=start, out=tmp_path / "broken", settings=settings)

    assert resumed == whole
    assert whole.steps[2]["kl_weight"] == whole.steps[1]["kl_weight_next"] != 0.5
    assert whole.summary["kl_weight_last"] == whole.steps[-1]["kl_weight_next"]
    assert weights(tmp_path / "broken") == weights(tmp_path / "whole")


def test_what_is_left_out_is_counted_and_trains_nothing(
    local_trainer: Trainer, start: Path, tmp_path: Path
) -> None:
    batch = make_batch(start)
    advantages_BT = batch.advantages_BT.clone()
    advantages_BT[0, 2] = float("nan")
    broken = dataclasses.replace(batch, advantages_BT=advantages_BT)
    settings = dataclasses.replace(SETTINGS, bad_rows="exclude")

    result = run(local_trainer, broken, start=start, out=tmp_path / "one", settings=settings)
    run(local_trainer, rows_of(batch, torch.arange(ROWS) > 0), start=start, out=tmp_path / "two")

    assert result.summary["excluded_advantage_not_finite"] == 1
    assert weights(tmp_path / "one") == weights(tmp_path / "two")


def test_a_finished_training_called_again_answers_at_once(
    trainer: Trainer, start: Path, tmp_path: Path
) -> None:
    batch = make_batch(start)
    first = run(trainer, batch, start=start, out=tmp_path / "candidate")

    again = run(trainer, batch, start=start, out=tmp_path / "candidate", on_step=stop_at(1))

    # By their texts: figures that are no numbers are unlike themselves.
    assert repr(again) == repr(first)


def test_other_inputs_do_not_resume_what_was_broken_off(
    local_trainer: Trainer, start: Path, tmp_path: Path
) -> None:
    other = make_batch(start, first_turn=-1.0)
    with pytest.raises(KeyboardInterrupt):
        run(local_trainer, make_batch(start), start=start, out=tmp_path / "candidate", on_step=stop_at(3))

    run(local_trainer, other, start=start, out=tmp_path / "candidate")
    run(local_trainer, other, start=start, out=tmp_path / "fresh")

    assert weights(tmp_path / "candidate") == weights(tmp_path / "fresh")


@pytest.mark.parametrize("versions", [frozenset({"v1"}), frozenset({"v0", "v1"}), frozenset[str]()])
def test_a_batch_that_the_parent_did_not_speak_alone_is_refused(
    unasked: Trainer, start: Path, tmp_path: Path, versions: frozenset[str]
) -> None:
    batch = dataclasses.replace(make_batch(start), policy_versions=versions)

    with pytest.raises(ValueError, match="the parent is 'v0'"):
        run(unasked, batch, start=start, out=tmp_path / "candidate")

    assert not (tmp_path / "candidate").exists()


def test_a_loss_that_is_no_number_is_an_error_and_leaves_nothing(
    local_trainer: Trainer, start: Path, tmp_path: Path
) -> None:
    batch = make_batch(start)
    settings = dataclasses.replace(SETTINGS, learning_rate=1e38)

    with pytest.raises(ArithmeticError, match="lower the learning rate"):
        run(local_trainer, batch, start=start, out=tmp_path / "candidate", settings=settings)

    assert [path.name for path in tmp_path.iterdir()] == ["start"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"advantages_BT": torch.full((ROWS, 10), float("nan"))}, "row 0, token 2: advantage is nan"),
        ({"behaviour_logprobs_BT": torch.zeros(ROWS, 9)}, "agree in shape"),
        ({"is_policy_BT": torch.zeros(ROWS, 10, dtype=torch.bool)}, "without a policy token"),
        ({"lengths_B": torch.full((ROWS,), 6)}, "row 0: policy tokens after its length"),
        ({"tokens_BT": torch.zeros(ROWS, 10, dtype=torch.int64)}, "row 0, token 2: id 0"),
    ],
)
def test_a_batch_that_contradicts_itself_is_refused_with_the_place(
    unasked: Trainer, start: Path, tmp_path: Path, change: dict[str, torch.Tensor], message: str
) -> None:
    batch = dataclasses.replace(make_batch(start), **change)

    with pytest.raises(ValueError, match=message):
        run(unasked, batch, start=start, out=tmp_path / "candidate")


def test_a_folder_that_holds_something_else_is_not_overwritten(
    unasked: Trainer, start: Path, tmp_path: Path
) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "thesis.txt").write_text("mine")

    with pytest.raises(FileExistsError, match="holds other files"):
        run(unasked, make_batch(start), start=start, out=tmp_path / "taken")

    assert (tmp_path / "taken" / "thesis.txt").read_text() == "mine"


def stop_at(step: int) -> Callable[[int, int], None]:
    """A listener that breaks the training off at a step, as an interrupt would."""

    def listen(done: int, total: int) -> None:
        if done == step:
            raise KeyboardInterrupt

    return listen


def weights(folder: Path) -> bytes:
    (path,) = folder.glob("*model.safetensors")
    return path.read_bytes()
