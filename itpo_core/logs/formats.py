"""The log formats that can be imported, by name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from itpo_core.logs import (
    anthropic_messages,
    collabllm,
    langfuse,
    langsmith,
    lmsys,
    mtmeddialog,
    openai_batch,
    openai_messages,
    openai_responses,
    otel,
    sharegpt,
    taskmaster,
    tau2,
    tau_bench,
    trl,
    verl,
    wildchat,
)
from itpo_core.logs.folding import folded
from itpo_core.logs.parsed import Parse, Row
from itpo_core.logs.talks import whole


@dataclass(frozen=True, slots=True)
class LogFormat:
    """How to read one shape of log.

    `claims` says of one row, cheaply, whether it looks like this format. `outcome_column` is where it usually
    keeps an outcome. `ids_span_files` says whether an id means the same conversation in every file.
    `records` takes a row apart that holds several records; None where a row is a record. `joins_files` says
    that a conversation may lie in several files; `rows_alone` that every row is a conversation of its own or
    none, whatever other rows say.
    """

    parse: Parse
    claims: Callable[[Row], bool]
    outcome_column: str = "outcome"
    ids_span_files: bool = True
    records: Callable[[Row], list[object]] | None = None
    joins_files: bool = False
    rows_alone: bool = False


LOG_FORMATS: Mapping[str, LogFormat] = MappingProxyType(
    {
        "openai": LogFormat(openai_messages.parse, openai_messages.claims, rows_alone=True),
        # Task and trial numbers start again in every result file.
        "tau_bench": LogFormat(
            tau_bench.parse, tau_bench.claims, "reward", ids_span_files=False, rows_alone=True
        ),
        "mtmeddialog": LogFormat(mtmeddialog.parse, mtmeddialog.claims),
        "wildchat": LogFormat(whole("wildchat", wildchat.read), wildchat.claims, rows_alone=True),
        "lmsys": LogFormat(whole("lmsys", lmsys.read), lmsys.claims, rows_alone=True),
        # Its ids are numbers or names that every set gives anew.
        "sharegpt": LogFormat(
            whole("sharegpt", sharegpt.read), sharegpt.claims, ids_span_files=False, rows_alone=True
        ),
        "openai_responses": LogFormat(openai_responses.parse, openai_responses.claims, joins_files=True),
        "openai_batch": LogFormat(openai_batch.parse, openai_batch.claims, joins_files=True),
        "anthropic": LogFormat(
            whole("anthropic", anthropic_messages.read), anthropic_messages.claims, rows_alone=True
        ),
        "collabllm": LogFormat(
            folded(collabllm.request_of), collabllm.claims, "score", records=collabllm.records
        ),
        "verl": LogFormat(whole("verl", verl.read), verl.claims, "score", records=verl.records),
        "trl": LogFormat(whole("trl", trl.read), trl.claims, "label", records=trl.records),
        "tau2": LogFormat(whole("tau2", tau2.read), tau2.claims, "reward_info.reward", records=tau2.records),
        "langsmith": LogFormat(
            folded(langsmith.request_of), langsmith.claims, records=langsmith.records, joins_files=True
        ),
        "langfuse": LogFormat(
            folded(langfuse.request_of), langfuse.claims, records=langfuse.records, joins_files=True
        ),
        "otel": LogFormat(folded(otel.request_of), otel.claims, records=otel.records, joins_files=True),
        "taskmaster": LogFormat(
            whole("taskmaster", taskmaster.read), taskmaster.claims, "reward", rows_alone=True
        ),
    }
)
