"""Do turn scores match what turns were worth? A reward model and a dueling Q, on logs and on own talk.

Experiment F-1. The truth is the oracle's exact Q^pi - V^pi of whoever spoke.

Axes: B conversations, K turns, N rows.
"""

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

import torch
from torch import Tensor

from itpo_core.experiments.batches import talk
from itpo_core.experiments.world import World, encoded, world
from itpo_core.identifiers import derive_seed
from itpo_core.q_centred import centred_log_ratios
from itpo_core.q_fit import QData, QFitSettings, fit_q
from itpo_core.q_models import new_q
from itpo_core.q_targets import monte_carlo_targets
from itpo_core.reward_model import (
    ConversationTokens,
    FitSettings,
    ImplicitRewardModel,
    reference_logprobs,
)
from itpo_core.statistics import auc, spearman
from itpo_core.streams import Streams, TurnTokens, streams, turn_token_counts
from itpo_core.types import Conversation, Scored, Split

Row = dict[str, float | str | int | None]
BETA = 0.2
SAME = 1e-9  # advantages that differ by less are both best


@dataclass(frozen=True, slots=True)
class Sizes:
    """How many logs and how many of the policy's own conversations are fitted to, and how many judge."""

    logs: tuple[int, ...] = (375, 750, 1500)
    own: tuple[int, ...] = (512, 2048)
    judged: int = 512
    epochs: int = 4


@dataclass(frozen=True, slots=True)
class Talk:
    """Conversations with outcomes and exact advantages [B, K]; `last_BK` marks the turn that ends each."""

    spoken: Streams
    outcomes_B: Tensor
    advantages_BK: Tensor
    happened_BK: Tensor
    reference_BT: Tensor

    @property
    def tokens(self) -> ConversationTokens:
        """As models take them."""
        return ConversationTokens(self.spoken.tokens_BT, self.spoken.turn_BT, self.spoken.lengths_B)

    @property
    def last_BK(self) -> Tensor:
        """The turn behind which there is none."""
        return self.happened_BK & (self.happened_BK.long().flip(1).cumsum(1).flip(1) == 1)


@dataclass(frozen=True, slots=True)
class Scores:
    """What a model says: of each turn [B, K], and of the conversation's success [B] (logits)."""

    turns_BK: Tensor
    success_B: Tensor


Scorer = Callable[[Talk], Scores]
Fit = Callable[..., Scorer]  # (of, talk, *, rows, epochs) -> what scores any talk


def ranking_probe(*, seed: int, cache: Path) -> list[Row]:
    """The whole probe of one seed: every source, size and kind, judged on fresh logs and on fresh talk."""
    return ranking_rows(world("small", seed=seed, cache=cache), Sizes())


def ranking_rows(of: World, sizes: Sizes) -> list[Row]:
    """One row per source, size, kind and set that judges."""
    judges = {
        "logs": logged_talk(of, count=sizes.judged, purpose="judged"),
        "policy": own_talk(of, count=sizes.judged, purpose="judged"),
    }
    sources = (
        ("logs", sizes.logs, logged_talk(of, count=max(sizes.logs), purpose="fitted")),
        ("policy", sizes.own, own_talk(of, count=max(sizes.own), purpose="fitted")),
    )
    plans = [
        (source, spoken, count, kind)
        for source, counts, spoken in sources
        for count in counts
        for kind in FITS
    ]
    rows: list[Row] = []
    for source, spoken, count, kind in plans:
        began = time.process_time()
        scorer = FITS[kind](of, spoken, rows=count, epochs=sizes.epochs)
        about: Row = {
            "source": source,
            "rows": count,
            "kind": kind,
            "fit_cpu_seconds": time.process_time() - began,
        }
        rows += [{**about, "judged_on": judge, **agreement(scorer(by), by)} for judge, by in judges.items()]
    return rows


def logged_talk(of: World, *, count: int, purpose: str) -> Talk:
    """Fresh scripted conversations; the truth is relative to the script."""
    speaker = of.domain.logging_policy
    if speaker is None:
        raise ValueError(f"{of.domain.environment.name} has no scripted logs to fit to")
    conversations = speaker.conversations(count=count, seed=derive_seed(of.seed, "probe-logs", purpose))
    return talk_of(of, conversations, spoken=encoded(conversations, of.chat))


def own_talk(of: World, *, count: int, purpose: str) -> Talk:
    """Fresh conversations of the clone, one per scenario."""
    found = talk(
        of,
        of.clone,
        split=Split.SEEN,
        scenarios=count,
        group_size=1,
        purpose=f"probe-own-{purpose}",
    )
    kept = [each for each in found if isinstance(each.outcome, Scored) and each.turns]
    tokens = {
        each.conversation_id: [TurnTokens(turn.prompt_ids, turn.response_ids) for turn in each.turns]
        for each in kept
    }
    return talk_of(of, kept, spoken=streams(tokens))


def talk_of(of: World, conversations: Sequence[Conversation], *, spoken: Streams) -> Talk:
    """With outcomes and exact advantages. Raises ValueError in a domain without an oracle."""
    oracle = of.domain.oracle
    if oracle is None:
        raise ValueError(f"{of.domain.environment.name} has no oracle: nobody knows what turns were worth")
    happened_BK = turn_token_counts(spoken) > 0
    truths = [[turn.truth for turn in each.turns if turn.truth is not None] for each in conversations]
    advantages_BK = torch.zeros(happened_BK.shape, dtype=torch.float64)
    for row, values in enumerate(oracle.policy_advantages(truths)):
        advantages_BK[row, : len(values)] = torch.tensor(values, dtype=torch.float64)
    tokens = ConversationTokens(spoken.tokens_BT, spoken.turn_BT, spoken.lengths_B)
    return Talk(
        spoken,
        torch.tensor([_value(each) for each in conversations]),
        advantages_BK,
        happened_BK,
        reference_logprobs(of.clone, tokens, suppressed_ids=of.chat.suppressed_ids),
    )


def fitted_prm_scorer(of: World, spoken: Talk, *, rows: int, epochs: int) -> Scorer:
    """The implicit reward model on the first rows; a turn's score is its summed log-ratio."""
    prm = ImplicitRewardModel(copy.deepcopy(of.clone), BETA, of.chat.suppressed_ids)
    picked = torch.arange(min(rows, len(spoken.outcomes_B)))
    prm.fit(
        spoken.tokens.of_rows(picked),
        spoken.outcomes_B[picked],
        reference_logprobs_BT=spoken.reference_BT[picked],
        settings=FitSettings(epochs=epochs, seed=derive_seed(of.seed, "probe-prm")),
    )

    def score(given: Talk) -> Scores:
        turns_BK = prm.score(
            given.tokens, reference_logprobs_BT=given.reference_BT, turns=given.happened_BK.shape[1]
        )
        return Scores(turns_BK, turns_BK.sum(dim=1))

    return score


def fitted_dueling_scorer(of: World, spoken: Talk, *, rows: int, epochs: int) -> Scorer:
    """The dueling Q on the first rows; a turn's score is its log-ratio, centred under the clone."""
    q = new_q("dueling_logratio", copy.deepcopy(of.clone), suppressed_ids=of.chat.suppressed_ids)
    picked = torch.arange(min(rows, len(spoken.outcomes_B)))
    targets_BK = monte_carlo_targets(spoken.outcomes_B, spoken.happened_BK, gamma=1.0)
    data = QData(spoken.tokens, targets_BK, spoken.reference_BT).rows(picked)
    fit_q(q, data, settings=replace(QFitSettings(epochs=epochs), seed=derive_seed(of.seed, "probe-q")))

    def score(given: Talk) -> Scores:
        turns = given.happened_BK.shape[1]
        found = q.score(given.tokens, reference_logprobs_BT=given.reference_BT, turns=turns)
        ratios_BK = centred_log_ratios(q, given.tokens, reference=of.clone, turns=turns)
        return Scores(ratios_BK, torch.where(given.last_BK, found.logits_BK, 0).sum(dim=1))

    return score


FITS: Mapping[str, Fit] = MappingProxyType({"prm": fitted_prm_scorer, "dueling": fitted_dueling_scorer})


def agreement(scores: Scores, given: Talk) -> Row:
    """Rank correlation of turn scores with the truth over all turns and over those that end nothing, how
    often the best turn is found, and the AUC of success over conversations."""
    hit, chance, several = best_turn(scores.turns_BK, given.advantages_BK, happened_BK=given.happened_BK)
    return {
        "rank_all": rank(scores.turns_BK, given.advantages_BK, among_BK=given.happened_BK),
        "rank_open": rank(scores.turns_BK, given.advantages_BK, among_BK=given.happened_BK & ~given.last_BK),
        "best_turn_hit": hit,
        "best_turn_chance": chance,
        "best_turn_conversations": several,
        "auc": auc(scores.success_B.tolist(), (given.outcomes_B >= 0.5).tolist()),
    }


def rank(first_BK: Tensor, second_BK: Tensor, *, among_BK: Tensor) -> float | None:
    """Spearman's correlation over some turns; None when either side is constant there."""
    return spearman(first_BK[among_BK].tolist(), second_BK[among_BK].tolist())


def best_turn(
    scores_BK: Tensor, advantages_BK: Tensor, *, happened_BK: Tensor
) -> tuple[float | None, float | None, int]:
    """How often the highest score lies on a turn of highest advantage, the same by guessing, and among how
    many conversations: those with two turns or more that are not all worth the same."""
    lowest = torch.finfo(torch.float64).min
    top_B = scores_BK.double().masked_fill(~happened_BK, lowest).argmax(dim=1)
    best_B1 = advantages_BK.masked_fill(~happened_BK, lowest).max(dim=1, keepdim=True).values
    is_best_BK = happened_BK & (advantages_BK >= best_B1 - SAME)
    counted_B = happened_BK.sum(dim=1) > is_best_BK.sum(dim=1)
    if not bool(counted_B.any()):
        return None, None, 0
    hits_B = is_best_BK.gather(1, top_B[:, None])[:, 0][counted_B]
    chances_B = (is_best_BK.sum(dim=1) / happened_BK.sum(dim=1))[counted_B]
    return float(hits_B.double().mean()), float(chances_B.double().mean()), int(counted_B.sum())


def _value(conversation: Conversation) -> float:
    outcome = conversation.outcome
    return outcome.value if isinstance(outcome, Scored) else float("nan")
