"""The sections of the configuration that say where iteration 0 comes from."""

from typing import Literal

from tasks.config_parts import Count, Positive, Section

# Those of itpo_core.logs.personal_data, which is not loaded while the scheduler parses a DAG file.
DEFAULT_REGIONS = ("US", "GB", "DE", "FR", "ES", "IT", "PT", "NL", "IN", "BR")
# The names of itpo_core.logs.formats, and `auto`: each file's format is found out.
LogFormatName = Literal[
    "auto",
    "openai",
    "tau_bench",
    "mtmeddialog",
    "wildchat",
    "lmsys",
    "sharegpt",
    "openai_responses",
    "openai_batch",
    "anthropic",
    "collabllm",
    "verl",
    "trl",
    "tau2",
    "langsmith",
    "langfuse",
    "otel",
    "taskmaster",
]


class Logs(Section):
    """Where iteration 0 comes from: log files to import, or scripted logs written when `paths` is empty."""

    later = frozenset({"user_column", "personal_data", "phone_regions", "ip_addresses"})
    places = frozenset({"workers"})  # whoever reads, the rows are the same
    paths: tuple[str, ...] = ()
    # Not `auto`, which `itpo import` takes: this section is an input of the commits that were made with it.
    format: LogFormatName = "openai"
    outcome_column: str = "outcome"
    user_column: str = "user"  # who spoke; this default also looks into user_id and the metadata
    # E-mail, telephone, payment cards, IBANs, national numbers: `keep` does not look for them.
    personal_data: Literal["keep", "mask", "quarantine"] = "keep"
    phone_regions: tuple[str, ...] = DEFAULT_REGIONS  # whose numbers are known without their country code
    ip_addresses: bool = False  # are personal data too; versions of programs look like them
    # Processes that read the files ahead of the import; `auto`: none below 32 MB, else a core each, up to 4
    workers: Count | Literal["auto"] = "auto"
    scripted_conversations: Positive = 1500
    scripted_requests: Count = 2000  # extra short conversations whose customer says everything at once
    supervised_only_personas: tuple[str, ...] = ("direct_request",)  # the reward model does not see these


class Outcomes(Section):
    """What became of the imported conversations, told later, in files of their own; see docs/real-logs.md."""

    paths: tuple[str, ...] = ()
    # What names a conversation: `id`, its id in the log; `conversation_id`, that of the lake; or one of its
    # facts by a dotted name, `metadata.order_id`.
    key: str = "id"
    key_column: str = "key"  # where a row holds it
    outcome_column: str = "outcome"
    newest_wins: bool = False  # of outcomes that differ and all have a time; else they leave it unscored
