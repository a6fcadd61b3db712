"""Conversations with branches for tests, and the slow way to sample and score them: one prompt at a time."""

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel

from itpo_core.branches import Branches, Drawing, branch_seeds, sample_branches, visited_histories
from itpo_core.reward_model import ConversationTokens
from itpo_core.sampling import row_uniforms, sampler
from itpo_core.tokens import suppress
from tests.itpo_core.policies import WORDS

NEVER = (0, 1, 3, 4, 5)
END = 2
DRAWING = Drawing(end_of_turn_id=END, suppressed_ids=NEVER, max_new_tokens=6)


def conversations(rows: int = 5, *, seed: int = 0) -> ConversationTokens:
    """Random streams of one to four turns of two to four tokens; before each, the other side says three."""
    generator = torch.Generator().manual_seed(seed)
    tokens, turns = [], []
    for row in range(rows):
        marks = [-1, -1]
        for turn in range(1 + row % 4):
            length = int(torch.randint(2, 5, (), generator=generator))
            marks += [-1, -1, -1, *[turn] * length]
        tokens.append(torch.randint(6, 6 + len(WORDS), (len(marks),), generator=generator))
        turns.append(torch.tensor(marks))
    pad = torch.nn.utils.rnn.pad_sequence
    return ConversationTokens(
        pad(tokens, batch_first=True),
        pad(turns, batch_first=True, padding_value=-1),
        torch.tensor([len(row) for row in tokens]),
    )


def sampled(
    model: PreTrainedModel,
    of: ConversationTokens,
    *,
    draws: int = 4,
    drawing: Drawing = DRAWING,
    root: int = 0,
    at_once: int = 1024,
) -> Branches:
    """Branches at every history, with seeds from `root`."""
    histories = visited_histories(of.turn_BT)
    seeds = branch_seeds(histories, range(len(of.lengths_B)), draws=draws, root=root)
    return sample_branches(model, of, histories=histories, seeds_N=seeds, drawing=drawing, at_once=at_once)


def from_a_fresh_prompt(
    model: PreTrainedModel, prompt: Sequence[int], *, seed: int, drawing: Drawing = DRAWING
) -> tuple[list[int], list[float]]:
    """One turn and its log-probabilities by plain forwards over the whole text, token after token."""
    uniforms = torch.from_numpy(row_uniforms([seed], drawing.max_new_tokens)[0])
    draw = sampler(drawing.temperature, 1.0)
    said, logprobs = list[int](), list[float]()
    while len(said) < drawing.max_new_tokens and drawing.end_of_turn_id not in said:
        with torch.no_grad():
            logits_V = model(torch.tensor([[*prompt, *said]])).logits[0, -1:]
        token, logprob = draw(suppress(logits_V, drawing.suppressed_ids), uniforms[len(said)][None])
        said.append(int(token))
        logprobs.append(float(logprob))
    return said, logprobs


def separate_logprobs(
    model: PreTrainedModel, of: ConversationTokens, branches: Branches, *, temperature: float = 1.0
) -> list[Tensor]:
    """Log-probabilities of every branch's tokens, one row of its own per branch, with gradient."""
    found = []
    for number in range(len(branches.row_N)):
        start, length = int(branches.start_N[number]), int(branches.lengths_N[number])
        said = branches.tokens_NL[number, :length]
        whole = torch.cat([of.tokens_BT[branches.row_N[number], :start], said])
        logits_LV = model(whole[None]).logits[0, start - 1 : start - 1 + length]
        logprobs_LV = (suppress(logits_LV, NEVER) / temperature).log_softmax(dim=-1)
        found.append(logprobs_LV.gather(1, said[:, None])[:, 0])
    return found
