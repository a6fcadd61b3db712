"""Replies valued by a committed process reward model, and a Q or a model served by one command."""

from pathlib import Path

import pytest
import torch

from itpo_core.q_files import save_members
from itpo_core.q_models import new_q
from itpo_core.rewards.answers import Question, RewardRefusedError, TokenQuestion
from itpo_core.rewards.client import ask_tokens
from itpo_core.rewards.prm_scorer import PrmScorer
from itpo_core.rewards.q_scorer import QScorer
from itpo_core.rewards.serve_q import parser, scorer
from itpo_core.rewards.service import RewardService
from itpo_core.tiny_policy import create_policy, save_policy, suppressed_ids
from itpo_core.tokens import suppress

WORDS = ("good", "bad", "maybe", "well")
BETA = 0.5
HISTORY, REPLY = (1, 3, 6, 2, 4), (7, 8, 2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reference policy and another one that was fitted against it."""
    made = tmp_path_factory.mktemp("prm")
    for name, seed in (("policy", 0), ("reward", 1)):
        model, tokenizer = create_policy(WORDS, "xs", seed=seed)
        save_policy(model, tokenizer, folder=made / name)
    return made


@pytest.fixture(scope="module")
def prm(folder: Path) -> PrmScorer:
    return PrmScorer.load(folder / "reward", folder / "policy", beta=BETA, max_tokens=16)


def test_a_reply_is_worth_beta_times_the_sum_of_its_log_ratios(prm: PrmScorer) -> None:
    stream = torch.tensor([[*HISTORY, *REPLY]])
    never = suppressed_ids(prm.reference)
    with torch.no_grad():
        ours, theirs = (
            suppress(model(stream).logits[0], never).log_softmax(-1)
            for model in (prm.prm.model, prm.reference)
        )
    ratios = [float(ours[place, token] - theirs[place, token]) for place, token in enumerate(REPLY, start=4)]

    found = prm([TokenQuestion(HISTORY, REPLY)])

    assert found == pytest.approx([BETA * sum(ratios)], abs=1e-5)
    assert abs(found[0]) > 1e-3


def test_a_reward_model_that_is_its_reference_finds_every_reply_worth_nothing(folder: Path) -> None:
    same = PrmScorer.load(folder / "policy", folder / "policy", beta=BETA, max_tokens=16)

    assert same([TokenQuestion(HISTORY, REPLY)]) == [0.0]


def test_texts_and_their_ids_are_worth_the_same(prm: PrmScorer) -> None:
    texts = [prm.tokenizer.decode(list(ids)) for ids in ((*HISTORY, *REPLY), HISTORY)]

    assert prm([Question(*texts)]) == prm([TokenQuestion(HISTORY, REPLY)])


@pytest.mark.parametrize(
    ("history", "reply", "cause"),
    [
        (HISTORY, (7, 4), r"tokens \[4\], which the policy never speaks"),
        (HISTORY, (), "nothing was asked or said"),
        (HISTORY, (99,), r"tokens \[99\] are not of this tokenizer"),
        ((1, *[6] * 15), (7,), "17 tokens, more than the 16"),
    ],
)
def test_what_has_no_value_is_refused_with_its_cause(
    prm: PrmScorer, history: tuple[int, ...], reply: tuple[int, ...], cause: str
) -> None:
    with pytest.raises(RewardRefusedError, match=cause):
        prm([TokenQuestion(history, reply)])


def test_the_service_answers_ids_with_what_the_scorer_says(prm: PrmScorer) -> None:
    with RewardService(prm, "reward-1") as service:
        found = ask_tokens(service.url, [HISTORY, HISTORY], replies=[REPLY, (2,)], deadline_s=20)

    assert found == pytest.approx(prm([TokenQuestion(HISTORY, REPLY), TokenQuestion(HISTORY, (2,))]))


def test_the_command_serves_a_q_or_a_reward_model(folder: Path, prm: PrmScorer) -> None:
    model, tokenizer = create_policy(WORDS, "xs", seed=1)
    save_members([new_q("scalar_head", model)], tokenizer, folder=folder / "q")
    common = ["--policy", str(folder / "policy"), "--version", "1"]

    q = scorer(parser().parse_args(["--q", str(folder / "q"), *common]))
    found = scorer(parser().parse_args(["--prm", str(folder / "reward"), "--beta", "0.5", *common]))

    assert isinstance(q, QScorer)
    assert found([TokenQuestion(HISTORY, REPLY)]) == prm([TokenQuestion(HISTORY, REPLY)])


def test_a_reward_model_without_the_beta_of_its_fit_is_not_served(folder: Path) -> None:
    chosen = parser().parse_args(
        ["--prm", str(folder / "reward"), "--policy", str(folder / "policy"), "--version", "1"]
    )

    with pytest.raises(ValueError, match="--prm needs --beta"):
        scorer(chosen)
