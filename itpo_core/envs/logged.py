"""Users out of a log file of no domain: each begins as a logged user did, and wants what he wanted.

Nothing here speaks or scores. A language model plays the user and another one judges: `LlmUsers` and
`LlmJudges` on top of this. Scenarios whose tasks were held out are the unseen ones, unless somebody of the
other tasks begins and goes on in the same words: what he wants is trained on, whatever his task is called.
"""

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from itpo_core.envs.base import Reply
from itpo_core.identifiers import stable_id
from itpo_core.types import Message, Outcome, Role, Scenario, Split, StopReason, Unscored

NAME, VERSION = "logs", "2"
MOST_TOLD, LONGEST = 6, 400  # later messages of the logged user in a brief, characters of each
NO_RULE = "logs of no domain have no rule that scores"


@dataclass(frozen=True, slots=True)
class LoggedTalk:
    """A logged conversation whose user can be played. `task` names what it was about."""

    task: str
    messages: tuple[Message, ...]
    held_out: bool


class LoggedEnvironment:
    """Scenarios out of logged conversations, which are read when scenarios are asked for, and only then.

    The digest identifies how a conversation becomes a user; the conversations themselves are in every row.
    """

    def __init__(self, talks: Callable[[], Sequence[LoggedTalk]], max_turns: int) -> None:
        self.name = NAME
        self.version = VERSION
        self.max_turns = max_turns
        self.digest = stable_id(NAME, VERSION, max_turns, MOST_TOLD, LONGEST)
        self._talks = talks

    def scenarios(self, split: Split, *, count: int, seed: int) -> list[Scenario]:
        """`count` logged beginnings of the split in a shuffled order, none of them twice.

        Raises ValueError where there are fewer.
        """
        pool = self._pool[split]
        if count > len(pool):
            raise ValueError(f"{len(pool)} logged users begin {split.value} talks, {count} are asked for")
        return random.Random(seed).sample(pool, count)

    def count(self, split: Split) -> int:
        """How many scenarios of the split there are."""
        return len(self._pool[split])

    def user(self, scenario: Scenario, *, seed: int) -> "LoggedUser":
        """Somebody who says nothing: see `LoggedUser`."""
        return LoggedUser(self.max_turns)

    def outcome(self, scenario: Scenario, messages: Sequence[Message]) -> Outcome:
        """Unknown: a log file holds no rule."""
        return Unscored(NO_RULE)

    @cached_property
    def _pool(self) -> dict[Split, list[Scenario]]:
        made = [made for talk in self._talks() if (made := scenario_of(talk)) is not None]
        trained_on = {each.latent_json for each in made if each.split is Split.SEEN}
        unseen = [each for each in made if each.split is Split.UNSEEN and each.latent_json not in trained_on]
        return {Split.SEEN: [each for each in made if each.split is Split.SEEN], Split.UNSEEN: unseen}


@dataclass(frozen=True, slots=True)
class LoggedUser:
    """The code's part of a user: when the turn limit ends a conversation. No word of the assistant does."""

    max_turns: int

    def reply(self, messages: Sequence[Message]) -> Reply:
        """Leave at the limit; before it nothing is decided, and nothing is said."""
        turns = sum(message.role is Role.ASSISTANT for message in messages)
        return Reply(None, StopReason.TURN_LIMIT if turns >= self.max_turns else StopReason.USER_LEFT)


def scenario_of(talk: LoggedTalk) -> Scenario | None:
    """How the conversation began, and what its user said later; None where no user began it."""
    first = next((at for at, each in enumerate(talk.messages) if each.role is Role.ASSISTANT), None)
    opening = talk.messages[:first]
    begun = [message.content for message in opening if message.role is Role.USER]
    if not begun or not begun[-1].strip():
        return None
    later = [m.content[:LONGEST] for m in talk.messages[len(opening) :] if m.role is Role.USER]
    told = [text for text in later if text.strip()][:MOST_TOLD]
    return Scenario(
        scenario_id=talk.task,
        domain=NAME,
        split=Split.UNSEEN if talk.held_out else Split.SEEN,
        opening=opening,
        latent_json=json.dumps({"opening": begun[-1], "told": told}, ensure_ascii=False),
    )
