"""A configuration is refused where it is wrong, with value and remedy, and hashed where it matters."""

from pathlib import Path

import pytest

from tasks.config import ConfigError, checked_experiment, load

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.toml"))


def write(folder: Path, text: str) -> Path:
    path = folder / "experiment.toml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_every_shipped_configuration_loads(path: Path):
    config = load(path)

    assert config.collect.conversations % config.collect.group_size == 0


def test_an_unknown_key_is_named(tmp_path: Path):
    path = write(tmp_path, 'experiment = "shop"\n[train]\nlearning_rat = 0.1\n')

    with pytest.raises(ConfigError, match=r"train\.learning_rat = 0\.1"):
        load(path)


def test_a_wrong_type_is_named_with_its_value(tmp_path: Path):
    path = write(tmp_path, 'experiment = "shop"\n[collect]\nconversations = "many"\n')

    with pytest.raises(ConfigError, match=r"collect\.conversations = 'many'"):
        load(path)


def test_a_number_outside_its_range_is_refused(tmp_path: Path):
    path = write(tmp_path, 'experiment = "shop"\n[credit]\nshare = 1.5\n')

    with pytest.raises(ConfigError, match=r"credit\.share = 1\.5.*less than or equal to 1"):
        load(path)


@pytest.mark.parametrize("name", ["../escape", "a/b", "", "Shop", "a" * 64, ".hidden", "shop\n"])
def test_an_experiment_name_that_could_leave_its_folder_is_refused(tmp_path: Path, name: str):
    path = write(tmp_path, 'experiment = "shop"\n')

    with pytest.raises(ConfigError, match="experiment"):
        load(path, overrides={"experiment": name})
    with pytest.raises(ConfigError, match="experiment name"):
        checked_experiment(name)


def test_half_a_group_is_refused(tmp_path: Path):
    path = write(tmp_path, 'experiment = "shop"\n[collect]\nconversations = 12\n')

    with pytest.raises(ConfigError, match=r"12 is not a multiple of collect\.group_size 8"):
        load(path)


def test_what_concerns_several_sections_is_told_without_the_whole_file(tmp_path: Path):
    path = write(tmp_path, 'experiment = "shop"\n[domain]\nname = "sales"\nscenarios = "mine.jsonl"\n')

    with pytest.raises(ConfigError, match=r"experiment\.toml: Value error, domain\.scenarios 'mine\.jsonl'"):
        load(path)


def test_a_missing_file_says_where_others_are(tmp_path: Path):
    with pytest.raises(ConfigError, match="no such file; the shipped ones are in configs/"):
        load(tmp_path / "absent.toml")


def test_a_file_that_is_not_toml_is_named(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"experiment\.toml: not valid TOML"):
        load(write(tmp_path, "experiment = "))


def test_the_place_of_the_lake_does_not_change_the_digest(tmp_path: Path):
    path = write(tmp_path, 'experiment = "shop"\n')

    here, there, other = (
        load(path, overrides=overrides)
        for overrides in ({"lake.root": "here"}, {"lake.root": "there"}, {"seed": 1})
    )

    assert here.digest == there.digest
    assert here.digest != other.digest


def test_a_section_changes_with_its_own_keys_alone(tmp_path: Path):
    path = write(tmp_path, 'experiment = "shop"\n')

    base, changed = load(path), load(path, overrides={"train.epochs": 7})

    assert base.section("collect") == changed.section("collect")
    assert base.section("train") != changed.section("train")


def test_keys_that_came_later_are_committed_under_only_where_they_change_something(tmp_path: Path):
    path = write(tmp_path, 'experiment = "shop"\n')

    plain, business = load(path), load(path, overrides={"domain.business": "scripted"})

    assert plain.section("domain") == {"domain": '{"name":"sales","preset":"small"}'}
    assert business.section("domain") == {"domain": '{"business":"scripted","name":"sales","preset":"small"}'}
    assert "explore" not in plain.section("collect")["collect"]


def test_outcomes_that_are_told_later_are_an_input_of_nothing_else(tmp_path: Path):
    path = write(tmp_path, 'experiment = "shop"\n')

    plain, told = load(path), load(path, overrides={"outcomes.paths": ["crm.csv"]})

    assert plain.digest == load(path, overrides={"outcomes.key": "conversation_id"}).digest
    assert plain.digest != told.digest
    assert plain.section("logs", "curate") == told.section("logs", "curate")


@pytest.mark.parametrize("size", ["300MB", "2GB", "0.5GiB", "10TB", "1.25KB"])
def test_sizes_are_written_as_duckdb_writes_them(tmp_path: Path, size: str):
    path = write(tmp_path, f'experiment = "shop"\n[lake]\nmemory_limit = "{size}"\nmax_spill = "{size}"\n')

    assert load(path).lake.memory_limit == size


@pytest.mark.parametrize("size", ["2", "2 GB", "0GB", "0.0GB", "-1GB", "lots", "80%", "2gb", "2GBs"])
def test_a_size_that_is_none_is_refused_with_its_key(tmp_path: Path, size: str):
    path = write(tmp_path, f'experiment = "shop"\n[lake]\nmax_spill = "{size}"\n')

    with pytest.raises(ConfigError, match=r"lake\.max_spill = '"):
        load(path)


def test_where_the_lake_lies_and_what_queries_may_use_change_no_data(tmp_path: Path):
    plain = load(write(tmp_path, 'experiment = "shop"\n'))
    limits = (
        '[lake]\nthreads = 1\nmemory_limit = "300MB"\nspill = "/big"\nmax_spill = "1GB"\nreader = "pyarrow"\n'
    )

    limited = load(write(tmp_path, f'experiment = "shop"\n{limits}'))

    assert limited.lake != plain.lake
    assert limited.digest == plain.digest


def test_a_lake_named_by_option_wins_over_the_environment_and_that_over_the_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ITPO_LAKE", "/lakes/of-the-shell")

    from_shell = load("configs/sales_small.toml")
    from_option = load("configs/sales_small.toml", overrides={"lake.root": "/lakes/of-the-option"})

    assert from_shell.lake.root == "/lakes/of-the-shell"
    assert from_option.lake.root == "/lakes/of-the-option"
