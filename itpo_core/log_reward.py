"""An implicit process reward model for foreign logs, judged by cross-validation over tasks.

The agent that spoke foreign logs is not at hand, so there are no weights to take a reference from. The
reference is a small language model that learns, from the training conversations alone and whatever their
outcome, to speak like the logged agent: it stands for the logging policy, as version 0 does for our own logs.
The reward model starts as its copy, so that before the fit every turn scores exactly 0.

Axes: B conversations, K turns, T tokens (right-padded).
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import AutoModelForCausalLM, PreTrainedModel

from itpo_core.identifiers import derive_seed
from itpo_core.logprobs import scored_logprobs
from itpo_core.optimisation import seeded
from itpo_core.reward_model import (
    ConversationTokens,
    FitSettings,
    HeldOut,
    ImplicitRewardModel,
    held_out,
)
from itpo_core.streams import Streams, TurnTokens, streams, token_count, turn_token_counts
from itpo_core.tiny_policy import Size, build_bpe_tokenizer, create_model, suppressed_ids
from itpo_core.tokens import ChatFormat
from itpo_core.trainers.warm_start import EncodedRows, WarmStartSettings, warm_start
from itpo_core.turn_rewards import implicit_scores
from itpo_core.types import Message, Role

Progress = Callable[[int, int], None]
SCORING_BATCH = 8  # conversations of thousands of tokens: more at a time would not fit the memory


@dataclass(frozen=True, slots=True)
class LogRewardSettings:
    """Sizes of the model and of its training; a conversation over `max_tokens` is left out and counted.

    The groups are dealt to `folds`; the first `judged_folds` of them are held out in turn. The reference
    learns from pieces of `piece_tokens`: to speak like somebody it needs no memory of thousands of tokens.
    """

    vocabulary_size: int = 2048
    max_tokens: int = 12_288
    folds: int = 5
    judged_folds: int = 1
    beta: float = 0.2
    piece_tokens: int = 1024
    reference_steps: int = 100
    reference_batch: int = 4
    reference_learning_rate: float = 5e-3
    learning_rate: float = 3e-4
    epochs: int = 2
    minibatch: int = 8
    confidence: float = 0.95
    draws: int = 2000
    seed: int = 0


@dataclass(frozen=True, slots=True)
class LoggedConversation:
    """What the fit needs of a logged conversation; `outcome` is NaN where it is unknown."""

    conversation_id: str
    group_id: str
    messages: tuple[Message, ...]
    outcome: float


@dataclass(frozen=True, slots=True)
class LogRewardResult:
    """Scores that no model gave to its own training conversations, [B, K], and how well they rank outcomes.

    `is_judged_B` marks the rows in judged folds, which alone have scores. `streams` are the conversations
    that the length holds (B of them), `too_long` counts the others.
    `reference_loss` is the language model's last loss, nats per token, mean over the folds.
    """

    streams: Streams
    scores_BK: Tensor
    fold_B: tuple[int, ...]
    is_judged_B: Tensor
    judged: HeldOut
    too_long: int
    longest_tokens: int
    reference_loss: float


@dataclass(frozen=True, slots=True)
class _Data:
    streams: Streams
    labels_B: Tensor
    groups_B: tuple[str, ...]
    fold_B: tuple[int, ...]

    @property
    def tokens(self) -> ConversationTokens:
        return ConversationTokens(self.streams.tokens_BT, self.streams.turn_BT, self.streams.lengths_B)


def fit_on_logs(
    conversations: Sequence[LoggedConversation],
    *,
    settings: LogRewardSettings,
    on_progress: Progress = lambda done, total: None,
) -> LogRewardResult:
    """Train a tokenizer, then per judged fold a reference and a reward model on the other folds.

    All conversations of a group (a task) lie in one fold. The tokenizer sees all texts, but no outcome.
    Raises ValueError when nothing has an outcome, or when there are fewer groups than folds.
    """
    tokenizer = build_bpe_tokenizer(_texts(conversations), vocabulary_size=settings.vocabulary_size)
    fresh = long_model(len(tokenizer), max_tokens=settings.max_tokens, seed=settings.seed)
    chat = ChatFormat.from_tokenizer(tokenizer, suppressed_ids(fresh))
    turns = encoded(conversations, chat)
    data = _data(conversations, turns, settings)
    scores_BK = torch.zeros(len(data.groups_B), int(data.streams.turns_B.max()))
    fold_B, losses = torch.tensor(data.fold_B), []
    for fold in range(settings.judged_folds):
        scores_BK[fold_B == fold], loss = _fit_fold(fresh, data, fold_B != fold, settings=settings, fold=fold)
        losses.append(loss)
        on_progress(fold + 1, settings.judged_folds)
    is_judged_B = fold_B < settings.judged_folds
    return LogRewardResult(
        streams=data.streams,
        scores_BK=scores_BK,
        fold_B=data.fold_B,
        is_judged_B=is_judged_B,
        judged=_judged(scores_BK, is_judged_B, data, settings=settings),
        too_long=len(conversations) - len(data.groups_B),
        longest_tokens=max(token_count(each) for each in turns.values()),
        reference_loss=sum(losses) / len(losses),
    )


def long_model(vocabulary_size: int, *, max_tokens: int, seed: int, size: Size = "xs") -> PreTrainedModel:
    """A policy network with one wide attention head, which costs half as much on long rows."""
    plain = create_model(vocabulary_size, size, seed=seed)
    config = plain.config
    config.num_attention_heads = config.num_key_value_heads = 1
    config.max_position_embeddings = max_tokens
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.generation_config = plain.generation_config
    return model.eval()


def pieces(tokens: ConversationTokens, size: int) -> EncodedRows:
    """Every conversation in pieces of at most `size` tokens, without those that hold no assistant token."""
    width = -(-tokens.tokens_BT.shape[1] // size) * size
    tokens_PT = pad(tokens.tokens_BT, (0, width - tokens.tokens_BT.shape[1])).reshape(-1, size)
    spoken_BT = pad(tokens.is_policy_BT, (0, width - tokens.tokens_BT.shape[1]))
    spoken_PT = spoken_BT.reshape(-1, size).clone()
    spoken_PT[:, 0] = False  # nothing stands before a piece to predict its first token from
    starts_P = torch.arange(0, width, size).repeat(len(tokens.lengths_B))
    lengths_P = (tokens.lengths_B.repeat_interleave(width // size) - starts_P).clamp(0, size)
    kept_P = spoken_PT.any(dim=1)
    return EncodedRows(tokens_PT[kept_P], spoken_PT[kept_P], lengths_P[kept_P])


def encoded(
    conversations: Sequence[LoggedConversation], chat: ChatFormat
) -> dict[str, tuple[TurnTokens, ...]]:
    """Turns as tokens, by conversation. System messages are left out: they are one long text for all."""
    return {
        each.conversation_id: tuple(
            TurnTokens(prompt, response) for prompt, response in chat.encode_conversation(_heard(each))
        )
        for each in conversations
    }


def deal_folds(groups_B: Sequence[str], folds: int, *, seed: int) -> tuple[int, ...]:
    """A fold for every conversation; groups stay whole and are dealt evenly after a shuffle."""
    names = sorted(set(groups_B))
    if len(names) < folds:
        raise ValueError(f"{len(names)} groups cannot be dealt to {folds} folds; use fewer folds")
    order = torch.randperm(len(names), generator=seeded(seed, "folds")).tolist()
    fold_of = {names[group]: place % folds for place, group in enumerate(order)}
    return tuple(fold_of[group] for group in groups_B)


def _texts(conversations: Sequence[LoggedConversation]) -> list[str]:
    return [
        text
        for each in conversations
        for message in _heard(each)
        for text in (message.content, message.tool_calls or "")
    ]


def _heard(conversation: LoggedConversation) -> list[Message]:
    return [message for message in conversation.messages if message.role is not Role.SYSTEM]


def _data(
    conversations: Sequence[LoggedConversation],
    turns: Mapping[str, tuple[TurnTokens, ...]],
    settings: LogRewardSettings,
) -> _Data:
    held = [each for each in conversations if token_count(turns[each.conversation_id]) <= settings.max_tokens]
    groups = tuple(each.group_id for each in held)
    return _Data(
        streams=streams({each.conversation_id: turns[each.conversation_id] for each in held}),
        labels_B=torch.tensor([each.outcome for each in held], dtype=torch.float32),
        groups_B=groups,
        fold_B=deal_folds(groups, settings.folds, seed=settings.seed),
    )


def _fit_fold(
    fresh: PreTrainedModel, data: _Data, train_B: Tensor, *, settings: LogRewardSettings, fold: int
) -> tuple[Tensor, float]:
    """Scores of the held-out rows [H, K] by a model that saw only the training rows; the loss."""
    reference = copy.deepcopy(fresh)
    seed = derive_seed(settings.seed, "fold", fold)
    train = _rows(data.tokens, train_B)
    taught = warm_start(
        reference,
        pieces(train, settings.piece_tokens),
        requests=None,
        settings=WarmStartSettings(
            steps=settings.reference_steps,
            batch=settings.reference_batch,
            learning_rate=settings.reference_learning_rate,
            seed=seed,
        ),
    )
    prm = ImplicitRewardModel(copy.deepcopy(reference), settings.beta, suppressed_ids(fresh))
    prm.fit(
        train,
        data.labels_B[train_B],
        reference_logprobs_BT=_logprobs(reference, train),
        settings=FitSettings(settings.learning_rate, settings.epochs, settings.minibatch, seed),
    )
    held = _rows(data.tokens, ~train_B)
    scores = implicit_scores(
        _logprobs(prm.model, held),
        _logprobs(reference, held),
        turn_index_BT=held.turn_BT,
        beta=settings.beta,
        turns=int(data.streams.turns_B.max()),
    )
    return scores.to(torch.float32), taught.final_loss


def _rows(tokens: ConversationTokens, rows_B: Tensor) -> ConversationTokens:
    return ConversationTokens(tokens.tokens_BT[rows_B], tokens.turn_BT[rows_B], tokens.lengths_B[rows_B])


@torch.no_grad()
def _logprobs(model: PreTrainedModel, conversations: ConversationTokens) -> Tensor:
    return scored_logprobs(
        model,
        conversations.tokens_BT,
        wanted_BT=conversations.is_policy_BT,
        lengths_B=conversations.lengths_B,
        suppressed_ids=suppressed_ids(model),
        temperature=1.0,
        batch=SCORING_BATCH,
    )


def _judged(scores_BK: Tensor, is_judged_B: Tensor, data: _Data, *, settings: LogRewardSettings) -> HeldOut:
    rows = is_judged_B.nonzero()[:, 0]
    return held_out(
        scores_BK[rows],
        (turn_token_counts(data.streams) > 0)[rows],
        labels_B=data.labels_B[rows],
        clusters=[data.groups_B[row] for row in rows.tolist()],
        confidence=settings.confidence,
        draws=settings.draws,
        seed=settings.seed,
    )
