"""Sections [credit] and [q]: names are those of the arithmetic, pairs that cannot work are refused."""

from typing import Any, get_args

import pytest

from itpo_core import credit, estimators, profiles, q_models, turn_rewards
from tasks.config import ADVANTAGES, Algorithm, ConfigError, Credit, load
from tasks.config_credit import NEEDS_SCORES, STREAMS, Q, QKind, is_cross_fitted, q_kind
from tests.loop.tiny import CONFIG_FILE


def configured(**settings: Any) -> Any:  # Any: JSON values
    """The default with settings; double underscores stand for dots."""
    return load(CONFIG_FILE, overrides={name.replace("__", "."): value for name, value in settings.items()})


def test_every_algorithm_has_a_turn_reward_and_every_estimator_its_arithmetic() -> None:
    recorded = {credit.RECORDED_AS.get(each.value, each.value) for each in Algorithm}

    assert recorded == set(turn_rewards.TURN_REWARDS) - {"norm_itpo_plain"}
    assert ADVANTAGES == ("grpo", "rloo", "ppo", "reinforce_pp", "reinforce_pp_baseline")
    assert set(ADVANTAGES) == set(estimators.NAMES)


def test_profiles_scales_and_kinds_have_the_same_names_in_both_places() -> None:
    fields = Credit.model_fields

    assert get_args(fields["profile"].annotation) == tuple(profiles.PROFILES)
    assert get_args(fields["score_scale"].annotation) == credit.SCORE_SCALES
    assert get_args(fields["to_go"].annotation) == credit.TO_GO
    assert set(get_args(QKind)) == {"auto", *q_models.KINDS}


def test_what_reads_scores_and_what_goes_through_gae_by_itself_is_what_the_arithmetic_says() -> None:
    assert NEEDS_SCORES - {"prime_token"} == credit.USES_SCORES - {"norm_itpo_plain"}
    assert STREAMS - {"prime_token"} == credit.STREAMS - {"norm_itpo_plain"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"credit__gae_level": "token", "credit__advantage": "ppo"}, "values whole turns"),
        ({"credit__to_go": "immediate", "credit__advantage": "ppo"}, "lower credit.gae_lambda"),
        ({"credit__to_go": "immediate", "credit__algorithm": "prime_token"}, "prime_token, a reward-to-go"),
        ({"credit__profile": "itpo_reference"}, 'knows credit.advantage "rloo"'),
        ({"credit__std": "batch", "credit__advantage": "rloo"}, 'is a choice of credit.advantage "grpo"'),
        ({"credit__score_scale": "running_std", "credit__algorithm": "outcome"}, "reads no implicit score"),
        ({"credit__algorithm": "dueling_advantage", "q__kind": "value"}, "needs log-ratios"),
        ({"credit__algorithm": "prefix_value", "q__kind": "scalar_head"}, "needs the value before a turn"),
        ({"credit__advantage": "ppo", "q__kind": "scalar_head"}, "needs the value before a turn"),
        (
            {"credit__algorithm": "itpo", "credit__advantage": "ppo", "q__kind": "dueling_logratio"},
            "which are no chances",
        ),
        (
            {"credit__algorithm": "norm_itpo", "credit__advantage": "ppo", "q__targets": "td_lambda"},
            "which are no chances",
        ),
        (
            {"credit__algorithm": "itpo", "credit__advantage": "ppo", "q__replay_iterations": 1},
            "set it to 0",
        ),
        ({"credit__algorithm": "itpo", "credit__advantage": "ppo", "q__members": 2}, "set it to 1"),
        ({"credit__advantage": "ppo", "credit__gamma": 0.9}, "set both alike"),
        ({"credit__advantage": "gae"}, r"credit\.advantage = 'gae'"),
        ({"credit__algorithm": "magic"}, r"credit\.algorithm = 'magic'"),
    ],
)
def test_choices_that_cannot_work_are_refused_with_the_remedy(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        configured(**settings)


@pytest.mark.parametrize(
    ("algorithm", "advantage", "kind"),
    [
        ("outcome", "ppo", "value"),
        ("itpo", "ppo", "value"),
        ("prefix_value", "grpo", "value"),
        ("dueling_advantage", "grpo", "dueling_logratio"),
        ("dueling_advantage", "ppo", "dueling_logratio"),
        ("iterative_ppo", "grpo", "dueling_logratio"),
    ],
)
def test_the_kind_of_q_follows_from_what_is_asked_for(algorithm: str, advantage: str, kind: str) -> None:
    config = configured(credit__algorithm=algorithm, credit__advantage=advantage)

    assert config.credit.needs_q
    assert q_kind(config.credit, config.q) == kind
    blind = kind == "value" or algorithm == "iterative_ppo"
    assert is_cross_fitted(config.credit, config.q) == blind


def test_nothing_is_fitted_where_nothing_asks_for_it() -> None:
    without = {each.value for each in Algorithm if not Credit(algorithm=each).needs_q}

    assert {each.value for each in Algorithm} - without == {
        "prefix_value",
        "dueling_advantage",
        "iterative_ppo",
    }


def test_a_critic_is_cross_fitted_unless_told_otherwise_and_never_with_several_members() -> None:
    critic = Credit(algorithm=Algorithm.OUTCOME, advantage="ppo")

    assert not is_cross_fitted(critic, Q(cross_fit=False))
    assert not is_cross_fitted(critic, Q(members=3))
    assert not is_cross_fitted(Credit(algorithm=Algorithm.ITERATIVE_PPO), Q(cross_fit=False))


def test_choices_left_at_their_default_are_no_part_of_what_credit_commits_under() -> None:
    plain, other = configured(), configured(credit__std="none")

    assert plain.section("credit")["credit"].count('":') == 4
    assert '"std":"none"' in other.section("credit")["credit"]
