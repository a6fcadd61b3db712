"""What every credit method costs on one large batch: all algorithms by all estimators, one after the other.

The batch is 10,000 conversations of 10 turns of 4 to 12 policy tokens in groups of eight, with a user's
tokens between the turns. CPU seconds of one thread, so that other work on the machine is not counted.
Axes: B conversations, K turns, T tokens.
"""

import time
from collections.abc import Iterable

import torch
from torch import Tensor

from itpo_core.credit import CreditMethod, credit
from itpo_core.estimators import NAMES
from itpo_core.turn_batch import TurnBatch
from itpo_core.turn_rewards import TURN_REWARDS, happened

CONVERSATIONS, TURNS, GROUP = 10_000, 10, 8
LIMIT_S = 5.0
TOKEN_METHODS = (
    CreditMethod(algorithm="prime_token", advantage="rloo"),
    CreditMethod(algorithm="outcome", advantage="ppo", gae_level="token"),
)


def main() -> str:
    """Measure every pair and the two methods that credit single tokens; report them as Markdown."""
    torch.set_num_threads(1)
    turns = synthetic_batch(seed=0)
    by_turn = [method for method in methods() if method not in TOKEN_METHODS]
    credit(turns, by_turn[0])
    estimators = {name: timed(turns, only(by_turn, name)) for name in NAMES}
    tokens_s = {method.algorithm: timed(turns, [method]) for method in TOKEN_METHODS}
    total_s = sum(estimators.values()) + sum(tokens_s.values())
    rows = [
        *(f"| {len(TURN_REWARDS) - 1} algorithms by {name} | {s:.2f} |" for name, s in estimators.items()),
        f"| prime_token by rloo, {turns_tokens(turns):,} policy tokens | {tokens_s['prime_token']:.2f} |",
        f"| outcome by ppo over tokens | {tokens_s['outcome']:.2f} |",
        f"| **all** | **{total_s:.2f}** |",
    ]
    verdict = "yes" if total_s < LIMIT_S else "no"
    return (
        "## Turn rewards and advantages\n\n"
        f"{CONVERSATIONS:,} conversations of {TURNS} turns, one thread, float64, every method once;"
        f" CPU seconds. Under {LIMIT_S:.0f} s for all of them: {verdict}.\n\n"
        "| what | CPU-s |\n|---|---|\n" + "\n".join(rows) + "\n"
    )


def methods() -> Iterable[CreditMethod]:
    """Every algorithm by every estimator, at turn level."""
    for name in NAMES:
        for algorithm in TURN_REWARDS:
            if algorithm != "prime_token":
                yield CreditMethod(algorithm=algorithm, advantage=name)


def only(given: list[CreditMethod], name: str) -> list[CreditMethod]:
    """The methods of one estimator."""
    return [method for method in given if method.advantage == name]


def timed(turns: TurnBatch, given: list[CreditMethod]) -> float:
    """CPU seconds of crediting the batch by each of the methods."""
    begun_s = time.process_time()
    for method in given:
        credit(turns, method)
    taken_s = time.process_time() - begun_s
    print(f"{given[0].advantage}: {len(given)} methods, {taken_s:.2f} s")
    return taken_s


def turns_tokens(turns: TurnBatch) -> int:
    """Policy tokens of the batch."""
    return int(turns.tokens_BK.sum())


def synthetic_batch(*, seed: int) -> TurnBatch:
    """Conversations with every signal that a method may ask for; a tenth of them failed."""
    draw = torch.Generator().manual_seed(seed)

    def normal() -> Tensor:
        return torch.randn(CONVERSATIONS, TURNS, generator=draw, dtype=torch.float64)

    tokens_BK = torch.randint(4, 13, (CONVERSATIONS, TURNS), generator=draw)
    valid_B = torch.rand(CONVERSATIONS, generator=draw) < 0.9
    outcome_B = (torch.rand(CONVERSATIONS, generator=draw) < 0.5).double()
    turn_index_BT = token_turns(tokens_BK)
    return TurnBatch(
        group_B=torch.arange(CONVERSATIONS) // GROUP,
        valid_B=valid_B,
        outcome_B=outcome_B,
        reward_B=outcome_B - 0.002 * tokens_BK.sum(dim=1),
        advantage_B=torch.zeros_like(outcome_B),
        happened_BK=happened(tokens_BK, valid_B),
        tokens_BK=tokens_BK,
        scores_BK=normal(),
        draws_BK=normal().abs() + 1e-9,
        oracle_BK=normal(),
        values_BK=torch.sigmoid(normal()),
        log_ratios_BK=normal(),
        judge_BK=normal().abs(),
        oracle_star_BK=normal(),
        token_scores_BT=torch.randn(turn_index_BT.shape, generator=draw, dtype=torch.float64),
        turn_index_BT=turn_index_BT,
        token_values_BT=torch.rand(turn_index_BT.shape, generator=draw, dtype=torch.float64),
    )


def token_turns(tokens_BK: Tensor) -> Tensor:
    """Turn index of every token, eight tokens of a user (-1) before each turn, [B, T]."""
    spans_BK = torch.where(tokens_BK > 0, tokens_BK + 8, 0)
    ends_BK = spans_BK.cumsum(dim=1)
    place_T = torch.arange(int(ends_BK.max()))
    turn_BT = torch.searchsorted(ends_BK, place_T.expand(len(tokens_BK), -1).contiguous(), right=True)
    inside_BT = turn_BT < TURNS
    turn_BT = turn_BT.clamp(max=TURNS - 1)
    begun_BT = (ends_BK - tokens_BK).gather(1, turn_BT)
    return torch.where(inside_BT & (place_T >= begun_BT), turn_BT, -1)
