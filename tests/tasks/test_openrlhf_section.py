"""From [openrlhf] and the other sections to arguments that OpenRLHF's own parser and `train` take."""

from collections.abc import Mapping
from itertools import product
from pathlib import Path

import pytest

from itpo_core.trainers.openrlhf_flags import argv
from storage.paths import repository_root
from tasks.config import Config, ConfigError, load
from tasks.config_openrlhf import OpenRlhf, Server
from tasks.openrlhf import flags_of, staged
from tests.itpo_core.trainers.openrlhf_source import parsed, placement

CONFIGS = repository_root() / "configs"
CLUSTERS = ("cluster_8gpu", "cluster_4x8gpu", "paper_itpo_math", "paper_itpo_document", "paper_itpo_medical")
PLAIN = 'experiment = "shop"\n[credit]\nprofile = "openrlhf"\n'
WAYS: Mapping[str, Mapping[str, object]] = {
    "iterative, critic": {"credit.algorithm": "iterative_ppo", "credit.advantage": "ppo"},
    "iterative, group": {"credit.algorithm": "iterative_ppo", "openrlhf.samples_per_prompt": 8},
    "iterative, texts": {
        "credit.algorithm": "iterative_ppo",
        "openrlhf.samples_per_prompt": 8,
        "openrlhf.reward": "file",
    },
    "iterative, service": {
        "credit.algorithm": "iterative_ppo",
        "credit.advantage": "rloo",
        "openrlhf.samples_per_prompt": 4,
        "openrlhf.reward": "http",
        "openrlhf.reward_url": "http://127.0.0.1:9000/reward",
    },
    "online, critic": {
        "openrlhf.rollouts": "online",
        "credit.advantage": "ppo",
        "credit.algorithm": "itpo",
    },
    "online, group": {"openrlhf.rollouts": "online", "openrlhf.samples_per_prompt": 8},
    "online, returns": {"openrlhf.rollouts": "online", "credit.advantage": "reinforce_pp"},
    "committed": {"credit.advantage": "grpo"},
    "committed, our critic": {"credit.advantage": "ppo"},
}
SHAPES: Mapping[str, Mapping[str, object]] = {
    "one node": {"openrlhf.nodes": 1},
    "four nodes": {"openrlhf.nodes": 4, "openrlhf.micro_batch": 2},
    "engines over two": {"openrlhf.tensor_parallel": 2},
    "split": {"openrlhf.layout": "split", "openrlhf.engine_gpus": 4},
    "split nodes": {"openrlhf.layout": "split", "openrlhf.engine_gpus": 6, "openrlhf.nodes": 2},
    "async": {"openrlhf.layout": "async", "openrlhf.engine_gpus": 4, "openrlhf.reward": "file"},
}
ADAPTERS: Mapping[str, Mapping[str, object]] = {
    "whole": {},
    "adapters": {"openrlhf.lora_rank": 16, "openrlhf.zero_stage": 2},
    "some adapters": {
        "openrlhf.lora_rank": 16,
        "openrlhf.zero_stage": 2,
        "openrlhf.lora_targets": ["q_proj", "v_proj"],
    },
}


def configured(folder: Path, overrides: Mapping[str, object]) -> Config:
    """A configuration with a cluster and nothing else out of the ordinary."""
    path = folder / "cluster.toml"
    path.write_text(PLAIN, encoding="utf-8")
    return load(path, overrides={"openrlhf.nodes": 1, **overrides})


def shaped(way: str, shape: str) -> dict[str, object]:
    """Both together; a critic that OpenRLHF trains needs GPUs of its own where models are split."""
    both = {**WAYS[way], **SHAPES[shape]}
    has_critic = both.get("credit.advantage") == "ppo" and way != "committed, our critic"
    return both | ({"openrlhf.critic_gpus": 1} if has_critic and "split" in shape else {})


PAIRS = [
    (way, shape) for way, shape in product(WAYS, SHAPES) if shape != "async" or way.startswith("iterative")
]


@pytest.mark.parametrize(("way", "shape"), PAIRS, ids=map(", ".join, PAIRS))
def test_openrlhf_takes_every_way_in_on_every_shape(tmp_path: Path, way: str, shape: str):
    # Micro batches of one: GPUs that train come in odd numbers too.
    overrides = shaped(way, shape) | {"openrlhf.micro_batch": 1, "openrlhf.batch": 960}
    config = configured(tmp_path, overrides | {"openrlhf.prompts_per_step": 960})

    found = placement(parsed(argv(flags_of(config, 1))))

    assert config.openrlhf is not None
    assert found.gpus == config.openrlhf.all_gpus


@pytest.mark.parametrize(("way", "adapters"), list(product(WAYS, ADAPTERS)))
def test_openrlhf_takes_every_way_in_with_adapters(tmp_path: Path, way: str, adapters: str):
    config = configured(tmp_path, {**WAYS[way], **ADAPTERS[adapters]})

    lora = parsed(argv(flags_of(config, 1))).ds.lora

    wanted = ["q_proj", "v_proj"] if adapters == "some adapters" else "all-linear"
    assert (lora.rank, lora.target_modules) == (0 if adapters == "whole" else 16, wanted)


@pytest.mark.parametrize("name", CLUSTERS)
def test_openrlhf_takes_every_shipped_cluster(name: str):
    config = load(CONFIGS / f"{name}.toml")

    found = placement(parsed(argv(flags_of(config, 1))))

    assert config.openrlhf is not None
    assert found.gpus == config.openrlhf.all_gpus


@pytest.mark.parametrize(
    ("task", "rate", "beta", "weight", "tokens"),
    [("math", 1e-6, 0.01, 5, 5120), ("document", 5e-7, 0.005, 15, 4096), ("medical", 5e-7, 0.005, 10, 2748)],
)
def test_the_papers_settings_arrive(task: str, rate: float, beta: float, weight: float, tokens: int):
    config = load(CONFIGS / f"paper_itpo_{task}.toml")

    args = parsed(argv(flags_of(config, 40)))

    assert (args.actor.adam.lr, args.data.max_len, args.train.batch_size) == (rate, tokens, 32)
    assert (args.actor.eps_clip_low_high, args.actor.dual_clip) == ([0.2, 0.2], 3.0)
    assert (args.algo.kl.init_coef, args.algo.kl.use_loss, args.algo.kl.estimator) == (0.001, True, "k3")
    assert args.rollout.batch_size * args.rollout.n_samples_per_prompt == 16 * 8
    assert (config.reward.beta, config.credit.signal_weight) == (beta, weight)


def test_each_estimator_of_ours_is_the_one_of_theirs(tmp_path: Path):
    names = {
        ("grpo", "group"): "group_norm",
        ("grpo", "none"): "dr_grpo",
        ("rloo", "group"): "rloo",
        ("reinforce_pp_baseline", "group"): "reinforce_baseline",
    }

    for (advantage, std), theirs in names.items():
        chosen = {**WAYS["iterative, group"], "credit.advantage": advantage, "credit.std": std}
        args = parsed(argv(flags_of(configured(tmp_path, chosen), 1)))
        assert args.algo.advantage.estimator == theirs


def test_iterative_ppo_takes_its_numbers_from_improve(tmp_path: Path):
    numbers = {"improve.learning_rate": 8e-7, "improve.learning_rate_decay": 0.5, "improve.kl_weight": 0.2}
    config = configured(tmp_path, {**WAYS["iterative, critic"], **numbers, "improve.kl_growth": 1.5})

    args = parsed(argv(flags_of(config, 3)))

    assert args.actor.adam.lr == pytest.approx(8e-7 * 0.5**2)
    assert args.algo.kl.init_coef == pytest.approx(0.2 * 1.5**2)
    assert args.train.num_episodes == config.improve.passes


def test_itpo_takes_its_numbers_from_train(tmp_path: Path):
    numbers = {
        "train.learning_rate": 4e-6,
        "train.decay": 0.5,
        "train.clip_floor": 0.2,
        "train.clip_high": 0.6,
    }
    config = configured(tmp_path, {**WAYS["committed"], **numbers})

    args = parsed(argv(flags_of(config, 2)))

    assert args.actor.adam.lr == pytest.approx(2e-6)
    assert args.actor.eps_clip_low_high == pytest.approx([0.4, 0.4])


def test_a_critic_that_starts_alone_holds_the_policy_for_so_many_steps(tmp_path: Path):
    config = configured(tmp_path, {**WAYS["iterative, critic"], "openrlhf.critic_frozen_steps": 2})

    frozen = parsed(argv(flags_of(config, 1))).critic.freezing_steps

    # OpenRLHF trains the policy at step s (from 0) when s > frozen.
    assert [step > frozen for step in range(4)] == [False, False, True, True]


def test_each_candidate_has_a_state_folder_of_its_own(tmp_path: Path):
    config = configured(tmp_path, WAYS["committed"])
    other = configured(tmp_path, {**WAYS["committed"], "train.learning_rate": 2e-6})

    states = {staged(one, iteration).state for one in (config, other) for iteration in (1, 2)}

    assert len(states) == 4
    assert staged(config, 1).state == staged(configured(tmp_path, WAYS["committed"]), 1).state


REFUSED = {
    "openrlhf.samples_per_prompt 1": WAYS["iterative, group"] | {"openrlhf.samples_per_prompt": 1},
    "needs openrlhf.engine_gpus": {"openrlhf.layout": "split"},
    "leave them out": {"openrlhf.engine_gpus": 4},
    "set openrlhf.critic_gpus": {**WAYS["iterative, critic"], **SHAPES["split"]},
    "leave 0 of": {"openrlhf.layout": "split", "openrlhf.engine_gpus": 8},
    "openrlhf.tensor_parallel 3 does not divide": {"openrlhf.tensor_parallel": 3},
    "needs openrlhf.reward_url, http": WAYS["iterative, group"] | {"openrlhf.reward": "http"},
    "only iterative_ppo asks a reward": {"openrlhf.reward": "http", "openrlhf.reward_url": "http://a:1/"},
    "is not below openrlhf.reward_high": {"openrlhf.reward_low": 5.0, "openrlhf.reward_high": 5.0},
    "no multiple of openrlhf.batch": {"openrlhf.batch": 96},
    "is no multiple of openrlhf.micro_batch 3": {"openrlhf.micro_batch": 3},
    "do not reach the 8 GPUs": {"openrlhf.rollout_micro_batch": 32},
    "never pulls": {"openrlhf.kl_estimator": "k1"},
    'a reward takes "k1"': WAYS["online, returns"] | {"openrlhf.kl_place": "reward"},
    "whose advantages are made already": {"openrlhf.kl_place": "reward", "openrlhf.kl_estimator": "k1"},
    "set openrlhf.packing to false": {"openrlhf.attention": "eager"},
    "pickled file": {"openrlhf.lora_rank": 8},
    "with openrlhf.lora_rank 0": {"openrlhf.lora_targets": ["q_proj"]},
    "constant_with_warmup": {"openrlhf.warmup_share": 0.1},
    "no counterpart": WAYS["iterative, group"] | {"credit.std": "batch"},
    'set it to "openrlhf"': WAYS["iterative, group"] | {"credit.profile": "safe"},
    "never discounts": WAYS["iterative, group"] | {"credit.gamma": 0.9},
    "whose turns have no reward there": WAYS["online, returns"] | {"credit.algorithm": "prime_token"},
    "choose one of itpo, outcome": {"openrlhf.rollouts": "online", "credit.advantage": "ppo"},
    "knows no rounds before": WAYS["online, returns"] | {"credit.score_scale": "running_std"},
    'use "split"': {**WAYS["online, returns"], **SHAPES["async"], "openrlhf.reward": "agent"},
    "a sample is a conversation": {"openrlhf.samples_per_prompt": 8},
    'knows "ppo" and "gspo"': {"train.policy_loss": "cispo"},
    "divides by no constant length": {"train.aggregation": "dr_grpo", "train.norm_tokens": 64},
    "one sample never varies": {"train.dynamic_filter": True},
    "leaves a prompt no room": {"sampling.max_new_tokens": 256},
    "sampling.temperature 0": {"sampling.temperature": 0.0},
    'with openrlhf.reward "agent"': {
        **WAYS["iterative, group"],
        **SHAPES["split"],
        "openrlhf.layout": "async",
    },
    "write the path in full": {"openrlhf.python": ".venv-openrlhf/bin/python"},
    "is no http": WAYS["iterative, group"] | {"openrlhf.reward_url": "host:9000"},
    "set openrlhf.lora_rank": {"train.lora": {"rank": 4}},
}


@pytest.mark.parametrize(("words", "overrides"), REFUSED.items(), ids=REFUSED.keys())
def test_what_openrlhf_cannot_do_is_refused_by_our_keys(
    tmp_path: Path, words: str, overrides: Mapping[str, object]
):
    with pytest.raises(ConfigError) as error:
        configured(tmp_path, overrides)

    assert words in str(error.value)


def test_without_the_section_there_is_nothing_to_command(tmp_path: Path):
    path = tmp_path / "plain.toml"
    path.write_text('experiment = "shop"\n', encoding="utf-8")

    with pytest.raises(ConfigError, match=r"no section \[openrlhf\]: write one, or start from configs/"):
        flags_of(load(path), 1)


def test_the_documentation_names_each_key():
    text = (repository_root() / "docs" / "openrlhf.md").read_text(encoding="utf-8")

    keys = {*OpenRlhf.model_fields, *Server.model_fields}

    assert sorted(key for key in keys if f"`{key}`" not in text) == []
