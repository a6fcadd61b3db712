"""Offline credit: policy version 0 goes on learning from logged turns, each by what it was worth."""

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING

from itpo_core.identifiers import derive_seed
from itpo_core.reward_model import FitSettings, ImplicitRewardModel, reference_logprobs
from itpo_core.streams import turn_token_counts
from itpo_core.tiny_policy import suppressed_ids
from itpo_core.trainers.weighted_tuning import TuningSettings, tune_on_turns, turn_weights
from tasks.config import ConfigError
from tasks.context import Context
from tasks.kept import KeptConversation, labelled

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

    from itpo_core.reward_fit import LabelledStreams


def inputs(context: Context) -> dict[str, str]:
    """What else decides version 0: the reward model's section, when turns are weighed by one."""
    weighed = context.config.warm_start.offline_credit == "turn_weighted"
    return context.config.section("reward") if weighed else {}


def tune(
    context: Context, model: "PreTrainedModel", *, dialogues: Sequence[KeptConversation]
) -> dict[str, float]:
    """Tune the model in place on the training fold, as configured; figures, none when nothing is asked for.

    Raises ConfigError when no conversation of the training fold has an outcome above 0 to learn from.
    """
    chosen = context.config.warm_start
    if chosen.offline_credit == "none":
        return {}
    logs = labelled([each for each in dialogues if each.fold == "train"])
    weights_BK = turn_weights_of(context, model, logs=logs)
    losses = tune_on_turns(
        model,
        logs.tokens,
        weights_BK=weights_BK,
        settings=TuningSettings(
            epochs=chosen.offline_epochs,
            learning_rate=chosen.offline_learning_rate,
            seed=derive_seed(context.config.seed, "offline-credit"),
        ),
    )
    counted = weights_BK[weights_BK > 0]
    return {
        "offline_first_loss": losses[0],
        "offline_last_loss": losses[-1],
        "offline_turns": float(len(counted)),
        # How many equally weighed turns would teach as much: (sum w)^2 / sum w^2.
        "offline_effective_turns": float(counted.sum().square() / counted.square().sum()),
    }


def turn_weights_of(context: Context, model: "PreTrainedModel", *, logs: "LabelledStreams") -> "Tensor":
    """Weights with mean 1 over the turns that happened; those of failures are 0 unless all count alike."""
    chosen = context.config.warm_start
    happened_BK = turn_token_counts(logs.streams) > 0
    weights_BK = happened_BK.float()
    if chosen.offline_credit != "continued":
        weights_BK = weights_BK * logs.labels_B.nan_to_num(0.0)[:, None]
    if chosen.offline_credit == "turn_weighted":
        scores_BK = _implicit_scores(context, model, logs)
        weights_BK = weights_BK * turn_weights(scores_BK, happened_BK, sharpness=chosen.offline_sharpness)
    if not bool((weights_BK > 0).any()):
        raise ConfigError(
            f"warm_start.offline_credit {chosen.offline_credit!r}: no logged conversation that may train"
            " succeeded; set it to 'none', or bring logs with outcomes above 0"
        )
    return weights_BK / weights_BK[happened_BK].mean()


def _implicit_scores(context: Context, model: "PreTrainedModel", logs: "LabelledStreams") -> "Tensor":
    """The turn scores of a reward model fitted to these logs, with the model so far as its reference."""
    reward, never = context.config.reward, suppressed_ids(model)
    prm = ImplicitRewardModel(copy.deepcopy(model), reward.beta, never)
    reference_BT = reference_logprobs(model, logs.tokens, suppressed_ids=never)
    prm.fit(
        logs.tokens,
        logs.labels_B,
        reference_logprobs_BT=reference_BT,
        settings=FitSettings(
            learning_rate=reward.learning_rate,
            epochs=reward.first_epochs,
            minibatch=reward.minibatch,
            seed=derive_seed(context.config.seed, "offline-reward"),
        ),
    )
    turns = turn_token_counts(logs.streams).shape[1]
    return prm.score(logs.tokens, reference_logprobs_BT=reference_BT, turns=turns)
