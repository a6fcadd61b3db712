"""The loss of every profile on three tokens, derived by hand from the framework's documented arithmetic.

Two conversations, of tokens a, b and of token c. The ratios to the start are 1.5, 1 and 4, the advantages +1,
+1 and -1, all entropies 1. The log-ratios x to a reference that stays are ln 2, 0 and -4; the sampler's
log-probabilities lie ln 2, 0 and ln 4 below the start's.

- PPO, clip 0.2: -min(1.5, 1.2) = -1.2; -1; -min(-4, -1.2) = 4, and 3 with the dual clip. Clip 0.6/1.5 leaves
  -1.5; -1; 4 or 3.
- k3 to the reference: 1/2 + ln 2 - 1 = 0.193147; 0; e^4 - 5 = 49.598150, and 10 with the output bound. To the
  start: 1/1.5 + ln 1.5 - 1 = 0.072132; 0; 1/4 + ln 4 - 1 = 0.636294.
"""

import dataclasses
import math

import pytest
import torch

from itpo_core.loss_aggregation import Whole
from itpo_core.loss_settings import documented_numbers, loss_settings
from itpo_core.policy_choices import choices
from itpo_core.policy_losses import PolicyTokens
from itpo_core.policy_parts import objective, token_terms
from itpo_core.profiles import PROFILES
from itpo_core.sequences import Sequences
from itpo_core.trainers.base import PolicySettings

START_N = torch.tensor([-6.0, -6.0, -6.0], dtype=torch.float64)
LOG_RATIOS_N = torch.tensor([1.5, 1.0, 4.0], dtype=torch.float64).log()
X_N = torch.tensor([math.log(2), 0.0, -4.0], dtype=torch.float64)
GAPS_N = torch.tensor([2.0, 1.0, 4.0], dtype=torch.float64).log()
ADVANTAGES_N = torch.tensor([1.0, 1.0, -1.0], dtype=torch.float64)
TWO_AND_ONE = Sequences(torch.tensor([0, 0, 1]), torch.tensor([2, 1]))
BASE = PolicySettings(norm_tokens=10)


def settings_of(name: str, base: PolicySettings = BASE) -> PolicySettings:
    """The profile's forms and its documented numbers."""
    return loss_settings(PROFILES[name], documented_numbers(PROFILES[name], base))


def loss_and_gradient(settings: PolicySettings) -> tuple[float, list[float]]:
    logprobs_N = (START_N + LOG_RATIOS_N).requires_grad_()
    chosen = choices(settings)
    reference_N = START_N if settings.kl_reference == "start" else (logprobs_N - X_N).detach()
    terms = token_terms(
        PolicyTokens(logprobs_N, START_N, ADVANTAGES_N, TWO_AND_ONE),
        settings=settings,
        chosen=chosen,
        behaviour_N=START_N - GAPS_N,
        reference_N=reference_N,
        entropies_N=torch.ones(3, dtype=torch.float64),
    )
    loss = objective(
        terms,
        TWO_AND_ONE,
        settings=settings,
        chosen=chosen,
        whole=Whole(tokens=3, sequences=2, norm_tokens=10),
        kl_weight=settings.kl_weight,
    )
    (gradient_N,) = torch.autograd.grad(loss, logprobs_N)
    return loss.item(), gradient_N.tolist()


K3_A = 0.5 + math.log(2) - 1


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        # Dual clip; KL 0.005 from the policy that collected.
        ("safe", (-1.5 - 1 + 3) / 3 + 0.005 * (0.0721318 + 0.6362944) / 3),
        # Dual clip, no KL unless it is switched on.
        ("verl", (-1.2 - 1 + 3) / 3),
        # No dual clip; the policy loss is a mean over tokens, the KL one over conversations.
        ("skyrl", (-1.2 - 1 + 4) / 3 + 0.001 * (K3_A / 2 + 10) / 2),
        # No KL; the first conversation counts 2 * 1 times, the second has a ratio of 4 > 3 and is masked.
        ("trl", 2 * (-1.2 - 1) / 3),
        # The KL is part of the reward.
        ("openrlhf", (-1.2 - 1 + 4) / 3),
        ("nemo_rl", (-1.2 - 1 + 4) / 3 + 0.01 * (K3_A + 10) / 3),
        ("itpo_reference", (-1.2 - 1 + 3) / 3 + 0.001 * (K3_A + 10) / 3 - 0.001),
    ],
)
def test_the_loss_of_each_profile(name: str, expected: float) -> None:
    loss, _ = loss_and_gradient(settings_of(name))

    assert loss == pytest.approx(expected, abs=1e-7)


def test_every_profile_has_a_vector_here() -> None:
    assert set(PROFILES) == {"safe", "verl", "skyrl", "trl", "openrlhf", "nemo_rl", "itpo_reference"}


@pytest.mark.parametrize(
    ("name", "at_a"),
    [
        ("skyrl", 0.001 * (1 - 1 / 2) / (2 * 2)),  # k3's own gradient, a mean over two tokens of two rows
        ("nemo_rl", 0.01 * math.log(2) / 3),  # with the sampling's score: x itself
        ("itpo_reference", 0.001 * (1 - 1 / 2) / 3),
    ],
)
def test_the_divergence_pulls_as_the_framework_lets_it(name: str, at_a: float) -> None:
    _, gradient = loss_and_gradient(settings_of(name))

    # a is beyond the clip and only the divergence pulls it; c's divergence is beyond its bound and does not.
    assert gradient[0] == pytest.approx(at_a, abs=1e-12)
    assert gradient[1] == pytest.approx(-1 / 3)
    assert gradient[2] == pytest.approx(0.0 if name == "itpo_reference" else 4 / 3)


def test_trl_has_no_bound_on_its_k3() -> None:
    settings = settings_of("trl")
    with_kl = dataclasses.replace(settings, kl_weight=0.3, kl_reference="reference")

    loss, _ = loss_and_gradient(with_kl)

    assert loss == pytest.approx(2 * (-2.2) / 3 + 0.3 * (K3_A + math.exp(4) - 5) / 3)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("verl", (-2.2 + 3) / 10), ("skyrl", (-2.2 + 4) / (2 * 10)), ("openrlhf", (-2.2 + 4) / (2 * 10))],
)
def test_dr_grpo_as_each_framework_reads_it(name: str, expected: float) -> None:
    base = dataclasses.replace(BASE, aggregation="sequence_mean_token_sum_norm", kl_weight=0.0)
    numbers = dataclasses.replace(documented_numbers(PROFILES[name], base), kl_weight=0.0)

    loss, _ = loss_and_gradient(loss_settings(PROFILES[name], numbers))

    assert loss == pytest.approx(expected)


@pytest.mark.parametrize(
    ("name", "form"), [("verl", "gspo_token"), ("skyrl", "gspo_token"), ("trl", "gspo"), ("nemo_rl", "gspo")]
)
def test_gspo_is_given_the_form_of_the_framework_and_a_mean_per_conversation(name: str, form: str) -> None:
    settings = settings_of(name, dataclasses.replace(BASE, policy_loss="gspo"))

    assert settings.policy_loss == form
    assert settings.aggregation == "sequence_mean_token_mean"


def test_the_numbers_of_the_team_stay_unless_the_documented_ones_are_asked_for() -> None:
    base = PolicySettings(learning_rate=3e-4, clip_low=0.3, clip_high=0.5, kl_weight=0.02, seed=7)

    moved_in = loss_settings(PROFILES["nemo_rl"], base)

    assert (moved_in.clip_low, moved_in.clip_high, moved_in.kl_weight) == (0.3, 0.5, 0.02)
    assert (moved_in.learning_rate, moved_in.seed) == (3e-4, 7)
    assert (moved_in.dual_clip, moved_in.kl_estimator, moved_in.kl_reference) == (
        None,
        "k3_score",
        "reference",
    )


def test_the_safe_profile_is_the_default_of_the_settings() -> None:
    assert settings_of("safe", PolicySettings()) == PolicySettings()


def test_openrlhf_pays_for_the_divergence_in_the_reward() -> None:
    settings = settings_of("openrlhf")

    assert (settings.kl_place, settings.kl_estimator, settings.kl_weight) == ("reward", "k1", 0.01)


@pytest.mark.parametrize("name", ["verl", "skyrl", "nemo_rl"])
def test_these_bound_the_value_of_k3_to_ten(name: str) -> None:
    chosen = choices(settings_of(name))

    found_N = chosen.divergences(torch.tensor([-2.0, -30.0], dtype=torch.float64), chosen.limits)

    assert found_N.tolist() == pytest.approx([math.exp(2) - 3, 10.0])
