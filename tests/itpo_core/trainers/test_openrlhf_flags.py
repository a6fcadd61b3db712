"""The table of flags against OpenRLHF's own parser: every value arrives, unknown names are refused."""

from dataclasses import fields, replace
from importlib.metadata import PathDistribution, distribution
from types import SimpleNamespace

import pytest

from itpo_core.trainers.openrlhf_flags import (
    OPENRLHF_VERSION,
    OpenRlhfFlags,
    OpenRlhfVersionError,
    argv,
    check_reward_range,
    check_version,
    expected_steps,
    flag_values,
)
from tests.itpo_core.trainers.openrlhf_source import PACKAGE, parsed

SMALL = OpenRlhfFlags(
    policy="/p", prompts="/q.parquet", out_folder="/out", state_folder="/state", reward_url="/r.py"
)
# A value for every field that is at None, so that no flag of the table stays unseen.
EVERYTHING = replace(
    SMALL,
    critic="/c",
    estimator="gae",
    critic_nodes=2,
    critic_gpus=4,
    queue_size=3,
    kl_target=0.5,
    kl_horizon=900,
    gap_level="token",
    gap_mode="clip",
    gap_bounds=(0.1, 3.0),
    dual_clip=3.0,
    entropy_weight=0.01,
    critic_learning_rate=2e-5,
    critic_schedule="constant",
    critic_warmup_share=0.1,
    value_clip=0.4,
    frozen_steps=7,
    lora_rank=8,
    lora_alpha=32,
    lora_dropout=0.05,
    lora_targets=("q_proj", "v_proj"),
    log_folder="/logs",
    deterministic=True,
    dynamic_filter=True,
    samples_per_prompt=4,
)


def value_at(args: SimpleNamespace, flag: str) -> object:
    """`--a.b.c` of the parsed arguments; KeyError where there is none of exactly that name."""
    found: object = args
    for part in flag.removeprefix("--").split("."):
        found = vars(found)[part]
    return found


SWITCHES = [one.name for one in fields(OpenRlhfFlags) if one.default in (False, True) and one.type is bool]
SWITCHED_ON = replace(EVERYTHING, **{name: name != "asynchronous" for name in SWITCHES})
ASYNCHRONOUS = replace(SMALL, samples_per_prompt=2, asynchronous=True, reward_url=None, agent_file="/a.py")
OFTEN = {"all": EVERYTHING, "all with switches": SWITCHED_ON, "asynchronous": ASYNCHRONOUS}


@pytest.mark.parametrize("flags", OFTEN.values(), ids=OFTEN.keys())
def test_every_flag_arrives_with_its_value(flags: OpenRlhfFlags):
    args = parsed(argv(flags))

    for flag in flag_values(flags):
        found = value_at(args, flag.name)
        words = [str(one) for one in found] if isinstance(found, list | tuple) else [str(found)]
        assert words == list(flag.values or ("True",)), flag.name


def test_that_test_sees_every_field_of_the_table():
    seen = {flag.name for flags in OFTEN.values() for flag in flag_values(flags)}

    assert seen == {one.metadata["flag"] for one in fields(OpenRlhfFlags)}
    assert len(SWITCHES) == 18


@pytest.mark.parametrize("unknown", ["--actor.learning_rate", "--actor_learning_rate", "--pretrain"])
def test_an_unknown_flag_and_an_old_name_are_refused(unknown: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as error:
        parsed([*argv(SMALL), unknown, "1"])

    assert error.value.code == 2
    assert f"unrecognized arguments: {unknown} 1" in capsys.readouterr().err


def test_comparing_siblings_without_one_is_refused_by_openrlhf_too():
    with pytest.raises(AssertionError, match="rloo requires n_samples_per_prompt > 1"):
        parsed(argv(replace(SMALL, estimator="rloo")))


def test_adapters_on_all_layers_are_not_named():
    args = parsed(argv(replace(SMALL, samples_per_prompt=2, lora_rank=8)))

    assert args.ds.lora.target_modules == "all-linear"


def test_the_source_that_is_asked_is_the_pinned_version():
    found = PathDistribution(next(PACKAGE.parent.glob("openrlhf-*.dist-info"))).version

    assert found == OPENRLHF_VERSION == "0.11.2"
    check_version(found)


@pytest.mark.parametrize("found", ["0.11.0", "0.11.3", "0.9.4", None])
def test_another_version_is_refused_with_the_remedy(found: str | None):
    with pytest.raises(OpenRlhfVersionError, match=r"install openrlhf==0\.11\.2"):
        check_version(found)


def test_the_extra_for_machines_with_a_gpu_pins_the_version_of_the_table():
    wanted = [line for line in distribution("itpo-loop").requires or [] if line.startswith("openrlhf")]

    assert wanted == [f'openrlhf[vllm]=={OPENRLHF_VERSION}; extra == "gpu"']


def test_steps_are_counted_as_openrlhf_counts_them():
    flags = replace(SMALL, samples_per_prompt=8, batch=32, episodes=3, epochs=2)

    assert expected_steps(flags, prompts=100) == 100 * 8 // 32 * 3 * 2


def test_too_few_prompts_for_one_step_are_refused():
    with pytest.raises(ValueError, match="3 prompts of 1 samples do not fill one batch of 128"):
        expected_steps(SMALL, prompts=3)


def test_a_reward_outside_the_clip_range_is_refused():
    check_reward_range(SMALL, lowest=-100.0, highest=100.0)

    with pytest.raises(ValueError, match=r"rewards from -3\.0 to 101\.0 do not lie in the clip range"):
        check_reward_range(SMALL, lowest=-3.0, highest=101.0)
