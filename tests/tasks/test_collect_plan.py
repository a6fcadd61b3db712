"""What one shard plans to hold: personas by group, exploration by conversation, and nothing else changed."""

from pathlib import Path

import pytest

from itpo_core.rollout import RolloutSpec
from tasks import build
from tasks.collect import shard_specs
from tasks.config import ConfigError, load
from tests.builders import CONFIG_FILE, make_context


def planned(folder: Path, **changes: object) -> list[RolloutSpec]:
    context = make_context(folder, iteration=1, collect__conversations=800, **changes)
    domain = build.domain(context.config)
    return [spec for shard in range(2) for spec in shard_specs(context, domain, shard=shard)]


def test_by_default_nobody_explores_and_every_customer_is_like_everybody(tmp_path: Path) -> None:
    specs = planned(tmp_path)

    assert {spec.temperatures for spec in specs} == {()}
    assert {spec.scenario.persona_id for spec in specs} == {"default"}


def test_siblings_share_their_customers_persona_and_every_persona_comes(tmp_path: Path) -> None:
    specs = planned(tmp_path, collect__personas=("default", "hurried", "patient"))

    personas = {spec.group_id: spec.scenario.persona_id for spec in specs}
    assert all(spec.scenario.persona_id == personas[spec.group_id] for spec in specs)
    assert set(personas.values()) == {"default", "hurried", "patient"}


def test_exploration_changes_temperatures_alone(tmp_path: Path) -> None:
    plain = planned(tmp_path)
    exploring = planned(tmp_path, collect__explore_share=0.5, collect__explore_temperature=1.7)

    assert [(each.conversation_id, each.seed, each.scenario) for each in exploring] == [
        (each.conversation_id, each.seed, each.scenario) for each in plain
    ]
    assert {temperature for each in exploring for temperature in each.temperatures} == {1.0, 1.7}
    assert 0.2 < sum(bool(each.temperatures) for each in exploring) / 800 < 0.5


def test_an_unknown_persona_is_refused_with_those_that_exist(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"\['grumpy'\]: sales knows default, hurried, patient"):
        planned(tmp_path, collect__personas=("grumpy",))


@pytest.mark.parametrize(
    ("overrides", "why"),
    [
        ({"collect.explore_share": 0.5, "sampling.temperature": 0.0}, "needs a policy that samples"),
        ({"collect.explore_temperature": 0.0}, "greater than 0"),
        ({"collect.personas": []}, "at least 1"),
        ({"domain.business_accepts": 0.9, "domain.business_edits": 0.2}, "more than 1 together"),
    ],
)
def test_what_cannot_be_explored_is_refused(overrides: dict[str, object], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        load(CONFIG_FILE, overrides=overrides)
