"""The domains that exist, by name: add one here and the contract tests of the environments run on it."""

from collections.abc import Callable
from dataclasses import dataclass

from itpo_core.envs.base import Environment, LoggingPolicy, TurnOracle
from itpo_core.envs.sales import SalesEnvironment
from itpo_core.envs.sales_language import vocabulary
from itpo_core.envs.sales_logs import ScriptedSalesperson
from itpo_core.envs.sales_oracle import SalesOracle


@dataclass(frozen=True, slots=True)
class Domain:
    """A domain ready for use. `oracle` and `logging_policy` are None where the domain has none.

    `vocabulary` is every word of its scripted speakers, sorted; empty where language is open.
    """

    environment: Environment
    oracle: TurnOracle | None
    logging_policy: LoggingPolicy | None
    vocabulary: tuple[str, ...]


def sales(preset: str) -> Domain:
    """The sales domain. Raises ValueError for an unknown preset."""
    return Domain(
        environment=SalesEnvironment(preset),
        oracle=SalesOracle(preset),
        logging_policy=ScriptedSalesperson(preset),
        vocabulary=vocabulary(preset),
    )


ENVIRONMENTS: dict[str, Callable[[str], Domain]] = {"sales": sales}
