"""The log formats that can be imported, by name."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from itpo_core.logs import mtmeddialog, openai_messages, tau_bench
from itpo_core.logs.parsed import Parse


@dataclass(frozen=True, slots=True)
class LogFormat:
    """How to read one shape of log: its parser, the outcome column it usually has, what its ids mean."""

    parse: Parse
    outcome_column: str
    ids_span_files: bool


LOG_FORMATS: Mapping[str, LogFormat] = MappingProxyType(
    {
        "openai": LogFormat(openai_messages.parse, "outcome", ids_span_files=True),
        # Task and trial numbers start again in every result file.
        "tau_bench": LogFormat(tau_bench.parse, "reward", ids_span_files=False),
        "mtmeddialog": LogFormat(mtmeddialog.parse, "outcome", ids_span_files=True),
    }
)
