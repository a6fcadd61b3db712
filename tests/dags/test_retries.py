"""Which errors a task is tried again for."""

import importlib

import pytest
from airflow.sdk import RetryAction

from dags.stages import HOPELESS, RETRIES
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
