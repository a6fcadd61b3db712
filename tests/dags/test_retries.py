"""Which errors a task is tried again for, and when it is ended."""

import importlib
from datetime import timedelta

import pytest
from airflow.sdk import RetryAction

from dags.stages import HOPELESS, RETRIES, time_limit
from storage.errors import MissingShard, StorageFull


def action_of(error: BaseException) -> RetryAction:
    return RETRIES["retry_policy"].evaluate(error, try_number=1, max_tries=3).action


@pytest.mark.parametrize("name", HOPELESS)
def test_an_error_that_would_come_again_fails_at_once(name: str) -> None:
    module, _, kind = name.rpartition(".")
    error = getattr(importlib.import_module(module), kind)

    assert action_of(error("the same again")) is RetryAction.FAIL


@pytest.mark.parametrize("error", [MissingShard("not yet"), StorageFull("free some"), OSError("broken pipe")])
def test_what_may_pass_is_tried_again(error: Exception) -> None:
    assert action_of(error) is RetryAction.DEFAULT


def test_seconds_of_the_environment_are_a_tasks_time_limit() -> None:
    assert time_limit("1.5") == timedelta(seconds=1.5)


@pytest.mark.parametrize("given", ["0", "-1", "nan", "inf", "1e300", "a day", ""])
def test_a_time_limit_that_is_none_is_refused(given: str) -> None:
    with pytest.raises(ValueError, match=r"ITPO_STAGE_TIMEOUT_S .* give seconds above 0, such as 86400"):
        time_limit(given)
