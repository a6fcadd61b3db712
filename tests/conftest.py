"""Settings of every test: one thread, no waiting threads, honest skips."""

import os
from collections.abc import Generator
from pathlib import Path

# Before anything imports torch: with two test processes on two cores, spinning threads only cost.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import pytest
from hypothesis import settings

pytest_plugins = ["tests.storage.servers", "tests.storage.faulty_proxy"]

settings.register_profile("shared_machine", deadline=None, max_examples=50)
settings.register_profile("ci", deadline=None, max_examples=100, derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") == "true" else "shared_machine")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI a missing tool is a failure: only tests on real data, which CI never has, may be skipped."""
    report = yield
    may_skip = os.environ.get("CI") != "true" or item.get_closest_marker("real_data") is not None
    if (
        report.skipped
        and not may_skip
        and call.excinfo is not None
        and call.excinfo.errisinstance(pytest.skip.Exception)
    ):
        report.outcome = "failed"
        report.longrepr = f"skipped although CI=true: {call.excinfo.value}"
    return report


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Bytes take the name of their argument: what they hold (a time, by gzip) may differ between workers."""
    return argname if isinstance(val, bytes) else None


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder that ITPO_REAL_DATA names; the test is skipped without it."""
    named = os.environ.get("ITPO_REAL_DATA")
    if named is None:
        pytest.skip("ITPO_REAL_DATA is not set")
    return Path(named)
