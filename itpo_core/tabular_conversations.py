"""All conversations of a tabular dialogue, with their chances: exact expectations by enumeration.

Axes: B conversations, K turns (right-padded), S states, A acts.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from itpo_core.tabular import TabularMdp

SUCCESS, FAILURE, MOVES = range(3)


@dataclass(frozen=True, slots=True)
class Conversations:
    """Turn by turn the state before the turn and the act, 0 where no turn happened; the outcome; the chance.

    `chance_B` sums to 1 over what is enumerated; `start_B` is the state that the conversation began in.
    """

    states_BK: Tensor
    acts_BK: Tensor
    happened_BK: Tensor
    outcome_B: Tensor
    chance_B: Tensor

    @property
    def start_B(self) -> Tensor:
        """The state before the first turn."""
        return self.states_BK[:, 0]


def enumerate_all(mdp: TabularMdp, policy_KSA: Tensor) -> Conversations:
    """Every conversation that can happen, once, with its chance."""
    events_KSAE = _event_chances(mdp)
    start = mdp.start_S.nonzero()[:, 0]
    open_rows = _Rows(start[:, None][:, :0], start[:, None][:, :0], start, mdp.start_S[start])
    ended: list[Conversations] = []
    for policy_SA, events_SAE in zip(policy_KSA, events_KSAE, strict=True):
        chance_NAE = open_rows.chance_N[:, None, None] * (policy_SA[..., None] * events_SAE)[open_rows.at_N]
        row_M, act_M, event_M = chance_NAE.nonzero(as_tuple=True)
        went = _Rows(
            torch.cat([open_rows.states_NK[row_M], open_rows.at_N[row_M, None]], dim=1),
            torch.cat([open_rows.acts_NK[row_M], act_M[:, None]], dim=1),
            event_M - MOVES,
            chance_NAE[row_M, act_M, event_M],
        )
        ended.append(_closed(went, turns=mdp.turns))
        open_rows = went.where(event_M >= MOVES)
    return _joined(ended)


def in_proportion(all_of: Conversations, *, limit: int = 1 << 18) -> Conversations:
    """A batch that holds every conversation exactly as often as its chance has it: no sampling noise at all.

    With it, functions of whole batches (group means, whitening, a batch's maximum) can be read off unchanged,
    in the limit of large groups. Raises ValueError when no power of two up to `limit` makes all counts whole.
    """
    size = 1
    while size <= limit:
        counts_B = size * all_of.chance_B
        if bool((counts_B == counts_B.round()).all()):
            return _repeated(all_of, counts_B.round().long(), size=size)
        size *= 2
    raise ValueError(f"no batch of up to {limit} conversations holds these chances: make them coarser")


def pairs(all_of: Conversations) -> tuple[Conversations, Tensor]:
    """Every group of two with the same start, with its chance, as 2 P rows; and the group of each row."""
    same_BB = all_of.start_B[:, None] == all_of.start_B
    first_P, second_P = same_BB.nonzero(as_tuple=True)
    starts_B = _start_chances(all_of)
    chance_P = all_of.chance_B[first_P] * all_of.chance_B[second_P] / starts_B[first_P]
    rows = torch.cat([first_P, second_P])
    group = torch.arange(len(first_P)).repeat(2)
    return _picked(all_of, rows, chance=chance_P.repeat(2) / 2), group


def sample(mdp: TabularMdp, policy_KSA: Tensor, *, count: int, generator: torch.Generator) -> Conversations:
    """So many conversations drawn independently, each with chance 1 / count."""
    all_of = enumerate_all(mdp, policy_KSA)
    rows = torch.multinomial(all_of.chance_B, count, replacement=True, generator=generator)
    return _picked(all_of, rows, chance=torch.full((count,), 1 / count, dtype=torch.float64))


def cell_means(of: Conversations, values_BK: Tensor, *, states: int, acts: int) -> Tensor:
    """Regression on a table: the mean of the values at every (turn, state, act), NaN where none happened."""
    weights_BK = torch.where(of.happened_BK, of.chance_B[:, None], 0)
    kept_BK = torch.where(of.happened_BK, values_BK.to(torch.float64), 0)
    totals_KSA = cell_sums(of, weights_BK * kept_BK, states=states, acts=acts)
    return totals_KSA / cell_sums(of, weights_BK, states=states, acts=acts)


def cell_sums(of: Conversations, values_BK: Tensor, *, states: int, acts: int) -> Tensor:
    """Sum of the values at every (turn, state, act), [K, S, A]."""
    turns = values_BK.shape[1]
    cells_BK = (torch.arange(turns) * states + of.states_BK) * acts + of.acts_BK
    sums = torch.zeros(turns * states * acts, dtype=torch.float64)
    return sums.scatter_add(0, cells_BK.reshape(-1), values_BK.reshape(-1)).view(turns, states, acts)


def look_up(of: Conversations, table_KSA: Tensor) -> Tensor:
    """The table's value at every turn that happened, 0 elsewhere, [B, K]."""
    turns_K = torch.arange(of.acts_BK.shape[1])
    return torch.where(of.happened_BK, table_KSA[turns_K, of.states_BK, of.acts_BK], 0)


@dataclass(frozen=True, slots=True)
class _Rows:
    """Conversations under way: what was seen and said, the state they are in, their chance."""

    states_NK: Tensor
    acts_NK: Tensor
    at_N: Tensor
    chance_N: Tensor

    def where(self, kept_N: Tensor) -> "_Rows":
        return _Rows(self.states_NK[kept_N], self.acts_NK[kept_N], self.at_N[kept_N], self.chance_N[kept_N])


def _event_chances(mdp: TabularMdp) -> Tensor:
    """Success, failure, or on to a state, [K, S, A, 2 + S]; after the last turn the user decides alone."""
    failure_SA = 1 - mdp.success_SA - mdp.moves_SAS.sum(-1)
    open_SAE = torch.cat([mdp.success_SA[..., None], failure_SA[..., None], mdp.moves_SAS], dim=-1)
    last_success_SA = mdp.success_SA + mdp.moves_SAS @ mdp.timeout_S
    last_SAE = torch.zeros_like(open_SAE)
    last_SAE[..., SUCCESS], last_SAE[..., FAILURE] = last_success_SA, 1 - last_success_SA
    return torch.stack([open_SAE] * (mdp.turns - 1) + [last_SAE])


def _closed(went: _Rows, *, turns: int) -> Conversations:
    done = went.where(went.at_N < 0)
    taken = done.acts_NK.shape[1]
    pad = (0, turns - taken)
    return Conversations(
        states_BK=torch.nn.functional.pad(done.states_NK, pad),
        acts_BK=torch.nn.functional.pad(done.acts_NK, pad),
        happened_BK=(torch.arange(turns) < taken).expand(len(done.at_N), -1),
        outcome_B=(done.at_N + MOVES == SUCCESS).to(torch.float64),
        chance_B=done.chance_N,
    )


def _joined(parts: list[Conversations]) -> Conversations:
    return Conversations(
        states_BK=torch.cat([part.states_BK for part in parts]),
        acts_BK=torch.cat([part.acts_BK for part in parts]),
        happened_BK=torch.cat([part.happened_BK for part in parts]),
        outcome_B=torch.cat([part.outcome_B for part in parts]),
        chance_B=torch.cat([part.chance_B for part in parts]),
    )


def _repeated(of: Conversations, counts_B: Tensor, *, size: int) -> Conversations:
    rows = torch.arange(len(counts_B)).repeat_interleave(counts_B)
    return _picked(of, rows, chance=torch.full((size,), 1 / size, dtype=torch.float64))


def _picked(of: Conversations, rows: Tensor, *, chance: Tensor) -> Conversations:
    return Conversations(
        of.states_BK[rows], of.acts_BK[rows], of.happened_BK[rows], of.outcome_B[rows], chance
    )


def _start_chances(of: Conversations) -> Tensor:
    """Of each conversation, the chance of its start."""
    totals_S = torch.zeros(int(of.start_B.max()) + 1, dtype=torch.float64)
    return totals_S.scatter_add(0, of.start_B, of.chance_B)[of.start_B]
