"""Conversations that our own version held elsewhere: exported, imported again, weighed, and trained on."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from itpo_core.propensity import UnknownPropensityError
from itpo_core.tiny_policy import create_policy, save_policy
from storage import commits, registry, weights
from storage.registry import PolicyVersion
from tasks import build, collect, curate, import_logs, pipeline, recompute, train_policy
from tasks.__main__ import app
from tasks.config import ConfigError
from tasks.context import Context
from tasks.export import Request
from tasks.export import run as export
from tasks.metrics import metrics_table
from tests.builders import commit_credit, decide, make_context

Json = dict[str, object]
CHANGES = {
    "collect__conversations": 16,
    "collect__shards": 1,
    "sampling__temperature": 1.0,
    "train__epochs": 1,
    "train__minibatch": 8,
}


def make_speaker(folder: Path) -> Context:
    """`shop` with a version 0 of random weights, and its rollouts of iteration 1; the latter's context."""
    first, second = (make_context(folder, iteration=number, **CHANGES) for number in (0, 1))
    model, tokenizer = create_policy(build.domain(first.config).vocabulary, "xs", seed=3)
    save_policy(model, tokenizer, folder=folder / "weights")
    made = commits.commit(
        first.store,
        first.key("policy"),
        tables={"metrics": metrics_table("warm_start", summary={"steps": 1.0})},
        parents={},
        inputs={},
        artifacts=weights.put_folder(first.store, first.key("policy"), folder=folder / "weights"),
        attempt="by hand",
    )
    version = PolicyVersion("shop/v0000", "shop", 0, None, made.digest, made.key.text)
    registry.register_candidate(first.store, version)
    decide(first, "promote", "shop/v0000", copy_accuracy=1.0)
    collect.run_shard(second, 0)
    collect.seal(second)
    return second


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a lake with rollouts of version 0, and of their export."""
    folder = tmp_path_factory.mktemp("recompute")
    export(make_speaker(folder), Request(folder / "talks.jsonl", "openai"))
    return folder


def context_of(lake: Path, *, imported: str | None = None, iteration: int = 2, **changes: object) -> Context:
    asked = {} if imported is None else {"collect__imported": imported}
    return make_context(lake, iteration=iteration, **CHANGES, **asked, **changes)


def rows_of(context: Context, table: str) -> list[Json]:
    return commits.read_table(context.store, context.read("rollouts"), table=table).to_pylist()


def imported(lake: Path, name: str, change: Callable[[Json], Json] = lambda row: row) -> Json:
    """The exported talks, changed, imported as an experiment of their own; the figures."""
    talks = [json.loads(line) for line in (lake / "talks.jsonl").read_text(encoding="utf-8").splitlines()]
    path = lake / f"{name}.jsonl"
    path.write_text("".join(json.dumps(change(row)) + "\n" for row in talks), encoding="utf-8")
    there = make_context(lake, experiment=name, logs__paths=[str(path)], logs__format="openai")
    return dict(import_logs.run(there).figures)


def nameless(row: Json) -> Json:
    metadata = {name: value for name, value in row["metadata"].items() if name != "policy_version"}
    return {**row, "metadata": metadata}


def with_draws(lake: Path) -> Callable[[Json], Json]:
    """Rows as a server logs them that gives tokens and log-probabilities."""
    drawn: dict[str, list[Json]] = {}
    for row in rows_of(context_of(lake, iteration=1), "turns"):
        logprobs = {"content": [{"logprob": min(value, 0.0)} for value in row["logprobs"]]}
        more = {"token_ids": row["response_ids"], "logprobs": logprobs}
        drawn.setdefault(str(row["conversation_id"]), []).append(more)

    def change(row: Json) -> Json:
        left = iter(drawn[str(row["id"])])
        said = [{**each, **next(left)} if each["role"] == "assistant" else each for each in row["messages"]]
        return {**row, "messages": said}

    return change


def words_of(context: Context) -> dict[str, list[tuple[object, ...]]]:
    """Tokens of every conversation by what was said, whatever it is called."""
    said = {
        row["conversation_id"]: str(row["transcript_sha256"]) for row in rows_of(context, "conversations")
    }
    turns: dict[str, list[tuple[object, ...]]] = {}
    for row in rows_of(context, "turns"):
        known = (row["prompt_ids"], row["response_ids"], row["logprobs"])
        turns.setdefault(said[row["conversation_id"]], []).append(known)
    return turns


def test_recomputed_log_probabilities_are_those_of_the_rollouts_and_train(lake: Path) -> None:
    imported(lake, "again")
    there = context_of(lake, imported="again")

    result = pipeline.run_named(there, "collect")
    before, after = words_of(context_of(lake, iteration=1)), words_of(there)
    curated = curate.run(there).figures
    commit_credit(there)
    trained = train_policy.run(there).figures

    assert (result["figures"]["recomputed"], result["figures"]["unknown"]) == (16, 0)
    assert before.keys() == after.keys()
    for name, turns in before.items():
        for was, now in zip(turns, after[name], strict=True):
            assert now[:2] == was[:2]
            assert now[2] == pytest.approx(was[2], abs=1e-4)
    assert {row["propensity"] for row in rows_of(there, "turns")} == {"recomputed"}
    assert {row["policy_version"] for row in rows_of(there, "conversations")} == {"shop/v0000"}
    assert set(curated) <= {"kept", "duplicate", "small_group"}
    assert trained["logprob_gap_max"] < 1e-4
    assert registry.versions(there.store, "shop")[-1].parent == "shop/v0000"


def test_what_was_recomputed_once_stands_also_for_who_asks_without_naming_it(lake: Path) -> None:
    imported(lake, "once")
    first = recompute.run(context_of(lake, imported="once", iteration=3))

    again = pipeline.run_named(context_of(lake, iteration=3), "collect")
    sealed = context_of(lake, iteration=3).read("rollouts")

    assert (again["resumed"], again["digest"]) == (True, first.digest)
    assert set(sealed.parents) == {"imported", "policy"}
    assert sealed.inputs["policy_version"] == "shop/v0000"


def test_logged_draws_are_exact_as_they_were_logged(lake: Path) -> None:
    imported(lake, "drawn", with_draws(lake))
    there = context_of(lake, imported="drawn", iteration=4)

    figures = recompute.run(there).figures

    assert (figures["exact"], figures["unknown"]) == (16, 0)
    assert figures["logged_gap_nats"] < 1e-5
    assert {row["propensity"] for row in rows_of(there, "turns")} == {"exact"}
    found, was = words_of(there), words_of(context_of(lake, iteration=1))
    assert [turns == was[name] for name, turns in found.items()] == [True] * len(was)


def test_an_import_itself_says_of_no_turn_that_it_can_be_weighed(lake: Path) -> None:
    imported(lake, "unsettled", with_draws(lake))

    there = make_context(lake, experiment="unsettled")

    turns = rows_of(there, "turns")
    assert {row["propensity"] for row in turns} == {"unknown"}
    assert {row["policy_version"] for row in turns} == {"logs:unsettled//shop/v0000"}
    assert curate.run(there).figures["kept"] > 0


@pytest.mark.parametrize(
    ("name", "change", "because"),
    [
        ("nameless", nameless, "unnamed 16"),
        ("other", lambda row: {**row, "policy_version": "shop/v0007"}, "other_version 16"),
        ("unsampled", lambda row: {**row, "temperature": "hot"}, "unnamed 16"),
        ("narrow", lambda row: {**row, "top_p": 0.5}, "top_p 16"),
    ],
)
def test_what_no_version_of_ours_is_known_to_have_drawn_is_refused(
    lake: Path, name: str, change: Callable[[Json], Json], because: str
) -> None:
    imported(lake, name, change)
    there = context_of(lake, imported=name, iteration=5)

    with pytest.raises(UnknownPropensityError, match=rf"none of 16 conversations .*{because}.*shop/v0000"):
        recompute.run(there)

    assert there.find("rollouts") is None


def edited_one(row: Json, *, name: str) -> Json:
    """The conversation of this name has a first turn that a person wrote anew."""
    if row["id"] != name:
        return row
    messages = [dict(each) for each in row["messages"]]
    turn = next(each for each in messages if each["role"] == "assistant")
    turn.update(suggested_text=turn["content"], content="thanks .")
    return {**row, "messages": messages}


def test_an_edited_suggestion_leaves_its_conversation_out_of_the_step(lake: Path) -> None:
    first = json.loads((lake / "talks.jsonl").read_text(encoding="utf-8").splitlines()[0])["id"]
    imported(lake, "edited", lambda row: edited_one(row, name=first))
    there = context_of(lake, imported="edited", iteration=6)

    figures = recompute.run(there).figures
    curated = curate.run(there).figures

    assert (figures["recomputed"], figures["unknown"], figures["because"]) == (15, 1, "(edited 1)")
    assert curated["unknown_propensity"] == 1


def test_places_where_nothing_can_be_recomputed_are_refused(lake: Path) -> None:
    with pytest.raises(ConfigError, match=r"iteration 0 is an import itself.*`itpo run`"):
        recompute.run(context_of(lake, imported="again", iteration=0))
    with pytest.raises(ConfigError, match="holds collected conversations"):
        recompute.run(context_of(lake, imported="again", iteration=1))
    with pytest.raises(ConfigError, match="names no experiment"):
        recompute.run(context_of(lake, iteration=9))


def test_the_command_makes_the_next_iteration_of_an_import(
    lake: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    imported(lake, "commanded")
    options = ["--experiment", "shop", "--lake", str(lake / "lake"), "--iteration", "7"]

    app(["recompute", "commanded", *options], standalone_mode=False)

    assert "shop/rollouts/0007 collect" in capsys.readouterr().out
    assert "imported" in context_of(lake, iteration=7).read("rollouts").parents
