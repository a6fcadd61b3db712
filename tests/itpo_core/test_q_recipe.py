"""A whole fit in memory: data sets under each other, members, blind values, judgement, gate."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from itpo_core.q_data import QSet, q_set, with_reference
from itpo_core.q_models import QModel
from itpo_core.q_recipe import QRecipe, QResult, Speaker, run_recipe
from itpo_core.reward_fit import Judging, LabelledStreams
from itpo_core.streams import TurnTokens, streams
from tests.itpo_core.q_cases import BAD, GOOD, SETTINGS, fresh_q
from tests.itpo_core.tiny_models import NEVER, tiny_model

JUDGING = Judging(confidence=0.95, draws=200, seed=0)


def labelled(rows: int, *, name: str, turns: int = 2) -> LabelledStreams:
    """Conversations whose last turn decides; every fourth is held out, two make a scenario."""
    outcomes = [float(row % 2) for row in range(rows)]
    said = [GOOD if outcome else BAD for outcome in outcomes]
    return LabelledStreams(
        streams=streams(
            {
                f"{name}{row:03d}": [
                    *[TurnTokens([9, 8 + row % 3], [10]) for _ in range(turns - 1)],
                    TurnTokens([11], [said[row], 2]),
                ]
                for row in range(rows)
            }
        ),
        outcomes_B=outcomes,
        is_training_B=[row % 8 < 6 for row in range(rows)],
        clusters_B=[f"{name}{row // 2}" for row in range(rows)],
    )


def ran(of: QSet, recipe: QRecipe, *, kind: str = "dueling_logratio") -> QResult:
    """With the tiny model as the policy that spoke."""

    def make(place: int) -> QModel:
        return fresh_q(kind)

    return run_recipe(make, of, recipe=recipe, speaker=Speaker(tiny_model(), tiny_model()), judging=JUDGING)


def prepared(*sets: LabelledStreams) -> QSet:
    """Referenced by the tiny model."""
    return with_reference(q_set(sets, gamma=1.0), tiny_model(), suppressed_ids=NEVER)


def chances_of(result: QResult) -> Tensor:
    """Q of every turn."""
    assert result.turns.q_BK is not None
    return result.turns.q_BK


def test_data_sets_of_different_shapes_lie_under_each_other() -> None:
    of = q_set([labelled(4, name="old", turns=3), labelled(8, name="new")], gamma=0.5)

    assert of.data.targets_BK.shape == (12, 3)
    assert of.data.targets_BK[1].tolist() == [0.25, 0.5, 1.0]
    assert of.data.targets_BK[5, :2].tolist() == [0.5, 1.0]
    assert of.newest_B.tolist() == [False] * 4 + [True] * 8
    assert of.held_out_B.nonzero()[:, 0].tolist() == [10, 11]
    assert of.clusters_B[4] == "new0"


def test_a_recipe_values_every_turn_and_opens_the_gate_for_what_it_learnt() -> None:
    of = prepared(labelled(160, name="c"))

    result = ran(of, QRecipe(settings=replace(SETTINGS, epochs=4), min_conversations=20))

    q_BK = chances_of(result)
    good_B = of.outcome_B == 1
    assert float(q_BK[good_B, 1].min()) > float(q_BK[~good_B, 1].max())
    assert result.judged is not None
    assert result.judged.conversations == 40
    assert result.turns.log_ratios_BK is not None
    assert float(result.turns.log_ratios_BK[good_B, 1].mean()) > 0
    assert float(result.turns.log_ratios_BK[~good_B, 1].mean()) < 0


def test_members_spread_and_pessimism_lowers_q() -> None:
    of = prepared(labelled(32, name="c"))
    recipe = QRecipe(settings=replace(SETTINGS, epochs=1), members=2, pessimism=0.0)

    plain, careful = ran(of, recipe), ran(of, replace(recipe, pessimism=1.0))

    assert plain.turns.q_std_BK is not None
    assert float(plain.turns.q_std_BK.max()) > 0
    assert bool((chances_of(careful) <= chances_of(plain)).all())
    assert float((chances_of(plain) - chances_of(careful)).max()) > 1e-4


def test_blind_values_do_not_know_their_own_outcome() -> None:
    # The first conversation lies about its outcome; its own blind value does not move.
    told = labelled(32, name="c")
    lied = replace(told, outcomes_B=[1 - told.outcomes_B[0], *told.outcomes_B[1:]])
    recipe = QRecipe(settings=replace(SETTINGS, epochs=1), cross_fit=True)

    one, other = ran(prepared(told), recipe), ran(prepared(lied), recipe)
    open_one, open_other = (ran(prepared(each), replace(recipe, cross_fit=False)) for each in (told, lied))

    assert torch.equal(chances_of(one)[0], chances_of(other)[0])
    assert not torch.equal(chances_of(open_one)[0], chances_of(open_other)[0])


def test_only_the_newest_held_out_conversations_are_judged() -> None:
    of = prepared(labelled(16, name="old"), labelled(32, name="new"))

    result = ran(of, QRecipe(settings=replace(SETTINGS, epochs=1)))

    assert result.judged is not None
    assert result.judged.conversations == 8
    assert not result.gate.open
    assert chances_of(result).shape == (48, 2)


def test_td_targets_change_the_fit_and_one_is_monte_carlo() -> None:
    of = prepared(labelled(32, name="c"))
    recipe = QRecipe(settings=SETTINGS)

    plain, one, some = (chances_of(ran(of, replace(recipe, td_lambda=lam))) for lam in (1.0, 1.0, 0.2))

    assert torch.equal(plain, one)
    assert not torch.equal(plain, some)


def test_a_critic_has_values_and_nothing_else() -> None:
    result = ran(
        prepared(labelled(16, name="c")), QRecipe(settings=replace(SETTINGS, epochs=1)), kind="value"
    )

    assert result.turns.values_BK is not None
    assert (result.turns.q_BK, result.turns.log_ratios_BK, result.turns.q_std_BK) == (None, None, None)


def test_blind_members_are_refused() -> None:
    with pytest.raises(ValueError, match="cross_fit with 2 members"):
        ran(prepared(labelled(8, name="c")), QRecipe(members=2, cross_fit=True))
