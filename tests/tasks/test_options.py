"""What is given on the command line overrides the file; what is not given leaves it alone."""

from pathlib import Path

import pytest

from tasks.config import Algorithm, ConfigError
from tasks.options import options_of

FILE = Path(__file__).parents[2] / "configs" / "sales_small.toml"


def test_named_options_and_settings_override_the_file():
    options = options_of(
        FILE, experiment="shop", seed=3, algorithm=Algorithm.OUTCOME, settings=["train.epochs=2"]
    )

    config = options.load()

    assert (config.experiment, config.seed, config.credit.algorithm) == ("shop", 3, Algorithm.OUTCOME)
    assert config.train.epochs == 2


def test_an_estimator_may_be_named_and_a_wrong_one_is_refused_with_those_there_are():
    assert options_of(FILE, advantage="ppo").load().credit.advantage == "ppo"
    with pytest.raises(ConfigError, match=r"credit\.advantage = 'gae'.*'reinforce_pp'"):
        options_of(FILE, advantage="gae").load()


def test_nothing_given_leaves_the_file_as_it_is():
    assert options_of(FILE).load().experiment == "sales"


def test_a_bare_word_is_a_string():
    assert options_of(FILE, settings=["domain.preset=hard"]).load().domain.preset == "hard"


@pytest.mark.parametrize("text", ["train.epochs", "=3"])
def test_a_setting_without_key_or_value_shows_how_to_write_one(text: str):
    with pytest.raises(ConfigError, match="write KEY=VALUE"):
        options_of(FILE, settings=[text])


def test_a_configuration_of_the_checkout_is_found_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    assert options_of(Path("configs/sales_small.toml")).load().experiment == "sales"


def test_a_file_that_lies_where_it_was_named_comes_before_that_of_the_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "configs" / "sales_small.toml"
    own.parent.mkdir()
    own.write_text(FILE.read_text().replace('experiment = "sales"', 'experiment = "own"'))
    monkeypatch.chdir(tmp_path)

    assert options_of(Path("configs/sales_small.toml")).load().experiment == "own"


def test_a_file_that_lies_nowhere_is_named_as_it_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    with pytest.raises(ConfigError, match=r"^configs/no_such\.toml"):
        options_of(Path("configs/no_such.toml")).load()
