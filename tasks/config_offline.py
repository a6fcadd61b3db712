"""The section of the configuration for logs of no domain: how they are read, and the first policy step."""

from typing import Annotated, Any, Literal

from pydantic import Field

from tasks.config_parts import NonNegative, Positive, PositiveFloat, Section

NO_DOMAIN = "logs"  # the name of a domain that is a log file and nothing else


class Offline(Section):
    """With `domain.name = "logs"`: version 0 imitates the file, iteration 1 is a step on its turns.

    - `vocabulary_size`: of the byte-pair tokenizer that is trained on the file. `piece_tokens`: version 0
      learns from pieces of that length; to speak like somebody it needs no memory of thousands of tokens.
    - `credit`: which logged turns the step repeats. `turn_weighted`: those of successes, by
      exp(sharpness z), z the turn's standardised implicit reward; `filtered`: those of successes alike;
      `continued`: all alike, a control.
    """

    vocabulary_size: Annotated[int, Field(ge=300)] = 2048
    piece_tokens: Annotated[int, Field(ge=2)] = 1024
    credit: Literal["continued", "filtered", "turn_weighted"] = "turn_weighted"
    sharpness: NonNegative = 1.0
    epochs: Positive = 2
    learning_rate: PositiveFloat = 1e-3
    minibatch: Positive = 8

    def reading(self) -> dict[str, Any]:  # Any: JSON values
        """What of it decides version 0."""
        return self.model_dump(mode="json", include={"vocabulary_size", "piece_tokens"})


def fault_of_offline(name: str, *, paths: tuple[str, ...], user: str, judge: str) -> str | None:
    """Why an experiment could not start from logs of no domain, with the remedy; None when it can."""
    if name != NO_DOMAIN:
        return None
    if not paths:
        return 'domain.name "logs" is a log file and nothing else: name the files in logs.paths'
    if (user == "llm") != (judge == "llm"):
        return (
            f'domain.name "logs" has no users and no judge of its own: user.kind {user!r} and judge.kind '
            f'{judge!r} must both be "llm", or neither'
        )
    return None
