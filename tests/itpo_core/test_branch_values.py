"""Q of a fresh turn, read on packed rows, is what the Q-function says of the same turn in a stream."""

import dataclasses

import pytest
import torch

from itpo_core.branch_values import branch_parts, q_action_values
from itpo_core.branches import logged_branches
from itpo_core.packing import pack, run_packed
from itpo_core.q_models import QModel, new_q
from tests.itpo_core.branching import END
from tests.itpo_core.single_turn_cases import SILENT, near, policy, spoken_conversations

KINDS = ["dueling_logratio", "implicit_prm", "scalar_head"]


def stirred_q(kind: str, *, seed: int = 0) -> QModel:
    """A Q-function with a body and a head that are not those of a fresh one."""
    q = new_q(kind, near(policy(), seed=seed), beta=0.5, suppressed_ids=SILENT)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        q.head.bias.fill_(0.3)
        if kind != "implicit_prm":
            q.head.weight.copy_(torch.randn(q.head.weight.shape, generator=generator))
    return q


@pytest.mark.parametrize("kind", KINDS)
def test_a_branch_that_repeats_the_logged_turn_has_the_value_of_the_logged_turn(kind: str) -> None:
    of, reference, q = spoken_conversations(), policy(), stirred_q(kind)
    values = q_action_values([q], of, reference=reference)
    branches = logged_branches(of, torch.zeros(of.tokens_BT.shape), end_of_turn_id=END)

    packed = pack(of, branches, rows=range(8), with_ends=values.with_ends)
    with torch.no_grad():
        found = run_packed(reference, packed, suppressed_ids=SILENT, temperature=1.0)
    parts_EN = values.parts(packed, found.logprobs_NL)

    expected_N = values.of_logged(branches.row_N, branches.turn_N)
    torch.testing.assert_close(values.of(parts_EN, branches)[0], expected_N, atol=1e-5, rtol=1e-5)
    assert float(expected_N.std()) > 1e-3


def test_members_are_scored_one_by_one() -> None:
    of, reference = spoken_conversations(), policy()
    qs = [stirred_q("dueling_logratio", seed=seed) for seed in (1, 2)]
    packed = pack(of, logged_branches(of, torch.zeros(of.tokens_BT.shape), end_of_turn_id=END), rows=range(8))
    reference_NL = torch.zeros(packed.branches.tokens_NL.shape)

    found_EN = q_action_values(qs, of, reference=reference).parts(packed, reference_NL)

    for member, q in enumerate(qs):
        assert torch.equal(found_EN[member], branch_parts(q, packed, reference_NL=reference_NL))
    assert not torch.equal(found_EN[0], found_EN[1])


def test_with_phi_equal_to_the_reference_every_ratio_is_exactly_zero() -> None:
    of, reference = spoken_conversations(), policy()
    q = new_q("dueling_logratio", policy(), suppressed_ids=SILENT)
    packed = pack(of, logged_branches(of, torch.zeros(of.tokens_BT.shape), end_of_turn_id=END), rows=range(8))
    with torch.no_grad():
        reference_NL = run_packed(reference, packed, suppressed_ids=SILENT, temperature=1.0).logprobs_NL

    assert branch_parts(q, packed, reference_NL=reference_NL).abs().max() == 0


def test_a_head_needs_the_branches_last_tokens() -> None:
    of = spoken_conversations()
    packed = pack(of, logged_branches(of, torch.zeros(of.tokens_BT.shape), end_of_turn_id=END), rows=range(8))

    with pytest.raises(ValueError, match="pack with_ends=True"):
        branch_parts(stirred_q("scalar_head"), packed, reference_NL=torch.zeros(1))


def test_a_q_that_tells_no_turns_apart_and_no_q_at_all_are_refused() -> None:
    of, reference = spoken_conversations(), policy()

    with pytest.raises(ValueError, match="'value' says nothing about turns"):
        q_action_values([stirred_q("value")], of, reference=reference)
    with pytest.raises(ValueError, match="no Q-function"):
        q_action_values([], of, reference=reference)


def test_the_doubly_robust_step_needs_q_of_the_logged_turns() -> None:
    of, reference = spoken_conversations(), policy()
    values = q_action_values([stirred_q("scalar_head")], of, reference=reference)

    with pytest.raises(ValueError, match="give logged_EBK"):
        dataclasses.replace(values, logged_EBK=None).of_logged(torch.tensor([0]), torch.tensor([0]))
