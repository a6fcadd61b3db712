"""What stands beside a refused row of a log can be stored, whatever the log says."""

from itpo_core.logs.parsed import Rejected, RejectReason
from storage.rows import to_table
from tasks.logged_rows import quarantine_rows


def test_half_a_character_in_a_reason_is_written_as_its_code() -> None:
    refused = Rejected((3,), RejectReason.REQUEST_FAILED, "the call of the model failed: \ud800 größer")

    (row,) = quarantine_rows("a.jsonl", refused, raw={3: "{}"})

    assert row["reason"] == "request_failed: the call of the model failed: \\ud800 größer"
    assert to_table("quarantine", [row]).num_rows == 1
