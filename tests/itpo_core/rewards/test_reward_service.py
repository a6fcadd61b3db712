"""The reward service over real sockets, with a reward that counts letters."""

import math
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from itpo_core.rewards.answers import Question, RewardRefusedError
from itpo_core.rewards.client import RewardServiceError, ask, health, wait_until_healthy
from itpo_core.rewards.service import RewardService


def length_of(questions: Sequence[Question]) -> list[float]:
    """The reward of a reply is its length; what is called broken has none."""
    return [math.nan if "broken" in one.reply else float(len(one.reply)) for one in questions]


def test_a_service_answers_in_order_and_counts() -> None:
    with RewardService(length_of, "q-3") as service:
        found = ask(service.url, ["abc", "abcd"], prompts=["a", "a"], deadline_s=10)
        told = health(service.url)

    assert found == [2.0, 3.0]
    assert (told["version"], told["answered"], told["rewards"], told["refused"]) == ("q-3", 1, 2, 0)


def test_a_reply_without_a_reward_is_an_error_and_its_neighbours_are_not() -> None:
    with RewardService(length_of, "q-3", patience_s=0.2) as service, ThreadPoolExecutor(2) as pool:
        good = pool.submit(ask, service.url, ["abc"], prompts=["a"], deadline_s=10)
        bad = pool.submit(ask, service.url, ["a broken"], prompts=["a"], deadline_s=10)

        assert good.result() == [2.0]
        with pytest.raises(RewardRefusedError, match=r"422.*no numbers"):
            bad.result()
        assert health(service.url)["refused"] == 1


def test_calls_that_arrive_together_share_a_pass() -> None:
    with RewardService(length_of, "q-3", patience_s=0.5, most=4) as service, ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(ask, service.url, ["ab"], prompts=["a"], deadline_s=10) for _ in range(4)]
        rewards = [one.result() for one in asked]

        assert rewards == [[1.0]] * 4
        assert health(service.url)["batches"] < 4


def test_an_answer_that_takes_too_long_is_an_error_with_the_deadline_in_it() -> None:
    released = threading.Event()

    def slow(questions: Sequence[Question]) -> list[float]:
        released.wait(10)
        return length_of(questions)

    with RewardService(slow, "q-3", deadline_s=0.1) as service:
        with pytest.raises(RewardRefusedError, match=r"504.*over 0\.1 s"):
            ask(service.url, ["ab"], prompts=["a"], deadline_s=10)
        late = health(service.url)["late"]
        released.set()

    assert late == 1


def test_a_model_that_gives_too_few_rewards_answers_nothing() -> None:
    with (
        RewardService(lambda questions: [], "q-3") as service,
        pytest.raises(RewardRefusedError, match="0 rewards for 1 questions"),
    ):
        ask(service.url, ["ab"], prompts=["a"], deadline_s=10)


def test_a_service_that_went_down_is_an_error_of_its_own() -> None:
    with RewardService(length_of, "q-3") as service:
        url = service.url

    with pytest.raises(RewardServiceError, match="see whether it runs"):
        ask(url, ["ab"], prompts=["a"], deadline_s=1)


def test_a_service_of_another_version_is_not_taken() -> None:
    with RewardService(length_of, "q-3") as service:
        assert wait_until_healthy(service.url, "q-3", deadline_s=5)["status"] == "ok"
        with pytest.raises(RewardServiceError, match="serves 'q-3', not 'q-4'"):
            wait_until_healthy(service.url, "q-4", deadline_s=5)


def test_waiting_for_a_service_that_never_comes_ends() -> None:
    started = time.monotonic()

    with pytest.raises(RewardServiceError):
        wait_until_healthy("http://127.0.0.1:9/reward", "q-3", deadline_s=0.3)

    assert time.monotonic() - started < 5
