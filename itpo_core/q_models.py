"""Turn-level Q-functions and critics on a language model's trunk, and what one pass of it finds.

Axes: B conversations, K turns, T tokens (right-padded), H hidden units, N policy tokens. h_k is everything
before turn k, a its tokens; phi is the model that is fitted, pi the policy that collected. Raw outputs are
logits where the model was fitted to chances (cross-entropy), returns where it was fitted to returns.

| kind            | logit of Q(h_k, a)                                                                 |
|-----------------|------------------------------------------------------------------------------------|
| dueling_logratio| v(h_k) + beta * sum over the turn of (log phi - log pi); v is a linear head on the  |
|                 | state that predicts the turn's first token. The ratio has (almost) no mean under pi |
|                 | so it can only say how good this turn is among others; v takes all that differs     |
|                 | between histories. It ranks actions.                                               |
| scalar_head     | a linear head on the state at the turn's last token: the textbook form             |
| implicit_prm    | b + beta * sum over this and all earlier turns of (log phi - log pi)               |
| value           | v(h_k) alone: the critic of PPO, and prefix values                                 |

Source: Iterative PPO (arXiv:2511.21638) for fitting Q by regression on returns; the ratio as features of an
advantage is the compatible function approximation of Sutton et al. (1999), with the value head beside it of
dueling networks (arXiv:1511.06581).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel

from itpo_core.logprobs import PLAIN_HEADS
from itpo_core.reward_model import ConversationTokens, ImplicitRewardModel
from itpo_core.tokens import suppress
from itpo_core.turn_rewards import implicit_scores, turn_sums

SCORING_BATCH = 128


@dataclass(frozen=True, slots=True)
class QScores:
    """Raw outputs per turn, [B, K]; 0 where no turn happened.

    `logits_BK` is Q after the turn; `values_BK` is V before it and `log_ratios_BK` beta times its summed
    log-ratio, each None for a kind that has none (a scalar head has neither, a value no ratio).
    """

    values_BK: Tensor | None
    log_ratios_BK: Tensor | None
    logits_BK: Tensor


@dataclass(frozen=True, slots=True)
class QReading:
    """What one pass over the trunk found: phi's log-probabilities of policy tokens (None for a kind that does
    without), the head's output per turn (0 where none happened), and which turns happened."""

    logprobs_BT: Tensor | None
    heads_BK: Tensor
    happened_BK: Tensor


@dataclass(frozen=True, slots=True)
class TurnPlaces:
    """First and last token of every turn, int64 [B, K]; -1 where no turn happened."""

    first_BK: Tensor
    last_BK: Tensor

    @property
    def happened_BK(self) -> Tensor:
        """Turns with at least one policy token."""
        return self.first_BK >= 0


@dataclass(frozen=True, slots=True)
class QModel:
    """`model` and `head` are trained in place; suppressed ids are out of phi's distribution as out of pi's.

    The head of `implicit_prm` sees nothing: its weight stays 0 and its bias is the intercept b.
    """

    kind: str
    model: PreTrainedModel
    head: nn.Linear
    beta: float = 1.0
    suppressed_ids: tuple[int, ...] = ()

    @property
    def compares(self) -> bool:
        """Whether the kind reads log-ratios, and so needs the log-probabilities of a reference."""
        return self.kind in _COMPARING

    def read(self, conversations: ConversationTokens, *, turns: int, with_logprobs: bool = False) -> QReading:
        """One pass, with gradient; log-probabilities where the kind compares, or on demand.

        Raises ValueError when a stream starts with a policy token, which nothing predicts.
        """
        places = turn_places(conversations.turn_BT, turns=turns)
        _check_predicted(places)
        # The last column predicts nothing; only a head at the turn's last token may want its state.
        width = conversations.tokens_BT.shape[1] - (self.kind != "scalar_head")
        trunk = run_trunk(self.model, conversations.tokens_BT[:, :width])
        read_at_BK = _HEAD_PLACES[self.kind](places)
        return QReading(
            logprobs_BT=self._logprobs(trunk, conversations) if self.compares or with_logprobs else None,
            heads_BK=_head_outputs(self.head, trunk.hidden_BTH, at_BK=read_at_BK),
            happened_BK=places.happened_BK,
        )

    def assemble(
        self, reading: QReading, turn_BT: Tensor, *, reference_logprobs_BT: Tensor | None
    ) -> QScores:
        """From a reading to scores. Raises ValueError when the kind needs a reference and gets none."""
        if not self.compares:
            return _ASSEMBLED[self.kind](reading, torch.zeros_like(reading.heads_BK))
        if reading.logprobs_BT is None or reference_logprobs_BT is None:
            raise ValueError(f"{self.kind} compares with a reference: give its reference_logprobs_BT")
        ratios_BT = reading.logprobs_BT - reference_logprobs_BT
        sums_BK = turn_sums(ratios_BT, turn_BT, turns=reading.heads_BK.shape[1])
        return _ASSEMBLED[self.kind](reading, self.beta * sums_BK)

    def forward(
        self, conversations: ConversationTokens, *, reference_logprobs_BT: Tensor | None, turns: int
    ) -> QScores:
        """Scores of one batch in one pass, with gradient."""
        reading = self.read(conversations, turns=turns)
        return self.assemble(reading, conversations.turn_BT, reference_logprobs_BT=reference_logprobs_BT)

    def score(
        self, conversations: ConversationTokens, *, reference_logprobs_BT: Tensor | None, turns: int
    ) -> QScores:
        """Scores of a whole data set without gradient; with phi = reference every ratio is exactly 0."""
        reading = read_all(self, conversations, turns=turns)
        return self.assemble(reading, conversations.turn_BT, reference_logprobs_BT=reference_logprobs_BT)

    def _logprobs(self, trunk: "Trunk", conversations: ConversationTokens) -> Tensor:
        wanted_BT = conversations.is_policy_BT
        logits_NV = suppress(trunk.logits(wanted_BT[:, 1:]), self.suppressed_ids)
        targets_N = conversations.tokens_BT[wanted_BT]
        logprobs_N = -functional.cross_entropy(logits_NV, targets_N, reduction="none")
        return torch.zeros(wanted_BT.shape).masked_scatter(wanted_BT, logprobs_N)


@dataclass(frozen=True, slots=True)
class Trunk:
    """The hidden states of one pass, and how to get logits from some of them."""

    hidden_BTH: Tensor
    logits_of: Callable[[Tensor], Tensor]

    def logits(self, predicts_BT: Tensor) -> Tensor:
        """Raw fp32 logits at the marked positions (of a first stretch of the columns), [N, V]."""
        return self.logits_of(predicts_BT)


def new_q(
    kind: str, model: PreTrainedModel, *, beta: float = 1.0, suppressed_ids: tuple[int, ...] = ()
) -> QModel:
    """A Q-function on this model (give it a copy: it is trained in place) that has learnt nothing yet: its
    head is 0. Raises ValueError for an unknown kind and for a beta that is not above 0."""
    if kind not in KINDS:
        raise ValueError(f"q kind {kind!r} is unknown: use one of {', '.join(KINDS)}")
    if beta <= 0:
        raise ValueError(f"beta {beta}: the log-ratio's weight must lie above 0")
    head = nn.Linear(model.config.hidden_size, 1)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    head.weight.requires_grad_(kind != "implicit_prm")
    return QModel(kind, model, head, beta, tuple(suppressed_ids))


def turn_places(turn_BT: Tensor, *, turns: int) -> TurnPlaces:
    """Where every turn begins and ends. Raises ValueError for a turn index that is not below `turns`."""
    if turn_BT.numel() and int(turn_BT.max()) >= turns:
        raise ValueError(f"turn index {int(turn_BT.max())} does not fit {turns} turns: raise `turns`")
    rows, width = turn_BT.shape
    place_BT = torch.arange(width).expand(rows, width)
    slot_BT = torch.where(turn_BT >= 0, turn_BT, turns)
    first_BK = torch.full((rows, turns + 1), width).scatter_reduce(1, slot_BT, place_BT, "amin")[:, :turns]
    last_BK = torch.full((rows, turns + 1), -1).scatter_reduce(1, slot_BT, place_BT, "amax")[:, :turns]
    return TurnPlaces(torch.where(last_BK >= 0, first_BK, -1), last_BK)


def run_trunk(model: PreTrainedModel, tokens_BT: Tensor) -> Trunk:
    """One pass of any causal language model, keeping its last hidden states."""
    if model.config.model_type not in PLAIN_HEADS:
        found = model(input_ids=tokens_BT, use_cache=False, output_hidden_states=True)
        logits_BTV = found.logits
        return Trunk(
            found.hidden_states[-1].float(), lambda at_BT: logits_BTV[:, : at_BT.shape[1]][at_BT].float()
        )
    hidden_BTH = model.base_model(input_ids=tokens_BT, use_cache=False).last_hidden_state
    head = model.get_output_embeddings()
    return Trunk(hidden_BTH.float(), lambda at_BT: head(hidden_BTH[:, : at_BT.shape[1]][at_BT]).float())


@torch.no_grad()
def read_all(q: QModel, conversations: ConversationTokens, *, turns: int) -> QReading:
    """`QModel.read` of a whole data set without gradient, rows of similar length together."""
    rows, width = conversations.tokens_BT.shape
    logprobs_BT, heads_BK = torch.zeros(rows, width), torch.zeros(rows, turns)
    for picked in conversations.lengths_B.argsort(stable=True).split(SCORING_BATCH):
        part = rows_of(conversations, picked)
        found = q.read(part, turns=turns)
        heads_BK[picked] = found.heads_BK
        if found.logprobs_BT is not None:
            logprobs_BT[picked, : part.tokens_BT.shape[1]] = found.logprobs_BT
    happened_BK = turn_places(conversations.turn_BT, turns=turns).happened_BK
    return QReading(logprobs_BT if q.compares else None, heads_BK, happened_BK)


def rows_of(conversations: ConversationTokens, picked_N: Tensor) -> ConversationTokens:
    """Some conversations, cut to the longest of them."""
    lengths_N = conversations.lengths_B[picked_N]
    width = int(lengths_N.max()) if len(lengths_N) else 0
    return ConversationTokens(
        conversations.tokens_BT[picked_N, :width], conversations.turn_BT[picked_N, :width], lengths_N
    )


def score_both(
    q: QModel,
    prm: ImplicitRewardModel,
    *,
    conversations: ConversationTokens,
    q_reference_BT: Tensor,
    prm_reference_BT: Tensor,
    turns: int,
) -> tuple[QScores, Tensor]:
    """Q's scores and the reward model's S_k, [B, K]: one pass when they share their model, else two."""
    reading = read_all(q, conversations, turns=turns)
    scores = q.assemble(reading, conversations.turn_BT, reference_logprobs_BT=q_reference_BT)
    shared = prm.model is q.model and prm.suppressed_ids == q.suppressed_ids
    known_BT = reading.logprobs_BT if shared else None
    return scores, implicit_scores(
        prm.logprobs(conversations) if known_BT is None else known_BT,
        prm_reference_BT,
        turn_index_BT=conversations.turn_BT,
        beta=prm.beta,
        turns=turns,
    )


def _head_outputs(head: nn.Linear, hidden_BTH: Tensor, *, at_BK: Tensor) -> Tensor:
    picked_BKH = hidden_BTH.gather(1, at_BK.clamp(min=0)[:, :, None].expand(-1, -1, hidden_BTH.shape[2]))
    return torch.where(at_BK >= 0, head(picked_BKH)[..., 0], 0)


def _check_predicted(places: TurnPlaces) -> None:
    if bool((places.first_BK == 0).any()):
        row = int((places.first_BK == 0).nonzero()[0, 0])
        raise ValueError(f"row {row}: its first token has no token before it; a stream starts with a prompt")


def _before_turn(places: TurnPlaces) -> Tensor:
    return torch.where(places.happened_BK, places.first_BK - 1, -1)


def _dueling(reading: QReading, ratios_BK: Tensor) -> QScores:
    return QScores(reading.heads_BK, ratios_BK, reading.heads_BK + ratios_BK)


def _scalar(reading: QReading, ratios_BK: Tensor) -> QScores:
    return QScores(None, None, reading.heads_BK)


def _prefix_sums(reading: QReading, ratios_BK: Tensor) -> QScores:
    after_BK = torch.where(reading.happened_BK, reading.heads_BK + ratios_BK.cumsum(dim=1), 0)
    return QScores(torch.where(reading.happened_BK, after_BK - ratios_BK, 0), ratios_BK, after_BK)


def _value(reading: QReading, ratios_BK: Tensor) -> QScores:
    return QScores(reading.heads_BK, None, reading.heads_BK)


_COMPARING = frozenset({"dueling_logratio", "implicit_prm"})
_ASSEMBLED: Mapping[str, Callable[[QReading, Tensor], QScores]] = MappingProxyType(
    {
        "dueling_logratio": _dueling,
        "scalar_head": _scalar,
        "implicit_prm": _prefix_sums,
        "value": _value,
    }
)
_HEAD_PLACES: Mapping[str, Callable[[TurnPlaces], Tensor]] = MappingProxyType(
    {
        "dueling_logratio": _before_turn,
        "scalar_head": lambda places: places.last_BK,
        "implicit_prm": _before_turn,
        "value": _before_turn,
    }
)
KINDS = tuple(_ASSEMBLED)
