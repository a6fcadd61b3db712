"""Members differ and agree where the data speaks; folds never see their own outcomes; folders repeat."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from itpo_core.q_ensemble import (
    bootstrap_rows,
    cross_fitted,
    ensemble_scores,
    fit_members,
    pessimistic,
    two_folds,
)
from itpo_core.q_files import load_q, save_q
from itpo_core.q_models import KINDS, QScores
from itpo_core.tiny_policy import build_tokenizer
from tests.itpo_core.q_cases import (
    SETTINGS,
    TURNS,
    data_of,
    fresh_q,
    random_q,
    reference_of,
    spoken,
)


def test_pessimism_by_hand() -> None:
    outputs_MBK = torch.tensor([[[1.0]], [[3.0]]])

    assert pessimistic(outputs_MBK, pessimism=0.5).tolist() == [[1.5]]
    assert pessimistic(outputs_MBK, pessimism=0.0).tolist() == [[2.0]]


def test_one_member_is_its_own_mean_without_spread() -> None:
    only = QScores(None, None, torch.tensor([[0.3, -2.0]]))

    found = ensemble_scores([only], pessimism=1.0)

    assert torch.equal(found.pessimistic_BK, only.logits_BK)
    assert found.std_BK.tolist() == [[0.0, 0.0]]
    assert found.mean.values_BK is None
    with pytest.raises(ValueError, match=r"pessimism -1"):
        ensemble_scores([only], pessimism=-1)


def test_members_see_other_draws_of_whole_scenarios_and_so_differ() -> None:
    data = data_of(*spoken(24))
    clusters = [str(row // 4) for row in range(24)]
    members = [fresh_q(), fresh_q()]

    told = fit_members(members, data, clusters=clusters, settings=replace(SETTINGS, epochs=1))

    scores = [
        each.score(data.conversations, reference_logprobs_BT=data.reference_logprobs_BT, turns=TURNS)
        for each in members
    ]
    assert len(told) == 2
    assert float(ensemble_scores(scores, pessimism=1.0).std_BK.mean()) > 1e-4


@given(seed=st.integers(0, 10_000))
def test_a_bootstrap_keeps_scenarios_whole(seed: int) -> None:
    clusters = ["a", "b", "a", "c", "c", "c"]

    rows = bootstrap_rows(clusters, seed=seed).tolist()

    for cluster in "abc":
        times = {rows.count(row) for row in range(6) if clusters[row] == cluster}
        assert len(times) == 1


@given(seed=st.integers(0, 10_000), scenarios=st.integers(2, 9))
def test_folds_are_halves_of_whole_scenarios_whatever_the_order_of_rows(seed: int, scenarios: int) -> None:
    clusters = [f"s{row % scenarios}" for row in range(20)]
    order = torch.randperm(20, generator=torch.Generator().manual_seed(seed))

    fold_B = two_folds(clusters, seed=seed)
    shuffled_B = two_folds([clusters[row] for row in order.tolist()], seed=seed)

    assert torch.equal(fold_B[order], shuffled_B)
    fold_of = dict(zip(clusters, fold_B.tolist(), strict=True))
    assert [fold_of[cluster] for cluster in clusters] == fold_B.tolist()
    assert abs(2 * sum(fold_of.values()) - len(fold_of)) <= 1


def test_one_scenario_alone_cannot_be_folded() -> None:
    with pytest.raises(ValueError, match="1 cluster"):
        two_folds(["a", "a"], seed=0)


def test_a_row_never_tells_its_outcome_to_its_own_cross_fitted_score() -> None:
    conversations, outcome_B = spoken(16)
    fold_B = torch.arange(16) // 8
    lied_B = torch.where(fold_B == 0, 1 - outcome_B, outcome_B)
    settings = replace(SETTINGS, epochs=1)

    told, _ = cross_fitted(
        (fresh_q(), fresh_q()), data_of(conversations, outcome_B), fold_B=fold_B, settings=settings
    )
    lied, _ = cross_fitted(
        (fresh_q(), fresh_q()), data_of(conversations, lied_B), fold_B=fold_B, settings=settings
    )

    assert torch.equal(told.logits_BK[fold_B == 0], lied.logits_BK[fold_B == 0])
    assert not torch.equal(told.logits_BK[fold_B == 1], lied.logits_BK[fold_B == 1])


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_q_comes_back_with_the_same_scores_and_the_same_bytes(kind: str, tmp_path: Path) -> None:
    q, tokenizer = random_q(kind), build_tokenizer("abcdef")
    conversations, _ = spoken(3)
    reference_BT = reference_of(conversations)

    save_q(q, tokenizer, folder=tmp_path / "one")
    again = load_q(tmp_path / "one")
    save_q(again, tokenizer, folder=tmp_path / "two")

    before = q.score(conversations, reference_logprobs_BT=reference_BT, turns=TURNS).logits_BK
    after = again.score(conversations, reference_logprobs_BT=reference_BT, turns=TURNS).logits_BK
    assert torch.equal(before, after)
    assert again.head.weight.requires_grad == q.head.weight.requires_grad
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_a_policy_folder_is_no_q(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no q\.json"):
        load_q(tmp_path)
