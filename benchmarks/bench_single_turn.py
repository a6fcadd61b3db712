"""The single-turn step: a cached prefix against prompts of their own, packed rows against separate ones.

Both ways of a comparison give the same numbers, which the tests prove and this counts once more. Axes: B
conversations, T tokens, H histories, N branches, L tokens of a branch.
"""

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from statistics import median

import torch
from torch import Tensor

from benchmarks.bench_rollouts import BATCH, CONTEXT, PRESET, SAMPLING, Policy, rollouts, warmed
from itpo_core.branch_values import q_action_values
from itpo_core.branches import Branches, Drawing, Histories, branch_seeds, sample_branches, visited_histories
from itpo_core.engines.transformers import TransformersEngine
from itpo_core.envs.sales import SalesEnvironment
from itpo_core.logprobs import token_logprobs
from itpo_core.packing import pack, run_packed
from itpo_core.q_models import new_q
from itpo_core.reward_model import ConversationTokens
from itpo_core.scored_branches import Problem
from itpo_core.single_turn import draw_pass, new_optimiser, run_passes
from itpo_core.single_turn_settings import SingleTurnSettings
from itpo_core.streams import TurnTokens, streams

ROUNDS = 3
DRAWS = 4
PER_STEP = 16
SEPARATE_ROWS = 128


@dataclass(frozen=True, slots=True)
class Case:
    """A warm-started policy and conversations that it held."""

    policy: Policy
    conversations: ConversationTokens

    @property
    def drawing(self) -> Drawing:
        """Turns as in training."""
        return Drawing(self.policy.chat.end_of_turn_id, self.policy.chat.suppressed_ids)


@dataclass(frozen=True, slots=True)
class Timing:
    """CPU-seconds of one thread: ours, the other way, and the median of the ratios of each round."""

    ours_s: float
    other_s: float
    ratio: float


def main() -> str:
    """Measure and report as Markdown."""
    torch.set_num_threads(1)
    case = held_case()
    histories = visited_histories(case.conversations.turn_BT)
    branches = from_cache(case, histories)
    sampling = compare(partial(from_cache, case, histories), other=partial(from_prompts, case, histories))
    training = compare(partial(packed, case, branches), other=partial(separate, case, branches))
    same = int((from_prompts(case, histories).tokens_NL == branches.tokens_NL).all(dim=1).sum())
    gap = float((packed(case, branches) - separate(case, branches)).abs().max())
    drawn_s, trained_s = whole_pass(case)
    return (
        "## The single-turn step of Iterative PPO\n\n"
        f"{DRAWS} turns at each of {len(histories.row_H)} histories of {BATCH} conversations of the sales"
        f" domain ({PRESET} preset), warm-started xs policy, one thread; CPU-seconds, median of {ROUNDS}"
        " interleaved rounds. Prompts of their own: every history is taken in by itself, once for its"
        f" {DRAWS} turns. Separate rows: each turn behind its history, {SEPARATE_ROWS} rows of similar length"
        " at a time.\n\n"
        "| | ours CPU-s | the other way | ratio | the same |\n|---|---|---|---|---|\n"
        f"| sampling: cached prefix, against prompts of their own | {sampling.ours_s:.2f} |"
        f" {sampling.other_s:.2f} | {sampling.ratio:.2f} | {same} of {len(branches.row_N)} turns |\n"
        f"| forward and backward: packed rows, against separate rows | {training.ours_s:.2f} |"
        f" {training.other_s:.2f} | {training.ratio:.2f} | log-probabilities within {gap:.1e} |\n\n"
        f"A whole pass on these conversations: {drawn_s:.2f} CPU-s to draw, pack and score under reference"
        f" and Q, {trained_s:.2f} to train on.\n"
    )


def held_case() -> Case:
    """Conversations of the policy, as token streams."""
    policy = warmed("xs")
    engine = TransformersEngine(policy.model, policy.chat, max_context_tokens=CONTEXT)
    held = rollouts(engine, SalesEnvironment(PRESET), seed=1, sampling=SAMPLING)
    rows = streams(
        {c.conversation_id: [TurnTokens(t.prompt_ids, t.response_ids) for t in c.turns] for c in held}
    )
    return Case(policy, ConversationTokens(rows.tokens_BT, rows.turn_BT, rows.lengths_B))


def compare(ours: Callable[[], object], *, other: Callable[[], object]) -> Timing:
    """Both in turn, after one unmeasured round, so that a slow minute of the machine hits them alike."""
    rounds = [(cpu_s(ours), cpu_s(other)) for _ in range(ROUNDS + 1)][1:]
    print([f"{one:.2f}/{two:.2f}" for one, two in rounds])
    return Timing(
        median(one for one, _ in rounds),
        median(two for _, two in rounds),
        median(one / two for one, two in rounds),
    )


def cpu_s(work: Callable[[], object]) -> float:
    """CPU-seconds that it takes."""
    begun_s = time.process_time()
    work()
    return time.process_time() - begun_s


def from_cache(case: Case, histories: Histories) -> Branches:
    """Every conversation is taken in once."""
    seeds = branch_seeds(histories, range(len(case.conversations.lengths_B)), draws=DRAWS, root=0)
    return sample_branches(
        case.policy.model, case.conversations, histories=histories, seeds_N=seeds, drawing=case.drawing
    )


def from_prompts(case: Case, histories: Histories) -> Branches:
    """Every history is a conversation of its own, that ends where the turn begins."""
    count = len(histories.row_H)
    whole = case.conversations.of_rows(histories.row_H)
    alone = ConversationTokens(whole.tokens_BT, whole.turn_BT, histories.start_H)
    own = Histories(torch.arange(count), histories.turn_H, histories.start_H)
    seeds = branch_seeds(histories, range(len(case.conversations.lengths_B)), draws=DRAWS, root=0)
    return sample_branches(case.policy.model, alone, histories=own, seeds_N=seeds, drawing=case.drawing)


def packed(case: Case, branches: Branches) -> Tensor:
    """Log-probabilities of all branch tokens by packed rows, and a backward; packing included."""
    found_NL = torch.zeros(branches.tokens_NL.shape)
    for rows in case.conversations.lengths_B.argsort(stable=True).split(PER_STEP):
        batch = pack(case.conversations, branches, rows=rows.tolist())
        logprobs_NL = run_packed(
            case.policy.model, batch, suppressed_ids=case.drawing.suppressed_ids, temperature=1.0
        ).logprobs_NL
        logprobs_NL.sum().backward()
        found_NL[batch.index_N] = logprobs_NL.detach()
    case.policy.model.zero_grad(set_to_none=True)
    return found_NL[branches.is_real_NL]


def separate(case: Case, branches: Branches) -> Tensor:
    """The same by one row per branch: its history, then its tokens."""
    found_NL = torch.zeros(branches.tokens_NL.shape)
    ends_N = branches.start_N + branches.lengths_N
    for picked in ends_N.argsort(stable=True).split(SEPARATE_ROWS):
        place_NT = torch.arange(int(ends_N[picked].max())).expand(len(picked), -1)
        inside_NT = place_NT - branches.start_N[picked, None]
        wanted_NT = (inside_NT >= 0) & (inside_NT < branches.lengths_N[picked, None])
        width = case.conversations.tokens_BT.shape[1]
        trunk_NT = case.conversations.tokens_BT[branches.row_N[picked, None], place_NT.clamp(max=width - 1)]
        said_NT = branches.tokens_NL[picked].gather(
            1, inside_NT.clamp(min=0, max=branches.tokens_NL.shape[1] - 1)
        )
        found = token_logprobs(
            case.policy.model,
            torch.where(inside_NT >= 0, said_NT, trunk_NT),
            wanted_BT=wanted_NT,
            suppressed_ids=case.drawing.suppressed_ids,
            temperature=1.0,
        )
        found.logprobs_N.sum().backward()
        found_NL[picked] = found_NL[picked].masked_scatter(
            branches.of(picked).is_real_NL, found.logprobs_N.detach()
        )
    case.policy.model.zero_grad(set_to_none=True)
    return found_NL[branches.is_real_NL]


def whole_pass(case: Case) -> tuple[float, float]:
    """CPU-seconds to make one pass's material, and to train on it, under a Q that has learnt nothing."""
    reference, model = case.policy.model, copy.deepcopy(case.policy.model)
    phi = new_q(
        "dueling_logratio", copy.deepcopy(reference), suppressed_ids=tuple(case.drawing.suppressed_ids)
    )
    values = q_action_values([phi], case.conversations, reference=reference)
    problem = Problem(case.conversations, reference, values, case.drawing.end_of_turn_id)
    settings = SingleTurnSettings(passes=1)
    drawn_s = cpu_s(lambda: draw_pass(model, problem, settings=settings, index=0))
    whole_s = cpu_s(
        lambda: run_passes(model, new_optimiser(model, settings), problem=problem, settings=settings)
    )
    return drawn_s, whole_s - drawn_s
