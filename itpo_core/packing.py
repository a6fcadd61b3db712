"""A conversation and all its branches as one row: the trunk once, then what the branches add to it.

Branches of one history that begin alike share their tokens, so that a row is a tree: a token sees its
ancestors and itself, and stands as many positions deep. Equal in numbers and gradients to one row per
branch, at a fraction of the tokens.

Axes: B rows (conversations), T tokens of a row (right-padded), N branches, L tokens of a branch
(right-padded), M distinct tokens of the tree outside the trunk, P distinct places that predict one of them,
V vocabulary, H hidden units.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel

from itpo_core.branches import Branches
from itpo_core.engines.decoding import Indices
from itpo_core.logprobs import PLAIN_HEADS, entropies
from itpo_core.reward_model import ConversationTokens
from itpo_core.tokens import suppress


@dataclass(frozen=True, slots=True)
class Packed:
    """Some branches and the rows that they share; all places are flat, row x T + column.

    `index_N` is where each branch stood among those that were given. tokens_BT, positions_BT int64;
    sees_BTT bool, which tokens each one looks at. Distinct token m has id ids_M[m] and is predicted at
    places_P[predictor_M[m]]; node_NL is which of them each branch token is, 0 on padding. ends_N is the
    place of each branch's last token; None where the rows leave last tokens out, which predict nothing.
    """

    branches: Branches
    index_N: Tensor
    tokens_BT: Tensor
    positions_BT: Tensor
    sees_BTT: Tensor
    places_P: Tensor
    predictor_M: Tensor
    ids_M: Tensor
    node_NL: Tensor
    ends_N: Tensor | None

    def spread(self, values_M: Tensor) -> Tensor:
        """Give every branch token the value of its distinct token, [N, L]; 0 on padding."""
        return torch.where(self.branches.is_real_NL, values_M[self.node_NL], 0.0)


@dataclass(frozen=True, slots=True)
class PackedPass:
    """What one pass over packed rows found.

    logits_PV at every predictor, suppressed and tempered, and the log-probabilities of the branches' tokens
    under them; `ends_NH` is the hidden state of each branch's last token, None where the rows leave it out.
    """

    packed: Packed
    logits_PV: Tensor
    logprobs_NL: Tensor
    ends_NH: Tensor | None

    def entropies(self) -> Tensor:
        """Entropy (nats) behind every branch token, [N, L], without gradient."""
        return self.packed.spread(entropies(self.logits_PV.detach())[self.packed.predictor_M])


def pack(
    conversations: ConversationTokens, branches: Branches, *, rows: Sequence[int], with_ends: bool = False
) -> Packed:
    """Rows for the branches of these conversations, in the order of `rows`; other branches are left out.

    With `with_ends` the rows hold the branches' last tokens too, for heads that read there. Raises ValueError
    when none of the conversations has a branch.
    """
    index_N = torch.isin(branches.row_N, torch.tensor(rows)).nonzero()[:, 0]
    if len(index_N) == 0:
        raise ValueError(f"none of {len(rows)} conversations has a branch: there is nothing to pack")
    kept = branches.of(index_N)
    place_of_row = {row: place for place, row in enumerate(rows)}
    local_N = np.array([place_of_row[row] for row in kept.row_N.tolist()], dtype=np.int64)
    tree = _tree(kept, local_N)
    trunk_B = _largest(kept.start_N.numpy(), local_N, count=len(rows))
    column_M = _columns(tree, trunk_B, is_fed_M=_is_fed(tree, kept.lengths_N.numpy(), with_ends=with_ends))
    tokens_BT = conversations.tokens_BT[torch.tensor(rows)].numpy()
    rows_of_tokens = _rows(tokens_BT, tree=tree, trunk_B=trunk_B, column_M=column_M)
    width = rows_of_tokens[0].shape[1]
    places_P, predictor_M = np.unique(
        tree.row_M * width + _parent_columns(tree, column_M), return_inverse=True
    )
    last_N = _last_nodes(tree, kept.lengths_N.numpy())
    ends_N = tree.row_M[last_N] * width + column_M[last_N]
    return Packed(
        kept,
        index_N,
        *(torch.from_numpy(each) for each in rows_of_tokens),
        torch.from_numpy(places_P),
        torch.from_numpy(predictor_M),
        torch.from_numpy(tree.ids_M),
        torch.from_numpy(tree.node_NL),
        torch.from_numpy(ends_N) if with_ends else None,
    )


def run_packed(
    model: PreTrainedModel, packed: Packed, *, suppressed_ids: Sequence[int], temperature: float
) -> PackedPass:
    """One pass of a model over packed rows, with gradient where the caller allows it."""
    hidden_FH, logits_PV = _forward(model, packed)
    logits_PV = suppress(logits_PV, suppressed_ids)
    if temperature != 1.0:
        logits_PV = logits_PV / temperature
    logprobs_M = logits_PV.log_softmax(dim=-1)[packed.predictor_M, packed.ids_M]
    ends_NH = None if packed.ends_N is None else hidden_FH[packed.ends_N]
    return PackedPass(packed, logits_PV, packed.spread(logprobs_M), ends_NH)


@torch.no_grad()
def token_divergences(policy: PackedPass, reference: PackedPass) -> Tensor:
    """KL(policy || reference) of the next token at every branch token's place, exactly, [N, L].

    Summed over a branch that the policy spoke it has the mean of the sampled log-ratio, with less noise, and
    is never below 0. Raises ValueError for passes over different rows.
    """
    if policy.packed is not reference.packed:
        raise ValueError("two passes over different rows: pack once and run both models on it")
    logprobs_PV = policy.logits_PV.log_softmax(dim=-1)
    ratios_PV = logprobs_PV - reference.logits_PV.log_softmax(dim=-1)
    divergences_P = (logprobs_PV.exp() * ratios_PV).sum(dim=-1).clamp(min=0)
    return policy.packed.spread(divergences_P[policy.packed.predictor_M])


def _forward(model: PreTrainedModel, packed: Packed) -> tuple[Tensor, Tensor]:
    """Last hidden states of all places, and raw fp32 logits at the predictors."""
    inputs = {
        "input_ids": packed.tokens_BT,
        "position_ids": packed.positions_BT,
        "attention_mask": _additive(packed.sees_BTT, model.dtype),
        "use_cache": False,
    }
    if model.config.model_type not in PLAIN_HEADS:
        found = model(**inputs, output_hidden_states=True)
        hidden_FH, logits_FV = found.hidden_states[-1].flatten(0, 1), found.logits.flatten(0, 1)
        return hidden_FH.float(), logits_FV[packed.places_P].float()
    hidden_FH = model.base_model(**inputs).last_hidden_state.flatten(0, 1)
    return hidden_FH.float(), model.get_output_embeddings()(hidden_FH[packed.places_P]).float()


def _additive(sees_BTT: Tensor, dtype: torch.dtype) -> Tensor:
    hides_BTT = torch.zeros(sees_BTT.shape, dtype=dtype).masked_fill_(~sees_BTT, torch.finfo(dtype).min)
    return hides_BTT[:, None]


@dataclass(frozen=True, slots=True)
class _Tree:
    """Distinct tokens, parents before children: row, the branches' start, depth, parent (-1: trunk), id."""

    row_M: Indices
    start_M: Indices
    depth_M: Indices
    parent_M: Indices
    ids_M: Indices
    node_NL: Indices


def _tree(branches: Branches, local_N: Indices) -> _Tree:
    """Merge branches that begin alike, depth by depth."""
    tokens_NL, start_N = branches.tokens_NL.numpy(), branches.start_N.numpy()
    vocabulary = int(tokens_NL.max()) + 1
    node_NL = np.zeros_like(tokens_NL)
    above_N = local_N * (int(start_N.max()) + 1) + start_N
    picked: list[tuple[Indices, Indices]] = []
    for depth, alive_N in enumerate(branches.is_real_NL.numpy().T):
        (alive,) = np.nonzero(alive_N)
        keys = above_N[alive] * vocabulary + tokens_NL[alive, depth]
        _, first, which = np.unique(keys, return_index=True, return_inverse=True)
        above_N = node_NL[:, depth]
        above_N[alive] = sum(len(nodes) for nodes, _ in picked) + which
        picked.append((alive[first], np.full(len(first), depth)))
    branch_M, depth_M = (np.concatenate(parts) for parts in zip(*picked, strict=True))
    return _Tree(
        row_M=local_N[branch_M],
        start_M=start_N[branch_M],
        depth_M=depth_M,
        parent_M=np.where(depth_M > 0, node_NL[branch_M, depth_M - 1], -1),
        ids_M=tokens_NL[branch_M, depth_M],
        node_NL=node_NL,
    )


def _largest(values_N: Indices, group_N: Indices, *, count: int) -> Indices:
    largest = np.zeros(count, np.int64)
    np.maximum.at(largest, group_N, values_N)
    return largest


def _is_fed(tree: _Tree, lengths_N: Indices, *, with_ends: bool) -> NDArray[np.bool_]:
    """Tokens that something follows, and the branches' last ones where they are wanted."""
    is_fed_M = np.zeros(len(tree.parent_M), np.bool_)
    is_fed_M[tree.parent_M[tree.parent_M >= 0]] = True
    if with_ends:
        is_fed_M[_last_nodes(tree, lengths_N)] = True
    return is_fed_M


def _last_nodes(tree: _Tree, lengths_N: Indices) -> Indices:
    return tree.node_NL[np.arange(len(lengths_N)), lengths_N - 1]


def _columns(tree: _Tree, trunk_B: Indices, *, is_fed_M: NDArray[np.bool_]) -> Indices:
    """The column of every distinct token that is fed, after its row's trunk; -1 for the others."""
    (fed,) = np.nonzero(is_fed_M)
    by_row = fed[np.argsort(tree.row_M[fed], kind="stable")]
    rows = tree.row_M[by_row]
    column_M = np.full(len(is_fed_M), -1)
    column_M[by_row] = trunk_B[rows] + np.arange(len(rows)) - np.searchsorted(rows, rows)
    return column_M


def _parent_columns(tree: _Tree, column_M: Indices) -> Indices:
    """Where each distinct token's predictor stands: its parent, or the trunk's token before the branches."""
    return np.where(tree.parent_M >= 0, column_M[tree.parent_M], tree.start_M - 1)


def _rows(
    logged_BT: Indices, *, tree: _Tree, trunk_B: Indices, column_M: Indices
) -> tuple[Indices, Indices, NDArray[np.bool_]]:
    """Tokens, positions and sight of the rows; a token sees what its parent sees, and itself."""
    width = max(int(trunk_B.max()), int(column_M.max(initial=-1)) + 1)
    tokens_BT, positions_BT, sees_BTT = _trunks(logged_BT, trunk_B, width=width)
    parent_column_M = _parent_columns(tree, column_M)
    for depth in range(int(tree.depth_M.max()) + 1):
        (level,) = np.nonzero((column_M >= 0) & (tree.depth_M == depth))
        rows, columns = tree.row_M[level], column_M[level]
        tokens_BT[rows, columns] = tree.ids_M[level]
        positions_BT[rows, columns] = tree.start_M[level] + depth
        sees_BTT[rows, columns] = sees_BTT[rows, parent_column_M[level]]
        sees_BTT[rows, columns, columns] = True
    return tokens_BT, positions_BT, sees_BTT


def _trunks(
    logged_BT: Indices, trunk_B: Indices, *, width: int
) -> tuple[Indices, Indices, NDArray[np.bool_]]:
    """Tokens, positions and sight of rows that hold nothing but their trunks; padding sees itself alone."""
    column_T = np.arange(width)
    is_trunk_BT = column_T < trunk_B[:, None]
    kept = min(width, logged_BT.shape[1])
    tokens_BT = np.zeros((len(trunk_B), width), np.int64)
    tokens_BT[:, :kept] = logged_BT[:, :kept]
    tokens_BT *= is_trunk_BT
    sees_BTT = (column_T[:, None] >= column_T) & is_trunk_BT[:, :, None]
    sees_BTT |= np.eye(width, dtype=np.bool_)
    return tokens_BT, np.where(is_trunk_BT, column_T, 0), sees_BTT
