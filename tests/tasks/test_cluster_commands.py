"""`itpo train-policy --dry-run`: what a person or a program has to start, word by word."""

import json
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from itpo_core.trainers.openrlhf_flags import ENTRY, argv
from storage.paths import repository_root
from tasks.__main__ import app
from tasks.cluster_commands import commands
from tasks.config import load
from tasks.openrlhf import flags_of
from tests.itpo_core.trainers.openrlhf_source import parsed, placement

CONFIGS = repository_root() / "configs"
NODE, NODES = CONFIGS / "cluster_8gpu.toml", CONFIGS / "cluster_4x8gpu.toml"


def dry_run(config: Path, *options: str) -> str:
    done = CliRunner().invoke(app, ["train-policy", "--dry-run", "--config", str(config), *options])
    assert done.exit_code == 0, done.output
    return done.output


@pytest.mark.parametrize(("config", "gpus"), [(NODE, 8), (NODES, 32)], ids=["one node", "four nodes"])
def test_the_printed_training_passes_openrlhfs_own_parser(config: Path, gpus: int):
    text = dry_run(config).split("# train: anywhere\n")[1]

    words = shlex.split(text.replace("\\\n", " "))

    arguments = words[words.index(ENTRY) + 1 :]
    assert placement(parsed(arguments)).gpus == gpus
    assert arguments == argv(flags_of(load(config), 1))


def test_each_flag_has_a_line_of_its_own():
    lines = dry_run(NODE).splitlines()

    assert "  --actor.adam.lr 5e-07 \\" in lines
    assert [line for line in lines if line.startswith("  ") and line.split()[0].count("--") != 1] == []


def test_json_holds_the_same_words():
    shown = json.loads(dry_run(NODES, "--json"))

    assert [one["name"] for one in shown] == ["ray head", "ray worker", "users and judge", "train"]
    assert [one["argv"] for one in shown] == [list(one.argv) for one in commands(load(NODES), 1)]


def test_the_iteration_names_the_folders():
    text = dry_run(NODE, "--iteration", "7")

    assert "/mnt/itpo/cluster-8gpu/0007-" in text
    assert "/0001-" not in text


@pytest.mark.parametrize(
    ("config", "credit"),
    [(NODE, "replies"), (NODES, "online"), (CONFIGS / "paper_itpo_math.toml", "committed")],
)
def test_the_job_says_which_credit_is_put_in_place(config: Path, credit: str):
    train = commands(load(config), 1)[-1]

    variables = json.loads(train.words[train.words.index("--runtime-env-json") + 1])

    assert variables == {"env_vars": {"ITPO_CREDIT": credit}}


def test_users_and_judge_are_served_on_gpus_of_their_own():
    (served,) = [one for one in commands(load(NODES), 1) if one.name == "users and judge"]

    assert served.argv[:3] == ("vllm", "serve", "/mnt/itpo/models/Qwen2.5-14B-Instruct")
    assert "--tensor-parallel-size 2" in served.text()


def test_a_configuration_without_a_cluster_is_told_where_to_start():
    done = CliRunner().invoke(
        app, ["train-policy", "--dry-run", "--config", str(CONFIGS / "sales_small.toml")]
    )

    assert done.exit_code != 0
    assert "configs/cluster_8gpu.toml" in str(done.exception)


def test_json_without_a_dry_run_is_refused():
    done = CliRunner().invoke(app, ["train-policy", "--json"])

    assert done.exit_code == 2
    assert "give both" in done.output


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_ray_takes_the_commands_that_start_it():
    from ray.dashboard.modules.job.cli import submit
    from ray.scripts.scripts import start

    shown = {one.name: list(one.argv) for one in commands(load(NODES), 1)}

    for name in ("ray head", "ray worker"):
        start.make_context("start", shown[name][2:])
    train = submit.make_context("submit", shown["train"][3:]).params
    assert train["address"] == "http://ray-head:8265"
    assert train["entrypoint"][1:3] == ("-m", ENTRY)
