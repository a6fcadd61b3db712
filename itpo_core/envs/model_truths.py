"""Turn truths beside users that language models play: a yardstick, and none where it cannot be laid on."""

from collections.abc import Sequence

from itpo_core.envs.base import TurnOracle
from itpo_core.types import Message, Scenario, TurnTruth


class Yardstick:
    """The rule-based truths of a domain for conversations whose users a model played (see `TurnOracle`)."""

    def __init__(self, oracle: TurnOracle) -> None:
        self._oracle = oracle

    def truths(self, scenario: Scenario, messages: Sequence[Message]) -> list[TurnTruth]:
        """One truth per assistant message; none at all where the user said what no rule-based user could
        (a complaint again as if it were news, symptoms that no illness of his has together)."""
        try:
            return self._oracle.truths(scenario, messages)
        except ValueError:
            return []

    def policy_advantages(
        self, truths: Sequence[Sequence[TurnTruth]], *, personas: Sequence[str] | None = None
    ) -> list[list[float]]:
        """Those of the rule-based users."""
        return self._oracle.policy_advantages(truths, personas=personas)
