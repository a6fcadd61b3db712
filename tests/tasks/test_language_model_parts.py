"""Language models in a configuration: what is data, what is a place, what stops, what is counted."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from itpo_core.envs.catalogue import sales
from itpo_core.llm.cassettes import Cassette
from itpo_core.types import Conversation, ModelCall, Scored, StopReason
from storage import commits
from storage.rows import Table
from tasks import simulators
from tasks.budgets import call_figures, check_evaluation, check_rollouts
from tasks.cassettes import path_of, read_tape, tape_of
from tasks.config import Config, ConfigError
from tasks.context import Context
from tasks.records import Lineage, call_rows
from tasks.refusals import FailureBudgetError
from tasks.report_models import cost
from tests.itpo_core.envs.sales_scenes import laptop_scenario
from tests.loop.tiny import tiny_config
from tests.storage.lake_rows import rows_of

LLM = {"user__kind": "llm", "judge__kind": "llm"}
CALL = ModelCall("user", "answered", None, None, 1, 100, 10, None, "m")


def config(**changes: Any) -> Config:
    return tiny_config("lake", **changes)


def digests(**changes: Any) -> tuple[str, str, str]:
    """Simulator, judge, and the inputs of a commit."""
    chosen = config(**LLM, **changes)
    played = simulators.described(sales("small"), chosen)
    return played.simulator_digest, played.judge_version, str(chosen.simulation)


def test_rules_play_by_default_and_leave_no_trace() -> None:
    plain = config()
    played = simulators.described(sales("small"), plain)

    assert (plain.models, plain.simulation) == ({}, {})
    assert played.simulator_digest == sales("small").environment.digest
    assert played.judge_version == "sales-rule-1" or played.judge_version.startswith("sales-rule-")
    assert config(user__model="other", cassettes__mode="record").digest == plain.digest


@pytest.mark.parametrize(
    "place",
    [
        {"user__address": "http://10.0.0.7:9/v1"}, {"user__concurrency": 3}, {"user__deadline_s": 5.0},
        {"judge__tries": 1}, {"judge__api_key_env": "KEY"}, {"cassettes__mode": "replay"},
    ],
)  # fmt: skip
def test_an_address_is_a_place_and_a_prompt_is_not(place: dict[str, Any]) -> None:
    assert digests(**place) == digests()
    assert config(**LLM, **place).digest == config(**LLM).digest


@pytest.mark.parametrize(
    ("change", "moves"),
    [
        ({"user__model": "other"}, (True, False, True)), ({"user__temperature": 0.1}, (True, False, True)),
        ({"user__served_model": "m"}, (True, False, True)),
        ({"judge__model_change": "note"}, (False, True, True)),
        ({"user__earliest_leave": 2}, (True, False, True)), ({"judge__model": "other"}, (False, True, True)),
        ({"judge__prompt_usd": 1.0, "judge__completion_usd": 1.0}, (False, False, True)),
    ],
)  # fmt: skip
def test_what_makes_user_or_judge_is_in_its_digest(change: dict[str, Any], moves: tuple[bool, ...]) -> None:
    assert tuple(a != b for a, b in zip(digests(**change), digests(), strict=True)) == moves


def test_the_names_that_a_changed_model_is_refused_with_are_keys_of_its_section() -> None:
    settings = simulators.settings_of(config(user__served_model="m-v2", user__model_change="note").user)

    assert (settings.served_model, settings.model_change) == ("m-v2", "note")
    assert not {"served_model", "model_change"} & config().user.committed().keys()  # commits from before them


def test_a_business_person_of_a_model_has_his_own_section() -> None:
    chosen = config(domain__business="llm")
    played = simulators.described(sales("small"), chosen)

    assert list(chosen.models) == ["business"]
    assert played.businesses is not None
    assert played.simulator_digest != sales("small").simulator_digest


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"judge__prompt_usd": 1.0}, "set both or neither"),
        ({"user__cost_cap_usd": 1.0}, "cannot hold without prices"),
        ({"user__kind": "human"}, "user.kind = 'human'"),
    ],
)
def test_what_cannot_be_is_refused_with_the_key(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        config(**change)


def test_a_key_that_is_not_set_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    chosen = config(user__kind="llm", user__api_key_env="NO_SUCH_KEY")

    asked = simulators.asked_models(chosen, Cassette())

    with pytest.raises(ConfigError, match="NO_SUCH_KEY"), asked:
        pass


def conversations(ends: Sequence[str]) -> Table:
    """Of one arm: `ok`, `failed` or `unscored`."""
    rows = [
        {"conversation_id": f"c{place}", "policy_version": "shop/v0001",
         "status": "failed" if end == "failed" else "valid",
         "failure_kind": "judge_timeout" if end == "failed" else None,
         "failure_cause": "slow" if end == "failed" else None, "outcome": 1.0 if end == "ok" else None,
         "outcome_reason": None if end == "ok" else "the judge abstained"}
        for place, end in enumerate(ends)
    ]  # fmt: skip
    return rows_of("conversations", rows)


def published(context: Context, table: Table) -> list[Path]:
    commit = commits.commit(context.store, context.key("rollouts"), tables={"conversations": table},
                            parents={}, inputs={}, attempt="a")  # fmt: skip
    return commits.table_paths(context.store, commit, table="conversations")


def test_budgets_count_what_broke_and_what_nobody_scored(tmp_path: Path) -> None:
    strict = Context(tiny_config(tmp_path / "lake", collect__unscored_budget=0.2), 1)
    paths = published(strict, conversations(["ok", "ok", "failed", "unscored"]))

    with pytest.raises(FailureBudgetError, match=r"1 of 4 .* failed, over collect\.failure_budget = 20%"):
        check_rollouts(strict, paths, shard=None)
    patient = Context(
        tiny_config(tmp_path / "lake", collect__failure_budget=0.3, collect__unscored_budget=0.2), 1
    )
    with pytest.raises(FailureBudgetError, match=r"1 of 4 .* have no outcome.*the judge abstained"):
        check_rollouts(patient, paths, shard=None)
    check_rollouts(
        Context(tiny_config(tmp_path / "lake", collect__failure_budget=0.25), 1), paths, shard=None
    )


def test_what_is_over_a_budget_names_its_shard_and_the_causes_by_how_often_they_came(tmp_path: Path) -> None:
    context = Context(tiny_config(tmp_path / "lake"), 1)

    with pytest.raises(FailureBudgetError) as told:
        check_rollouts(context, conversations(["failed", "failed", "ok"]), shard=1)

    assert "rollouts/0001, shard 1: 2 of 3 conversations failed" in str(told.value)
    assert "(2 times judge_timeout: slow)" in str(told.value)
    assert "run the same again, which asks anew" in str(told.value)


def test_an_arm_of_an_evaluation_has_a_budget_too(tmp_path: Path) -> None:
    table = conversations(["ok", "ok", "ok", "failed"])

    check_evaluation(Context(tiny_config(tmp_path / "lake", evaluate__failure_budget=0.25), 1), table)
    with pytest.raises(
        FailureBudgetError, match=r"shop/v0001: 1 of 4 .* evaluate\.failure_budget = 20%.*slow"
    ):
        check_evaluation(Context(tiny_config(tmp_path / "lake"), 1), table)


def test_calls_are_rows_numbered_by_their_part_and_summed() -> None:
    lineage = Lineage("shop", 1, 0, "shop/v0001", "sales", "1", "d", "j")
    judged = ModelCall("judge", "timed_out", "slow", None, 5, 40, 0, 0.5, "j")
    talk = Conversation("c", "g", 0, 1, laptop_scenario(), (), (), Scored(1.0), StopReason.COMPLETED,
                        calls=(CALL, CALL, judged))  # fmt: skip

    rows = call_rows(talk, lineage)
    figures = call_figures(Context(config(), 1), rows_of("calls", rows))

    assert [(row["who"], row["call_index"]) for row in rows] == [("user", 0), ("user", 1), ("judge", 0)]
    assert (figures["user_calls"], figures["user_prompt_tokens"], figures["user_price_unknown"]) == (
        2,
        200,
        2,
    )
    assert (figures["judge_tries"], figures["cost_usd"]) == (5, 0.5)


def test_where_no_price_is_known_no_cost_is_told_instead_of_zero() -> None:
    rows = [{"iteration": 1, "conversation_id": "c0", "call_index": 0, "who": "user", "status": "answered",
             "cost_usd": None}]  # fmt: skip

    figures = call_figures(Context(config(), 1), rows_of("calls", rows))

    assert figures["user_price_unknown"] == 1
    assert "cost_usd" not in figures


@pytest.mark.parametrize(
    ("usd", "unknown", "said"),
    [
        (None, 3, "price unknown of 3 calls"),
        (0.25, 0, "0.2500"),
        (0.25, 3, "0.2500, price unknown of 3 calls"),
    ],
)
def test_an_unknown_price_is_not_zero(usd: float | None, unknown: int, said: str) -> None:
    assert cost(usd, unknown=unknown) == said


def test_a_cassette_that_is_not_there_or_none_says_how_to_record_one(tmp_path: Path) -> None:
    chosen = config(**LLM, cassettes__mode="replay", cassettes__folder=str(tmp_path))
    path = path_of(chosen, 1, name="collect-000")

    with pytest.raises(ConfigError, match=r"cassettes\.mode=record"), tape_of(chosen, 1, name="collect-000"):
        pass
    path.parent.mkdir(parents=True)
    path.write_text('{"key": "k"}\n')
    with pytest.raises(ConfigError, match="not a cassette"):
        read_tape(path)
