"""The advantage estimators under the conventions of a profile. Pure: tensors in, tensors out.

Axes: B conversations, K turns (right-padded). `Estimator.whole` is of conversations, `Estimator.per_turn` of
a stream of turn rewards, to go or immediate.

| estimator             | of values v (a conversation's reward; a turn's return-to-go or own reward)         |
|-----------------------|------------------------------------------------------------------------------------|
| grpo                  | v minus the group's mean, over its deviation; `std` group, batch or none (Dr.GRPO) |
| rloo                  | v minus the mean of the siblings                                                   |
| reinforce_pp          | z(v) over the whole batch, no group                                                |
| reinforce_pp_baseline | z(v minus the group's mean) over the whole batch                                   |
| ppo                   | z(GAE of the rewards with a turn critic); of whole conversations: r - V before it  |

z weighs every turn by its policy tokens. The released ITPO code (turn baseline "turn_mean") knows rloo alone:
rho n / (n - 1) - sum_j mean_k(rho_jk) / (n - 1) at every turn, then summed to go, then z.
Sources: GRPO (arXiv:2402.03300), Dr.GRPO (arXiv:2503.20783), RLOO (arXiv:2402.14740), REINFORCE++
(arXiv:2501.03262), GAE (arXiv:1506.02438), the released form read off recipe/itpo of the authors' code.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from itpo_core.advantages import Estimator
from itpo_core.gae import Gae, gae_turns
from itpo_core.group_baselines import GroupRules, against_group, group_statistics, refuse_broken
from itpo_core.normalisation import whiten
from itpo_core.profiles import Conventions
from itpo_core.turn_batch import TurnBatch, finite_turns, needed
from itpo_core.turn_rewards import returns_to_go

NAMES = ("grpo", "rloo", "ppo", "reinforce_pp", "reinforce_pp_baseline")


@dataclass(frozen=True, slots=True)
class Plan:
    """What an estimator is built from: its name, `std`, `to_go`, the conventions, GAE's gamma and lambda."""

    name: str
    conventions: Conventions
    std: str = "group"
    to_go: str = "auto"
    gamma: float = 1.0
    lam: float = 0.95


def estimator_of(turns: TurnBatch, plan: Plan) -> Estimator:
    """The estimator for this batch. Raises ValueError for a name or a pair that does not exist."""
    if plan.name not in NAMES:
        raise ValueError(f"advantage {plan.name!r} does not exist: choose one of {', '.join(NAMES)}")
    if plan.conventions.turn_baseline == "turn_mean":
        return _released(turns, plan)
    build = {"ppo": _ppo, "reinforce_pp": _reinforce_pp, "reinforce_pp_baseline": _reinforce_pp_baseline}
    return build.get(plan.name, _group)(turns, plan)


def rules_of(plan: Plan) -> GroupRules:
    """How `grpo`, `rloo` and the group variant of REINFORCE++ compare a value with its group."""
    own = plan.conventions
    if plan.name == "rloo":
        return GroupRules("leave_one_out", "none", lonely=own.rloo_group_of_one)
    deviation = own.deviation if plan.std == "group" and own.deviation != "batch" else plan.std
    return GroupRules(
        baseline=own.group_baseline if plan.name == "grpo" else "group_mean",
        deviation=deviation if plan.name == "grpo" else "none",
        ddof=own.std_ddof,
        floor=own.std_floor,
        lonely=own.group_of_one,
        zero_variance=own.zero_variance,
    )


def centred_turns(turns: TurnBatch, rewards_BK: Tensor, *, plan: Plan) -> Tensor:
    """The stream against its baseline, before any division by a deviation; for credit inside a turn."""
    if plan.name == "ppo":
        return turn_gae(turns, rewards_BK, plan=plan).advantages
    values_BK = returns_to_go(rewards_BK, turns.happened_BK)
    if plan.name == "reinforce_pp":
        return values_BK
    rules = rules_of(plan)
    plain = GroupRules(rules.baseline, "none", lonely=rules.lonely, zero_variance=rules.zero_variance)
    return _compared(turns, values_BK, group_B=turns.group_B, own=plan.conventions, rules=plain)


def teaching_turns(turns: TurnBatch, rewards_BK: Tensor, *, plan: Plan) -> Tensor:
    """Turns from which the estimator learns under the safe rules: compared with a sibling that differs."""
    if plan.name in ("ppo", "reinforce_pp") or plan.conventions.zero_variance != "zero":
        return turns.happened_BK
    values_BK = returns_to_go(rewards_BK, turns.happened_BK)
    facts = group_statistics(values_BK, turns.group_B, votes_BK=turns.happened_BK)
    return turns.happened_BK & facts.varies_BK


def turn_gae(turns: TurnBatch, rewards_BK: Tensor, *, plan: Plan) -> Gae:
    """GAE of a stream with the batch's critic. Raises ValueError where there is none or it is not finite."""
    values_BK = needed(turns.values_BK, "values_BK").to(rewards_BK.dtype)
    kept_BK = finite_turns(values_BK, turns.happened_BK, name="the critic's value")
    refuse_broken(rewards_BK, turns.happened_BK)
    return gae_turns(rewards_BK, kept_BK, happened_BK=turns.happened_BK, gamma=plan.gamma, lam=plan.lam)


def whitened(values_BK: Tensor, turns: TurnBatch, *, own: Conventions, teaches_BK: Tensor) -> Tensor:
    """z of turn values by the profile, a turn weighted by its policy tokens; 0 where nothing is taught."""
    weights_BK = torch.where(teaches_BK, turns.tokens_BK, 0)
    return whiten(values_BK, weights_BK, form=own.whiten_form, ddof=own.whiten_ddof, floor=own.whiten_floor)


def released_baseline(rewards: Tensor, group_B: Tensor, *, counts: Tensor, votes_B: Tensor) -> Tensor:
    """rho n / (n - 1) - sum_j mean(rho_j) / (n - 1) at every place that counts; the released ITPO form.

    `counts` marks turns or tokens. A mean over places is taken off every place, so that a longer conversation
    pays it more often. Raises ValueError for a conversation without a place, which the released code turns
    into NaN for its whole group, and for a group of one, where it divides by zero.
    """
    refuse_broken(rewards, counts)
    places_B = counts.sum(dim=1)
    if bool((votes_B & (places_B == 0)).any()):
        row = int((votes_B & (places_B == 0)).nonzero()[0])
        raise ValueError(f"row {row}: no policy token; the released form has no baseline for its group")
    kept = torch.where(counts, rewards, 0)
    mean_B = kept.sum(dim=1) / places_B.clamp(min=1)
    facts = group_statistics(mean_B[:, None], group_B, votes_BK=votes_B[:, None])
    members_B1 = facts.count_BK
    if bool((votes_B & (members_B1[:, 0] < 2)).any()):
        row = int((votes_B & (members_B1[:, 0] < 2)).nonzero()[0])
        raise ValueError(
            f"row {row}: a group of one has no baseline in the released form; use profile 'safe'"
        )
    spread = (kept * members_B1 - facts.mean_BK * members_B1) / (members_B1 - 1).clamp(min=1)
    return torch.where(counts, spread, 0)


def _compared(
    turns: TurnBatch, values_BK: Tensor, *, group_B: Tensor, own: Conventions, rules: GroupRules
) -> Tensor:
    votes_BK = (turns.tokens_BK > 0) if own.invalid_votes else turns.happened_BK
    if rules.lonely == "refuse":
        # Frameworks refuse groups of one (`whole` does); that siblings stop earlier is nobody's mistake.
        rules = replace(rules, lonely="zero")
    return against_group(values_BK, group_B, votes_BK=votes_BK, rules=rules, takes_part_BK=turns.happened_BK)


def _of_conversations(turns: TurnBatch, rewards_B: Tensor, *, own: Conventions, rules: GroupRules) -> Tensor:
    valid_B = turns.valid_B
    votes_B = torch.ones_like(valid_B) if own.invalid_votes else valid_B
    return against_group(
        rewards_B[:, None],
        turns.group_B,
        votes_BK=votes_B[:, None],
        rules=rules,
        takes_part_BK=valid_B[:, None],
    )[:, 0]


def _stream(turns: TurnBatch, rewards_BK: Tensor, *, plan: Plan) -> Tensor:
    # Failed members vote in some profiles, so that their returns must be summed too.
    stands_BK = (turns.tokens_BK > 0) if plan.conventions.invalid_votes else turns.happened_BK
    refuse_broken(rewards_BK, stands_BK)
    if plan.to_go == "immediate":
        return torch.where(stands_BK, rewards_BK, 0)
    return returns_to_go(rewards_BK, stands_BK)


def _group(turns: TurnBatch, plan: Plan) -> Estimator:
    own, rules = plan.conventions, rules_of(plan)

    def per_turn(rewards_BK: Tensor) -> Tensor:
        values_BK = _stream(turns, rewards_BK, plan=plan)
        return _compared(turns, values_BK, group_B=turns.group_B, own=own, rules=rules)

    return _bound(partial(_of_conversations, turns, own=own, rules=rules), per_turn)


def _reinforce_pp(turns: TurnBatch, plan: Plan) -> Estimator:
    def whole(rewards_B: Tensor) -> Tensor:
        refuse_broken(rewards_B[:, None], turns.valid_B[:, None])
        return _whitened_rows(rewards_B, turns, own=plan.conventions, teaches_B=turns.valid_B)

    def per_turn(rewards_BK: Tensor) -> Tensor:
        values_BK = _stream(turns, rewards_BK, plan=plan)
        return whitened(values_BK, turns, own=plan.conventions, teaches_BK=turns.happened_BK)

    return _bound(whole, per_turn)


def _reinforce_pp_baseline(turns: TurnBatch, plan: Plan) -> Estimator:
    own, rules = plan.conventions, rules_of(plan)

    def whole(rewards_B: Tensor) -> Tensor:
        centred_B = _of_conversations(turns, rewards_B, own=own, rules=rules)
        teaches_B = turns.valid_B
        if own.zero_variance == "zero":
            votes_B1 = turns.valid_B[:, None]
            facts = group_statistics(rewards_B[:, None], turns.group_B, votes_BK=votes_B1)
            teaches_B = teaches_B & facts.varies_BK[:, 0]
        return _whitened_rows(centred_B, turns, own=own, teaches_B=teaches_B)

    def per_turn(rewards_BK: Tensor) -> Tensor:
        values_BK = _stream(turns, rewards_BK, plan=plan)
        compared_BK = _compared(turns, values_BK, group_B=turns.group_B, own=own, rules=rules)
        teaches_BK = turns.happened_BK
        if own.zero_variance == "zero":
            facts = group_statistics(values_BK, turns.group_B, votes_BK=turns.happened_BK)
            teaches_BK = teaches_BK & facts.varies_BK
        return whitened(compared_BK, turns, own=own, teaches_BK=teaches_BK)

    return _bound(whole, per_turn)


def _ppo(turns: TurnBatch, plan: Plan) -> Estimator:
    if plan.to_go == "immediate":
        raise ValueError("to_go 'immediate' and advantage 'ppo': GAE sums to go by its lambda; lower that")
    values_BK = needed(turns.values_BK, "values_BK").to(turns.reward_B.dtype)
    first_BK = turns.happened_BK & (turns.happened_BK.cumsum(dim=1) == 1)
    before_B = torch.where(first_BK, values_BK, 0).sum(dim=1)

    def whole(rewards_B: Tensor) -> Tensor:
        refuse_broken(rewards_B[:, None], turns.valid_B[:, None])
        return torch.where(turns.valid_B, rewards_B - before_B, 0)

    def per_turn(rewards_BK: Tensor) -> Tensor:
        found = turn_gae(turns, rewards_BK, plan=plan)
        return whitened(found.advantages, turns, own=plan.conventions, teaches_BK=turns.happened_BK)

    return _bound(whole, per_turn)


def _released(turns: TurnBatch, plan: Plan) -> Estimator:
    if plan.name != "rloo" or plan.to_go == "immediate":
        raise ValueError(
            f"advantage {plan.name!r}, to_go {plan.to_go!r}: the released ITPO code has rloo on returns-to-go"
            " alone; choose those, or another profile"
        )
    own = plan.conventions

    def whole(rewards_B: Tensor) -> Tensor:
        counts_B1 = torch.ones_like(turns.valid_B[:, None])
        centred_B1 = released_baseline(
            rewards_B[:, None], turns.group_B, counts=counts_B1, votes_B=counts_B1[:, 0]
        )
        return _whitened_rows(centred_B1[:, 0], turns, own=own, teaches_B=turns.valid_B)

    def per_turn(rewards_BK: Tensor) -> Tensor:
        votes_B = torch.ones_like(turns.valid_B)
        counts_BK = turns.tokens_BK > 0
        centred_BK = released_baseline(rewards_BK, turns.group_B, counts=counts_BK, votes_B=votes_B)
        returns_BK = returns_to_go(centred_BK, turns.happened_BK)
        return whitened(returns_BK, turns, own=own, teaches_BK=turns.happened_BK)

    return _bound(whole, per_turn)


def _whitened_rows(values_B: Tensor, turns: TurnBatch, *, own: Conventions, teaches_B: Tensor) -> Tensor:
    tokens_B = torch.where(turns.happened_BK, turns.tokens_BK, 0).sum(dim=1)
    weights_B = torch.where(teaches_B, tokens_B, 0)
    return whiten(values_B, weights_B, form=own.whiten_form, ddof=own.whiten_ddof, floor=own.whiten_floor)


def _bound(whole: Callable[[Tensor], Tensor], per_turn: Callable[[Tensor], Tensor]) -> Estimator:
    # The batch and the rules are bound already; the other arguments are those of the classic signature.
    def of_conversations(rewards_B: Tensor, group_B: Tensor, *, valid_B: Tensor, std_floor: float) -> Tensor:
        return whole(rewards_B)

    def of_turns(
        rewards_BK: Tensor, happened_BK: Tensor, *, group_B: Tensor, valid_B: Tensor, std_floor: float
    ) -> Tensor:
        return per_turn(rewards_BK)

    return Estimator(whole=of_conversations, per_turn=of_turns)
