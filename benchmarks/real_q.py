"""How well a turn-level Q, fitted on logged triples, ranks turns that it has not seen: docs/real-logs.md.

Beside it a TF-IDF logistic regression on the same split and turns. Run as `python -m benchmarks.real_q` with
ITPO_REAL_DATA naming the folder of the sets; about six minutes of one core. N turns, T tokens.
"""

import copy
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import hstack
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from torch import Tensor
from transformers import PreTrainedModel

from benchmarks.taskmaster import Read, RewardedTurn, read
from itpo_core.identifiers import derive_seed
from itpo_core.log_reward import deal_folds
from itpo_core.logprobs import scored_logprobs
from itpo_core.q_fit import QData, QFitSettings, fit_q
from itpo_core.q_models import new_q
from itpo_core.reward_model import ConversationTokens
from itpo_core.statistics import Interval, auc, auc_interval
from itpo_core.tiny_policy import build_bpe_tokenizer, create_model, suppressed_ids
from itpo_core.tokens import ChatFormat
from itpo_core.trainers.warm_start import EncodedRows, WarmStartSettings, warm_start
from itpo_core.types import Message, Role

SETS = ("taskmaster3", "taskmaster4")
KINDS = ("dueling_logratio", "scalar_head", "value")
REGRESSION, DEPTH = "TF-IDF logistic regression", "length of the history alone"
FOLDS, JUDGED_FOLDS = 5, 2
VOCABULARY = 2048
MAX_HISTORY_TOKENS, MAX_ACTION_TOKENS = 192, 64
TIE = 1e-5  # padding changes the last digits of a score
REFERENCE = WarmStartSettings(steps=120, batch=16, learning_rate=5e-3)
FIT = QFitSettings(learning_rate=1e-3, head_learning_rate=5e-3, epochs=2, minibatch=16)
CONFIDENCE, DRAWS, SEED = 0.95, 2000, 0
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Rows:
    """Turns as streams of one turn each: `tokens` mark the action, `is_agent_NT` all that the agent said."""

    tokens: ConversationTokens
    is_agent_NT: Tensor


@dataclass(slots=True)
class Judged:
    """Scores of turns that no model had learnt from, by model, with what they are judged by."""

    scores: dict[str, list[float]] = field(default_factory=dict)
    turns: list[RewardedTurn] = field(default_factory=list)

    @property
    def liked(self) -> list[bool]:
        """The labels."""
        return [each.reward == 1.0 for each in self.turns]

    @property
    def groups(self) -> list[str]:
        """The clusters."""
        return [each.group for each in self.turns]


def encode(turns: Sequence[RewardedTurn], chat: ChatFormat) -> Rows:
    """Streams that keep their first token and their end: of a long history the beginning is cut out."""
    streams = [_stream(each, chat) for each in turns]
    width = max(len(ids) for ids, _, _ in streams)
    tokens_NT, turn_NT = (
        torch.zeros(len(streams), width, dtype=torch.int64),
        torch.full((len(streams), width), -1),
    )
    is_agent_NT = torch.zeros(len(streams), width, dtype=torch.bool)
    for row, (ids, spoken, action) in enumerate(streams):
        tokens_NT[row, : len(ids)] = torch.tensor(ids)
        is_agent_NT[row, : len(ids)] = torch.tensor(spoken)
        turn_NT[row, len(ids) - action : len(ids)] = 0
    lengths_N = torch.tensor([len(ids) for ids, _, _ in streams])
    return Rows(ConversationTokens(tokens_NT, turn_NT, lengths_N), is_agent_NT)


def _stream(turn: RewardedTurn, chat: ChatFormat) -> tuple[list[int], list[bool], int]:
    said = chat.encode_conversation([*turn.history, Message(Role.ASSISTANT, turn.action)])
    action = said[-1][1][:MAX_ACTION_TOKENS]
    ids, spoken = list[int](), list[bool]()
    for prompt, response in [*said[:-1], (said[-1][0], [])]:
        ids += [*prompt, *response]
        spoken += [*[False] * len(prompt), *[True] * len(response)]
    # What is cut must not depend on the action: a value of the history would then know something of it.
    first = 1 + max(0, len(ids) - MAX_HISTORY_TOKENS)
    return (
        [*ids[:1], *ids[first:], *action],
        [*spoken[:1], *spoken[first:], *[True] * len(action)],
        len(action),
    )


def judge(turns: Sequence[RewardedTurn], *, report: Callable[[str], None]) -> Judged:
    """Fit every model on all folds but one, for each judged fold, and score that one."""
    tokenizer = build_bpe_tokenizer(_texts(turns), vocabulary_size=VOCABULARY)
    fresh = create_model(len(tokenizer), "xs", seed=SEED)
    rows = encode(turns, ChatFormat.from_tokenizer(tokenizer, suppressed_ids(fresh)))
    fold_N = torch.tensor(deal_folds([each.group for each in turns], FOLDS, seed=SEED))
    judged = Judged()
    for fold in range(JUDGED_FOLDS):
        is_train_N = fold_N != fold
        held = [turns[row] for row in (~is_train_N).nonzero()[:, 0].tolist()]
        judged.turns += held
        for name, logits_N in _scored(
            fresh, rows, turns, is_train_N=is_train_N, fold=fold, report=report
        ).items():
            judged.scores.setdefault(name, []).extend(logits_N.tolist())
    return judged


def _scored(
    fresh: PreTrainedModel,
    rows: Rows,
    turns: Sequence[RewardedTurn],
    *,
    is_train_N: Tensor,
    fold: int,
    report: Callable[[str], None],
) -> dict[str, Tensor]:
    """Held-out logits of every model, in the order of the turns."""
    reference, loss = _reference(fresh, rows, is_train_N, fold=fold)
    report(f"fold {fold}: reference {loss:.2f} nats per token")
    data = QData(
        conversations=rows.tokens,
        targets_BK=torch.tensor([[each.reward] for each in turns]),
        reference_logprobs_BT=_logprobs(reference, rows.tokens),
    )
    found = {
        kind: _q_logits(kind, reference, data, turns, is_train_N=is_train_N, fold=fold) for kind in KINDS
    }
    found[REGRESSION] = torch.from_numpy(_regression_logits(turns, is_train_N.numpy()))
    found[DEPTH] = torch.tensor([-float(len(each.history)) for each in turns])[~is_train_N]
    return found


def _reference(
    fresh: PreTrainedModel, rows: Rows, is_train_N: Tensor, *, fold: int
) -> tuple[PreTrainedModel, float]:
    """The agent that spoke, as a small language model of the training turns, liked or not."""
    reference = copy.deepcopy(fresh)
    settings = WarmStartSettings(
        REFERENCE.steps, REFERENCE.batch, REFERENCE.learning_rate, seed=derive_seed(SEED, "reference", fold)
    )
    taught = EncodedRows(
        rows.tokens.tokens_BT[is_train_N], rows.is_agent_NT[is_train_N], rows.tokens.lengths_B[is_train_N]
    )
    return reference, warm_start(reference, taught, requests=None, settings=settings).final_loss


@torch.no_grad()
def _logprobs(model: PreTrainedModel, tokens: ConversationTokens) -> Tensor:
    return scored_logprobs(
        model,
        tokens.tokens_BT,
        wanted_BT=tokens.is_policy_BT,
        lengths_B=tokens.lengths_B,
        suppressed_ids=suppressed_ids(model),
        temperature=1.0,
    )


def _q_logits(
    kind: str,
    reference: PreTrainedModel,
    data: QData,
    turns: Sequence[RewardedTurn],
    *,
    is_train_N: Tensor,
    fold: int,
) -> Tensor:
    """Fit on the training turns; a tenth of their groups chooses the epoch. Held-out logits."""
    q = new_q(kind, copy.deepcopy(reference), suppressed_ids=suppressed_ids(reference))
    tenth_N = torch.tensor(deal_folds([each.group for each in turns], 10, seed=SEED + 1)) == 0
    train = data.rows(is_train_N.nonzero()[:, 0])
    fit_q(q, train, settings=FIT, held_out_B=tenth_N[is_train_N])
    held = data.rows((~is_train_N).nonzero()[:, 0])
    scores = q.score(held.conversations, reference_logprobs_BT=held.reference_logprobs_BT, turns=1)
    return scores.logits_BK[:, 0]


def _regression_logits(turns: Sequence[RewardedTurn], is_train_N: NDArray[np.bool_]) -> Floats:
    """Words and pairs of words of the whole history and of the action, apart; scikit-learn's defaults."""
    train, held = np.flatnonzero(is_train_N), np.flatnonzero(~is_train_N)
    parts = [
        ["\n".join(message.content for message in each.history) for each in turns],
        [each.action for each in turns],
    ]
    features = [_tf_idf(texts, train) for texts in parts]
    matrix = hstack(features).tocsr()
    model = LogisticRegression(max_iter=1000)
    model.fit(matrix[train], [turns[row].reward == 1.0 for row in train])
    return np.asarray(model.decision_function(matrix[held]), dtype=np.float64)


def _tf_idf(texts: Sequence[str], train: NDArray[np.int64]) -> object:
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True)
    vectorizer.fit([texts[row] for row in train])
    return vectorizer.transform(texts)


def lead(judged: Judged, first: str, *, over: str) -> Interval:
    """By how much one model's AUC exceeds another's, with a bootstrap over conversations that both share."""
    members: dict[str, list[int]] = {name: [] for name in judged.groups}
    for row, group in enumerate(judged.groups):
        members[group].append(row)
    clusters, labels = [np.array(each) for each in members.values()], np.array(judged.liked)
    sides = [np.array(judged.scores[name]) for name in (first, over)]
    draws = np.random.default_rng(SEED)
    found = []
    for _ in range(DRAWS):
        rows = np.concatenate([clusters[pick] for pick in draws.integers(len(clusters), size=len(clusters))])
        pair = [auc(side[rows].tolist(), labels[rows].tolist()) for side in sides]
        if pair[0] is not None and pair[1] is not None:
            found.append(pair[0] - pair[1])
    whole = [auc(side.tolist(), labels.tolist()) or 0.0 for side in sides]
    low, high = np.quantile(found, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Interval(whole[0] - whole[1], float(low), float(high), pairs=len(labels), clusters=len(clusters))


def pairs_ranked(judged: Judged, name: str) -> tuple[float, int]:
    """Of one history with a liked and a disliked action: how often the liked one is higher, ties half."""
    by_history: dict[tuple[Message, ...], tuple[list[float], list[float]]] = {}
    for turn, score in zip(judged.turns, judged.scores[name], strict=True):
        by_history.setdefault(turn.history, ([], []))[int(turn.reward)].append(score)
    won = [
        0.5 if abs(good - bad) < TIE else float(good > bad)
        for bads, goods in by_history.values()
        for bad in bads
        for good in goods
    ]
    return (sum(won) / len(won) if won else float("nan")), len(won)


def table(judged: Judged, data: Read) -> str:
    """The Markdown table of one set."""
    liked = sum(judged.liked)
    lines = [
        f"{len(data.turns)} turns of {len({each.group for each in data.turns})} conversations, "
        f"{sum(each.reward for each in data.turns):.0f} liked; left out: {data.repeated} repetitions, "
        f"{data.contradictory} judged both ways. Held out: {len(judged.turns)} turns of "
        f"{len(set(judged.groups))} conversations, {liked} liked.",
        "",
        "| model | held-out AUC | interval | lead over TF-IDF | liked above disliked at one history |",
        "|---|---|---|---|---|",
    ]
    return "\n".join([*lines, *(_line(judged, name) for name in judged.scores)])


def _line(judged: Judged, name: str) -> str:
    found = auc_interval(
        judged.scores[name],
        judged.liked,
        clusters=judged.groups,
        confidence=CONFIDENCE,
        draws=DRAWS,
        seed=SEED,
    )
    share, pairs = pairs_ranked(judged, name)
    ahead = "" if name == REGRESSION else _signed(lead(judged, name, over=REGRESSION))
    if found is None:
        return f"| {name} | one class only | | {ahead} | |"
    within = f"{share:.2f} of {pairs} pairs" if pairs else "no such history"
    return f"| {name} | {found.mean:.3f} | {found.lower:.3f} to {found.upper:.3f} | {ahead} | {within} |"


def _signed(found: Interval) -> str:
    return f"{found.mean:+.3f} ({found.lower:+.3f} to {found.upper:+.3f})"


def _texts(turns: Sequence[RewardedTurn]) -> list[str]:
    return [text for each in turns for text in (each.history[-1].content, each.action)]


def main() -> str:
    """Judge every model on every set; the section of the page."""
    root, sections = os.environ.get("ITPO_REAL_DATA"), list[str]()
    if not root:
        raise SystemExit("ITPO_REAL_DATA is not set: name the folder that holds taskmaster3 and taskmaster4")
    torch.set_num_threads(1)
    for name in SETS:
        began, data = time.process_time(), read(Path(root) / name)
        judged = judge(data.turns, report=lambda text, name=name: print(f"{name}, {text}", flush=True))
        took = f"{(time.process_time() - began) / 60:.1f} minutes of one core"
        sections.append(f"### {name}\n\n{table(judged, data)}\n\n{took}.\n")
    return "\n".join(sections)


if __name__ == "__main__":
    print(main())
