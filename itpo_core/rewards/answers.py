"""What a reward service is asked and answers, and what of it is refused. Knows neither Q nor the network."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

# Far more than a step's conversations; a body beyond it is no question of a trainer.
MAX_QUESTIONS = 4096


class RewardRefusedError(ValueError):
    """There is no reward to give; the message says why. Never answered with a number."""


@dataclass(frozen=True, slots=True)
class Question:
    """A prompt as the policy read it, and query: the prompt with the policy's reply. With special tokens."""

    query: str
    prompt: str

    @property
    def reply(self) -> str:
        """What the policy said. Raises RewardRefusedError when the query does not begin with its prompt."""
        if not self.query.startswith(self.prompt):
            raise RewardRefusedError(
                f"the query {self.query[:60]!r} does not begin with its prompt {self.prompt[:60]!r}: prompts"
                " must be texts that the tokenizer gives back unchanged"
            )
        return self.query[len(self.prompt) :]


@dataclass(frozen=True, slots=True)
class TokenQuestion:
    """The same as ids: what the policy read, and what it said. Nothing is lost on the way through a text."""

    history: tuple[int, ...]
    said: tuple[int, ...]


Asked = Question | TokenQuestion


def parsed(body: bytes) -> list[Asked]:
    """The questions of a request: texts in `query` and `prompts`, or ids in `histories` and `replies`.

    Raises RewardRefusedError, naming what is wrong with it.
    """
    try:
        found = json.loads(body)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise RewardRefusedError(f"the body is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise RewardRefusedError(
            f"the body is a {type(found).__name__}; send an object with query and prompts"
        )
    questions = _of_tokens(found) if "histories" in found else _of_texts(found)
    if not 0 < len(questions) <= MAX_QUESTIONS:
        raise RewardRefusedError(f"{len(questions)} queries: send 1 to {MAX_QUESTIONS}")
    return questions


def checked(rewards: Sequence[float], *, count: int) -> list[float]:
    """The rewards, if there are `count` and all are finite. Raises RewardRefusedError otherwise."""
    if len(rewards) != count:
        raise RewardRefusedError(f"{len(rewards)} rewards for {count} questions")
    broken = [reward for reward in rewards if not math.isfinite(reward)]
    if broken:
        raise RewardRefusedError(
            f"{len(broken)} of {count} rewards are no numbers (the first is {broken[0]})"
        )
    return [float(reward) for reward in rewards]


def answer(rewards: Sequence[float]) -> dict[str, object]:
    """The mapping that OpenRLHF reads, from a service as from a reward file."""
    return {"rewards": list(rewards), "scores": list(rewards), "extra_logs": {"q": list(rewards)}}


def rewards_of(answered: object, *, count: int) -> list[float]:
    """The rewards in an answer. Raises RewardRefusedError when it holds none, or other than `count`."""
    if not isinstance(answered, Mapping) or not isinstance(answered.get("rewards"), list):
        raise RewardRefusedError(f"the service answered {str(answered)[:200]!r}, without a list of rewards")
    rewards = answered["rewards"]
    if not all(isinstance(reward, int | float) for reward in rewards):
        raise RewardRefusedError(f"the service answered rewards that are no numbers: {str(rewards)[:200]}")
    return checked(rewards, count=count)


def _of_texts(found: Mapping[str, object]) -> list[Asked]:
    queries, prompts = (_texts(found, name) for name in ("query", "prompts"))
    if len(queries) != len(prompts):
        raise RewardRefusedError(f"{len(queries)} queries but {len(prompts)} prompts: send one prompt each")
    return [Question(query, prompt) for query, prompt in zip(queries, prompts, strict=True)]


def _of_tokens(found: Mapping[str, object]) -> list[Asked]:
    histories, replies = (_ids(found, name) for name in ("histories", "replies"))
    if len(histories) != len(replies):
        raise RewardRefusedError(f"{len(replies)} replies but {len(histories)} histories: send one each")
    return [TokenQuestion(history, said) for history, said in zip(histories, replies, strict=True)]


def _ids(found: Mapping[str, object], name: str) -> list[tuple[int, ...]]:
    rows = found.get(name)
    if not isinstance(rows, list) or not all(isinstance(row, list) for row in rows):
        raise RewardRefusedError(f"{name!r} must be a list of lists of token ids")
    # `True` is an int to Python, and no token.
    if not all(type(token) is int and token >= 0 for row in rows for token in row):
        raise RewardRefusedError(f"{name!r} must hold token ids, integers from 0 on")
    return [tuple(row) for row in rows]


def _texts(found: Mapping[str, object], name: str) -> list[str]:
    texts = found.get(name)
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise RewardRefusedError(f"{name!r} must be a list of texts")
    return texts
