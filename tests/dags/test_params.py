"""What a person may type into the trigger form, and what the pipeline makes of it."""

from typing import Any

import pytest
from airflow.sdk.definitions.param import ParamsDict
from airflow.sdk.exceptions import ParamValidationError

from dags.params import ROOT, config_path, overrides, run_params
from tasks.config import ADVANTAGES, Algorithm, load


def checked(given: dict[str, Any]) -> dict[str, Any]:
    """The Params of a run as Airflow checks them."""
    params = ParamsDict(run_params())
    params.update(given)
    return dict(params.validate())


def test_the_defaults_are_valid_and_override_nothing() -> None:
    params = checked({})

    assert overrides(params) == {}
    assert load(config_path(params)).experiment == "sales"


def test_given_values_become_dotted_keys_of_the_configuration() -> None:
    params = checked(
        {
            "experiment": "night",
            "algorithm": "outcome",
            "advantage": "ppo",
            "conversations": 64,
            "seed": 3,
        }
    )

    config = load(config_path(params), overrides=overrides(params))
    assert (config.experiment, config.seed) == ("night", 3)
    assert (config.credit.algorithm, config.credit.advantage) == (Algorithm.OUTCOME, "ppo")
    assert config.collect.conversations == 64


def test_a_relative_configuration_starts_at_the_checkout_and_an_absolute_one_stays() -> None:
    assert config_path({"config": "configs/a.toml"}) == str(ROOT / "configs/a.toml")
    assert config_path({"config": "/etc/a.toml"}) == "/etc/a.toml"


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("config", "configs/sales_small", "does not match"),
        ("experiment", "../etc", "does not match"),
        ("experiment", "Sales", "does not match"),
        ("algorithm", "magic", "is not one of"),
        ("advantage", "gae", "is not one of"),
        ("iterations", 0, "less than the minimum of 1"),
        ("iterations", 101, "greater than the maximum of 100"),
        ("iterations", "two", "is not of type 'integer'"),
        ("conversations", 60, "is not a multiple of 8"),
        ("conversations", 0, "less than the minimum of 8"),
        ("seed", -1, "less than the minimum of 0"),
        ("require_approval", "perhaps", "is not of type 'boolean'"),
    ],
)
def test_a_wrong_value_is_refused_with_the_message_of_its_schema(name: str, value: Any, message: str) -> None:
    with pytest.raises(ParamValidationError, match=message):
        checked({name: value})


def test_every_param_says_what_it_is() -> None:
    for param in run_params().values():
        assert param.schema["title"]
        assert param.description.endswith(".")


def test_the_form_offers_exactly_the_algorithms_that_run() -> None:
    assert run_params()["algorithm"].schema["enum"] == [None, *(each.value for each in Algorithm)]
    assert run_params()["advantage"].schema["enum"] == [None, *ADVANTAGES]


@pytest.mark.parametrize("estimator", ADVANTAGES)
@pytest.mark.parametrize("algorithm", list(Algorithm))
def test_every_pair_that_the_form_offers_is_a_configuration(algorithm: Algorithm, estimator: str) -> None:
    params = checked({"algorithm": algorithm.value, "advantage": estimator})

    config = load(config_path(params), overrides=overrides(params))

    assert (config.credit.algorithm, config.credit.advantage) == (algorithm, estimator)
