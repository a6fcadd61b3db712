"""The policy step as the configuration names it: choices that reach the trainer, and pairs that cannot."""

from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest

from itpo_core import policy_losses, sequences
from itpo_core.kl import AdaptiveKl
from itpo_core.profiles import PROFILES
from itpo_core.tiny_policy import create_policy, save_policy
from itpo_core.trainers.base import TrainingResult
from itpo_core.types import Conversation
from storage import commits, registry, weights
from storage.digests import file_sha256
from storage.registry import PolicyVersion
from tasks import curate, train_policy
from tasks.config import Config, ConfigError, Train
from tasks.config_train import WITHOUT_KL, PolicyLoss
from tasks.context import Context
from tasks.metrics import figures_of, metrics_table
from tasks.training import Job
from tests.builders import commit, commit_credit, commit_rollouts, make_context, make_conversation

ADAPTIVE: dict[str, Any] = {"train__target_kl": 0.01, "train__kl_horizon": 500}  # Any: JSON values
DOCUMENTED: dict[str, Any] = {"train__numbers": "documented", "credit__advantage": "rloo"}
ITERATIVE: dict[str, Any] = {"credit__algorithm": "iterative_ppo"}


def settings_of(tmp_path: Path, *, iteration: int = 1, **overrides: Any) -> Any:  # Any: JSON values; settings
    return train_policy.policy_settings(make_context(tmp_path, iteration=iteration, **overrides))


def test_the_section_names_the_losses_and_sequences_that_there_are() -> None:
    assert set(get_args(PolicyLoss)) == set(policy_losses.POLICY_LOSSES)
    assert set(get_args(Train.model_fields["sequence"].annotation)) == set(sequences.SEQUENCES)


def test_the_profiles_without_a_kl_term_are_those_whose_conventions_say_so() -> None:
    assert {name for name, each in PROFILES.items() if each.kl_place == "none"} == WITHOUT_KL


def test_at_their_defaults_the_new_choices_are_no_part_of_what_a_stage_commits_under() -> None:
    plain, cispo = Config(experiment="shop"), Config(experiment="shop", train=Train(policy_loss="cispo"))

    assert sorted(Train().committed()) == [
        "clip_floor", "clip_high", "clip_low", "decay", "dual_clip", "entropy_weight", "epochs", "kl_weight",
        "learning_rate", "max_gradient_norm", "minibatch", "trainer",
    ]  # fmt: skip
    assert "policy_loss" not in plain.section("train")["train"]
    assert '"policy_loss":"cispo"' in cispo.section("train")["train"]


def test_every_choice_arrives_at_the_trainer(tmp_path: Path) -> None:
    settings = settings_of(
        tmp_path,
        train__policy_loss="cispo",
        train__aggregation="dr_grpo",
        train__norm_tokens=64,
        train__sequence="turn",
        train__micro_batch=4,
        train__dynamic_filter=True,
        **ADAPTIVE,
    )

    assert (settings.policy_loss, settings.sequence) == ("cispo", "turn")
    assert (settings.aggregation, settings.norm_tokens) == ("sequence_mean_token_sum_norm", 64)
    assert (settings.micro_batch, settings.dynamic_filter) == (4, True)
    assert settings.adaptive_kl == AdaptiveKl(target=0.01, horizon=500)


@pytest.mark.parametrize(
    ("profile", "chosen", "form"),
    [
        ("safe", "gspo", "gspo"),
        ("safe", "gspo_token", "gspo_token"),
        ("verl", "gspo", "gspo_token"),
        ("trl", "gspo_token", "gspo_token"),
    ],
)
def test_gspo_is_what_the_profile_calls_so_and_gspo_token_always_itself(
    tmp_path: Path, profile: str, chosen: str, form: str
) -> None:
    settings = settings_of(tmp_path, train__policy_loss=chosen, credit__profile=profile)

    assert (settings.policy_loss, settings.aggregation) == (form, "sequence_mean_token_mean")


@pytest.mark.parametrize("profile", PROFILES)
def test_documented_numbers_are_those_of_the_framework_in_every_iteration(
    tmp_path: Path, profile: str
) -> None:
    settings = settings_of(tmp_path, iteration=3, train__clip_high=0.9, **DOCUMENTED, credit__profile=profile)

    own = PROFILES[profile]
    assert (settings.clip_low, settings.clip_high, settings.dual_clip) == (
        own.clip_low,
        own.clip_high,
        own.dual_clip,
    )
    assert settings.kl_weight == (0.0 if own.kl_place == "none" else own.kl_weight)
    assert settings.entropy_weight == own.entropy_weight
    assert settings.learning_rate == pytest.approx(1e-3 * 0.75**2)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"train__aggregation": "dr_grpo"}, "set train.norm_tokens to the longest"),
        ({"train__norm_tokens": 64}, 'train.norm_tokens 64 is read with train.aggregation "dr_grpo" alone'),
        (
            {"train__aggregation": "dr_grpo", "train__norm_tokens": 9, "train__policy_loss": "gspo"},
            'with train.policy_loss "gspo", which is a mean per sequence: use "profile"',
        ),
        ({**ADAPTIVE, "train__kl_weight": 0.0}, "set train.kl_weight above 0"),
        ({**ADAPTIVE, "train__kl_horizon": 40}, "kl_horizon 40 is shorter than train.minibatch 96"),
        ({**ADAPTIVE, "credit__profile": "verl"}, 'credit.profile "verl", without a KL term'),
        ({**ITERATIVE, "train__policy_loss": "gspo"}, r"train.policy_loss with iterative_ppo, whose step is"),
        ({**ITERATIVE, "sampling__top_p": 0.9}, "sampling.top_p 0.9 with iterative_ppo, which draws"),
        ({"train__target_kl": 0.0}, r"train\.target_kl = 0\.0"),
        ({"train__micro_batch": 0}, r"train\.micro_batch = 0"),
        ({"train__policy_loss": "ppo2"}, r"train\.policy_loss = 'ppo2'"),
    ],
)
def test_steps_that_cannot_work_are_refused_with_the_remedy(
    tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        make_context(tmp_path, **settings)


def adapted_parent(context: Context, *, train: str) -> commits.Commit:
    """A policy commit of this section whose weight ended at 0.04."""
    metrics = metrics_table("train_policy", summary={"kl_weight_last": 0.04})
    return commit(context, "policy", {"metrics": metrics}, inputs={"train": train})


@pytest.mark.parametrize(
    ("section", "weight"), [('{"target_kl":0.02}', 0.04), ('{"kl_weight":0.04}', 0.005), ("{}", 0.005)]
)
def test_the_weight_goes_on_where_an_adaptive_parent_stopped(
    tmp_path: Path, section: str, weight: float
) -> None:
    context = make_context(tmp_path, iteration=2, **ADAPTIVE)
    parent = adapted_parent(make_context(tmp_path, iteration=1), train=section)

    settings = train_policy.carried_on(context, train_policy.policy_settings(context), parent=parent)

    assert settings.kl_weight == weight


def test_without_a_target_the_weight_stays_the_configured_one(tmp_path: Path) -> None:
    context = make_context(tmp_path, iteration=2)
    parent = adapted_parent(make_context(tmp_path, iteration=1), train='{"target_kl":0.02}')

    settings = train_policy.carried_on(context, train_policy.policy_settings(context), parent=parent)

    assert settings.kl_weight == 0.005


def speakable(name: str, *, group: str, outcome: float) -> Conversation:
    """Two turns, each a word of the tiny policy and the end of the turn."""
    made = make_conversation(name, group=group, outcome=outcome)
    return replace(made, turns=tuple(replace(turn, response_ids=(6, 2)) for turn in made.turns))


def start_from_weights(context: Context) -> None:
    """Version 0 of the tiny policy in the lake."""
    folder, key = context.work_folder("start"), context.key("policy")
    save_policy(*create_policy(["bike", "red"], "xs", seed=3), folder=folder)
    artifacts = weights.put_folder(context.store, key, folder=folder)
    made = commits.commit(
        context.store, key, tables={}, parents={}, inputs={}, artifacts=artifacts, attempt=context.attempt
    )
    first = PolicyVersion("shop/v0000", "shop", 0, None, made.digest, made.key.text)
    registry.register_candidate(context.store, first)


def spoken_lake(folder: Path, *, iteration: int = 1, **overrides: Any) -> Context:  # Any: JSON values
    """Two credited scenarios, spoken by the version before; only in the first one do outcomes differ."""
    context = make_context(folder, iteration=iteration, train__minibatch=2, **overrides)
    spoken = [speakable(f"c{n}", group=f"g{n // 2}", outcome=float(n == 0)) for n in range(4)]
    commit_rollouts(context, spoken, speaker=registry.version_name("shop", iteration - 1))
    curate.run(context)
    commit_credit(context)
    return context


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a lake in which iteration 1 may train."""
    folder = tmp_path_factory.mktemp("shop")
    start_from_weights(make_context(folder))
    spoken_lake(folder)
    return folder


def trained(lake: Path, out_folder: Path, **overrides: Any) -> TrainingResult:  # Any: JSON values
    """A candidate of iteration 1 as these choices make it, beside the lake."""
    context = make_context(lake, iteration=1, train__minibatch=2, **overrides)
    sources = {"credit": context.read("credit"), "policy": context.read("policy", 0)}
    parent = train_policy.parent_version(context)
    return train_policy.train_on_credit(context, Job(sources, parent, out_folder, lambda done, total: None))


@pytest.mark.slow
def test_every_loss_trains_a_candidate_from_one_key(lake: Path, tmp_path: Path) -> None:
    for loss in get_args(PolicyLoss):
        trained(lake, tmp_path / loss, train__policy_loss=loss, train__sequence="turn")

    digests = {loss: file_sha256(tmp_path / loss / "model.safetensors") for loss in get_args(PolicyLoss)}
    assert len({digests[loss] for loss in ("ppo", "gspo", "cispo")}) == 3


@pytest.mark.slow
def test_scenarios_whose_outcomes_agree_are_filtered_and_counted(lake: Path, tmp_path: Path) -> None:
    summary = trained(lake, tmp_path / "out", train__dynamic_filter=True).summary

    assert summary["filtered_conversations"] == 2
    assert summary["filtered_groups"] == 1


@pytest.mark.slow
def test_an_adaptive_weight_carries_over_the_iterations(tmp_path: Path) -> None:
    start_from_weights(make_context(tmp_path))
    contexts = [spoken_lake(tmp_path, iteration=iteration, **ADAPTIVE) for iteration in (1, 2)]

    for context in contexts:
        train_policy.run(context)

    ended = figures_of(contexts[0].store, contexts[0].read("policy"))["train_policy/kl_weight_last"]
    rows = commits.read_table(contexts[1].store, contexts[1].read("policy"), table="metrics").to_pylist()
    assert ended != 0.005
    assert [row["value"] for row in rows if (row["step"], row["name"]) == (0, "kl_weight")] == [ended]
