"""What a person sees of a lake: committed rows only, each with its experiment and iteration."""

from collections.abc import Sequence
from pathlib import Path

import duckdb
import pytest

from storage import commits, registry
from storage.commits import CommitKey
from storage.lake_views import VIEWS
from storage.local_store import LocalStore
from storage.schemas import SCHEMAS
from storage.warehouse import ask, open_lake, views_script
from tests.storage.lake_rows import conversations, metrics, rows_of, turns


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "it's a lake [1]")


def put(store: LocalStore, experiment: str, kind: str, iteration: int, **tables: object) -> None:
    key = CommitKey(experiment, kind, iteration)
    commits.commit(store, key, tables=tables, parents={}, inputs={}, attempt="a")


def fill(store: LocalStore, experiment: str, iteration: int) -> None:
    """One conversation of two turns, its credits, an evaluation and metrics."""
    place = {"experiment": experiment, "iteration": iteration}
    name = f"c{iteration}"
    said = {
        "conversations": conversations(name, **place),
        "turns": turns({name: 2}, turn_kind="ask", **place),
    }
    credit = rows_of(
        "credits", [{"conversation_id": name, "turn_index": n, "credit_outcome": 0.5} for n in (0, 1)]
    )
    put(store, experiment, "rollouts", iteration, **said)
    put(store, experiment, "credit", iteration, credits=credit)
    put(store, experiment, "policy", iteration, metrics=metrics(loss=0.25))
    put(store, experiment, "evaluation", iteration, conversations=conversations(f"e{iteration}", **place))
    version = registry.PolicyVersion(
        registry.version_name(experiment, iteration), experiment, iteration, None, "d", "k"
    )
    registry.register_candidate(store, version)


def answer(
    store: LocalStore, statement: str, *, experiment: str | None = "sales"
) -> Sequence[tuple[object, ...]]:
    with open_lake(store, experiment) as connection:
        return ask(connection, statement, rows=100).rows


def test_rows_of_all_iterations_are_there_with_their_iteration(store: LocalStore) -> None:
    fill(store, "sales", 1)
    fill(store, "sales", 2)

    assert answer(store, "select iteration, conversation_id from conversations order by all") == (
        (1, "c1"),
        (2, "c2"),
    )
    assert answer(store, "select iteration, count(*) from credits group by 1 order by 1") == ((1, 2), (2, 2))
    assert answer(store, "select distinct experiment, value from metrics") == (("sales", 0.25),)
    assert answer(store, "select conversation_id from evaluations order by 1") == (("e1",), ("e2",))


def test_an_experiment_sees_its_own_rows_and_none_sees_all(store: LocalStore) -> None:
    fill(store, "sales", 1)
    fill(store, "sales2", 1)

    count = "select count(*), count(distinct experiment) from turns"
    assert answer(store, count) == ((2, 1),)
    assert answer(store, count, experiment=None) == ((4, 2),)
    assert answer(store, "select count(*) from policies", experiment=None) == ((2,),)


def test_unsealed_shards_and_stray_files_are_not_seen(store: LocalStore) -> None:
    fill(store, "sales", 1)
    key = CommitKey("sales", "rollouts", 2)
    tables = {"conversations": conversations("c2")}
    commits.publish_shard(store, key, shard=0, tables=tables, inputs={}, attempt="a")
    store.create("sales/rollouts/iteration=0001/shard=0000/conversations-left.parquet", b"left behind")

    assert answer(store, "select conversation_id from conversations") == (("c1",),)


def test_an_empty_lake_has_every_view_with_the_right_columns(store: LocalStore) -> None:
    with open_lake(store, None) as connection:
        for view in VIEWS:
            found = ask(connection, f"select * from {view.name}", rows=1)
            assert found.rows == ()
            assert set(SCHEMAS[view.table].names) | {"experiment", "iteration", "commit_iteration"} == set(
                found.names
            )
        for name in ("policies", "decisions", "turn_credits", "conversation_turns", "evaluation_scores"):
            assert ask(connection, f"select * from {name}", rows=1).rows == ()


def test_policies_show_versions_decisions_and_which_is_current(store: LocalStore) -> None:
    fill(store, "sales", 0)
    registry.record_decision(
        store,
        "sales",
        event_id="d0",
        action="promote",
        version="sales/v0000",
        reason="it's good",
        evidence={"gain": 0.5},
    )

    assert answer(store, "select action, version, reason, is_current from policies order by seq") == (
        ("candidate", "sales/v0000", "trained", True),
        ("promote", "sales/v0000", "it's good", True),
    )
    assert answer(store, "select evidence ->> 'gain' from decisions") == (("0.5",),)


def test_the_joined_views_join_inside_an_experiment(store: LocalStore) -> None:
    fill(store, "sales", 1)
    fill(store, "other", 1)

    joined = "select experiment, turn_index, credit_outcome, outcome from turn_credits order by all"
    assert answer(store, joined, experiment=None) == (
        ("other", 0, 0.5, 1.0),
        ("other", 1, 0.5, 1.0),
        ("sales", 0, 0.5, 1.0),
        ("sales", 1, 0.5, 1.0),
    )
    assert answer(store, "select count(*) from conversation_turns where outcome = 1") == ((2,),)


def test_the_questions_shipped_run_on_the_views(store: LocalStore) -> None:
    fill(store, "sales", 1)

    credit = (Path(__file__).parents[2] / "sql/questions/credit_by_turn_kind.sql").read_text()
    tokens = (Path(__file__).parents[2] / "sql/questions/tokens_per_turn.sql").read_text()

    assert answer(store, credit)[0][:3] == ("ask", 2, 0.5)
    assert len(answer(store, tokens)) == 1


def test_the_script_stands_alone(store: LocalStore) -> None:
    fill(store, "sales", 1)
    script = views_script(store, "sales")

    with duckdb.connect() as connection:
        connection.execute(script)
        assert connection.execute("select count(*) from turn_credits").fetchall() == [(2,)]
