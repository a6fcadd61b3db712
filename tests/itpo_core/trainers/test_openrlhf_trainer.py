"""OpenRLHF as a trainer of committed batches: flags from settings, what is refused."""

from dataclasses import replace
from pathlib import Path

import pytest

from itpo_core.trainers.base import PolicySettings
from itpo_core.trainers.openrlhf_flags import OpenRlhfFlags
from itpo_core.trainers.openrlhf_trainer import check_settings, committed_flags

FLAGS = OpenRlhfFlags(policy="p", prompts="x", out_folder="o", state_folder="s", micro_batch=4)


def test_a_committed_batch_is_one_rollout_of_all_its_rows(tmp_path: Path) -> None:
    settings = PolicySettings(epochs=3, clip_low=0.6, clip_high=1.5, kl_weight=0.005)

    found = committed_flags(FLAGS, settings, work=tmp_path, rows=12, minibatch=6)

    assert (found.prompts_per_step, found.batch, found.micro_batch, found.epochs) == (12, 6, 3, 3)
    assert (found.clip, found.kl_in_loss, found.samples_per_prompt) == ((0.6, 1.5), True, 1)


@pytest.mark.parametrize(
    ("changed", "named"),
    [({"policy_loss": "cispo"}, "policy_loss"), ({"kl_place": "reward"}, "kl_place")],
)
def test_a_setting_without_a_form_in_openrlhf_is_refused_by_name(changed: dict[str, str], named: str) -> None:
    with pytest.raises(ValueError, match=f"{named} .* has no form in OpenRLHF"):
        check_settings(replace(PolicySettings(), **changed))
