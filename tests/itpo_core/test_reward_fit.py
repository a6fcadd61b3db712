"""Cross-fitting: no conversation is scored by a model that has learnt it or one of its siblings."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from itpo_core import reward_fit
from itpo_core.reward_fit import Judging, LabelledStreams, Referenced
from itpo_core.reward_model import FitSettings, ImplicitRewardModel, start_intercept
from itpo_core.streams import TurnTokens, streams
from tests.itpo_core.tiny_models import NEVER, tiny_model

SETTINGS = FitSettings(learning_rate=3e-3, epochs=1, minibatch=8, seed=1)


def silent(done: int, total: int) -> None:
    """Nobody watches."""


def data(outcomes: list[float], *, is_training: list[bool] | None = None) -> Referenced:
    """Two conversations a group, each of two turns whose last word depends on its place."""
    spoken = {
        f"c{row}": [TurnTokens((6, 7), (8, 9)), TurnTokens((7,), (6 + row % 5, 10))]
        for row in range(len(outcomes))
    }
    labelled = LabelledStreams(
        streams=streams(spoken),
        outcomes_B=outcomes,
        is_training_B=is_training or [True] * len(outcomes),
        clusters_B=[f"g{row // 2}" for row in range(len(outcomes))],
    )
    return reward_fit.referenced(tiny_model(), labelled, suppressed_ids=NEVER)


def model() -> ImplicitRewardModel:
    """Equal to the reference of `data`."""
    return ImplicitRewardModel(tiny_model(), beta=0.2, suppressed_ids=NEVER)


def relabelled(of: Referenced, row: int) -> Referenced:
    """The same data with one outcome turned round."""
    outcomes = [1 - value if at == row else value for at, value in enumerate(of.data.outcomes_B)]
    return replace(of, data=replace(of.data, outcomes_B=outcomes))


def test_an_outcome_moves_the_other_folds_scores_and_no_score_of_its_own_fold() -> None:
    of = data([1.0, 0.0] * 6)
    fold_B = reward_fit.folds(of.data.clusters_B, of.data.train_B)

    first = reward_fit.cross_fitted(model(), [of], settings=SETTINGS, on_step=silent)
    second = reward_fit.cross_fitted(model(), [relabelled(of, 3)], settings=SETTINGS, on_step=silent)

    is_same_B = (first.scores_BK == second.scores_BK).all(dim=1)
    assert bool(is_same_B[fold_B == fold_B[3]].all())
    assert not bool(is_same_B[fold_B != fold_B[3]].any())


def test_cross_fitting_leaves_the_model_and_its_intercept_as_they_are() -> None:
    of = data([1.0, 1.0, 1.0, 0.0, 1.0, 1.0, 0.0, 0.0])
    prm = replace(model(), intercept=start_intercept(of.data.labels_B))
    before = {name: tensor.clone() for name, tensor in prm.model.state_dict().items()}
    base = prm.base_logit

    given_scores = reward_fit.cross_fitted(prm, [of], settings=SETTINGS, on_step=silent)

    assert all(torch.equal(before[name], tensor) for name, tensor in prm.model.state_dict().items())
    assert prm.base_logit == base
    assert len(given_scores.base_logits_B.unique()) == 2


def test_replayed_conversations_teach_both_folds() -> None:
    of, replayed = data([1.0, 0.0] * 4), data([0.0, 1.0, 1.0, 1.0])

    alone = reward_fit.cross_fitted(model(), [of], settings=SETTINGS, on_step=silent)
    beside = reward_fit.cross_fitted(model(), [replayed, of], settings=SETTINGS, on_step=silent)

    assert not bool((alone.scores_BK == beside.scores_BK).all(dim=1).any())


def test_a_single_group_cannot_be_cross_fitted() -> None:
    with pytest.raises(ValueError, match=r"1 group to learn from.*reward\.folds = 1"):
        reward_fit.folds(["g", "g", "other"], torch.tensor([True, True, False]))


@given(st.lists(st.tuples(st.integers(0, 9), st.booleans()), min_size=4, max_size=40), st.randoms())
def test_folds_keep_groups_whole_split_the_learners_and_do_not_depend_on_order(rows, random) -> None:
    rows = [*rows, (10, True), (11, True)]
    learns = {group for group, training in rows if training}
    clusters, train_B = (
        [f"g{group}" for group, _ in rows],
        torch.tensor([group in learns for group, _ in rows]),
    )

    fold_B = reward_fit.folds(clusters, train_B)
    order = random.sample(range(len(rows)), len(rows))
    shuffled_B = reward_fit.folds([clusters[at] for at in order], train_B[order])

    of_group = dict(zip(clusters, fold_B.tolist(), strict=True))
    sizes = [sum(of_group[f"g{group}"] == fold for group in learns) for fold in (0, 1)]
    assert fold_B.tolist() == [of_group[cluster] for cluster in clusters]
    assert shuffled_B.tolist() == fold_B[order].tolist()
    assert abs(sizes[0] - sizes[1]) <= 1


def test_judging_adds_the_intercept_of_the_model_that_scored() -> None:
    of = data([1.0, 0.0, 1.0, 1.0], is_training=[False] * 4)
    plain = reward_fit.scored(model(), of)
    based = replace(plain, base_logits_B=torch.full((4,), 2.0))

    judged = reward_fit.judge(based, of, judging=Judging(confidence=0.9, draws=20, seed=0))

    assert judged is not None
    assert judged.by_turn[0].predicted == pytest.approx(float(torch.tensor(2.0).sigmoid()))


def test_a_turns_score_is_the_sum_of_its_tokens_and_nobody_elses() -> None:
    of = data([1.0, 0.0, 1.0, 0.0])
    prm = model()
    reward_fit.fit(prm, [of], settings=SETTINGS, on_step=silent)

    scored = reward_fit.scored(prm, of)

    sums_BK = torch.stack(
        [scored.token_scores_BT[:, 2:4].sum(1), scored.token_scores_BT[:, 5:7].sum(1)], dim=1
    )
    torch.testing.assert_close(sums_BK, scored.scores_BK)
    assert bool((scored.token_scores_BT[~of.data.streams.is_policy_BT] == 0).all())
