"""`domain.scenarios`: what is refused, by file, row, key and remedy, and what it is an input of."""

import json
from pathlib import Path
from typing import Any

import pytest

from itpo_core.envs.personas import PERSONAS
from itpo_core.types import Split
from storage.digests import file_sha256
from tasks import build
from tasks.config import Config, ConfigError
from tasks.scenario_files import file_inputs
from tests.loop.tiny import tiny_config
from tests.scenario_fixtures import FILES, NAMES

FEW = {
    "collect__conversations": 24,
    "collect__group_size": 4,
    "evaluate__unseen_scenarios": 4,
    "evaluate__seen_scenarios": 2,
    "user__kind": "llm",
    "judge__kind": "llm",
}


def config_of(file: Path | None, domain: str = "math", **changes: Any) -> Config:  # Any: JSON values
    named = {"domain__name": domain, "domain__scenarios": None if file is None else str(file)}
    return tiny_config("lake", **{**FEW, **named, **changes})


@pytest.mark.parametrize("domain", sorted(NAMES))
def test_a_file_becomes_a_domain_of_open_language(domain: str) -> None:
    found = build.domain(config_of(FILES / NAMES[domain], domain))

    assert (found.environment.name, found.vocabulary) == (domain, ())
    assert (found.oracle, found.logging_policy) == (None, None)
    assert found.personas == tuple(PERSONAS)
    assert found.environment.max_turns == build.domain(config_of(None, domain)).environment.max_turns
    assert len(found.environment.scenarios(Split.UNSEEN, count=4, seed=1)) == 4


@pytest.mark.parametrize(
    ("domain", "changes", "message"),
    [
        ("sales", {}, "files are read for math, document, medical, not for 'sales'"),
        (
            "math",
            {"user__kind": "scripted"},
            'needs users that are .* set user.kind to "llm"',
        ),
        ("medical", {"judge__kind": "rule"}, 'needs a judge that is a language model.*judge.kind to "llm"'),
        ("math", {"evaluate__second_family": "hard"}, "evaluate.second_family 'hard' goes by rules"),
    ],
)
def test_a_file_that_could_not_be_played_is_refused_with_the_configuration(
    domain: str, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=f"x.jsonl.*{message}|{message}.*x.jsonl"):
        config_of(Path("x.jsonl"), domain, **changes)


@pytest.mark.parametrize(
    ("domain", "line", "message"),
    [
        ("math", '{"problem": 7, "answer": 7}', "row 43: key 'problem' is 7, a int; write a text"),
        ("math", '{"problem": "How many ?"}', "row 43: key 'answer' is missing, and so is 'solution'"),
        ("document", '{"title": "Owls", "text": " "}', "row 43, key 'text': ' ' is a str; give a text"),
        ("medical", '{"self_report": "ill"}', "row 43: key 'enhanced_description' is missing or null; give"),
        ("math", '{"problem": "How', "row 43: not JSON: .*mend the row or take it out"),
        ("math", "[1, 2]", "row 43: the row is a list, not an object"),
    ],
)
def test_a_row_that_is_no_scenario_is_named_by_its_line(
    domain: str, line: str, message: str, tmp_path: Path
) -> None:
    rows = (FILES / NAMES[domain]).read_text().splitlines()
    file = tmp_path / "mine.jsonl"
    file.write_text("\n".join([*rows, *[""] * (42 - len(rows)), line]))  # blank lines are lines

    with pytest.raises(ConfigError, match=rf"^domain.scenarios .*mine.jsonl: {message}"):
        build.domain(config_of(file, domain))


def test_a_file_that_is_not_there_or_of_no_known_kind_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "problems.txt"
    other.write_text("{}")

    with pytest.raises(ConfigError, match=r"none\.jsonl: no such file; give the path of a JSONL"):
        build.domain(config_of(tmp_path / "none.jsonl"))
    with pytest.raises(ConfigError, match=r"problems\.txt: unknown kind"):
        build.domain(config_of(other))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"evaluate__unseen_scenarios": 13},
            "asks for 13 unseen scenarios and the file has 12",
        ),
        ({"evaluate__seen_scenarios": 29}, "seen_scenarios asks for 29 seen scenarios and the file has 28"),
        ({"collect__conversations": 116}, "group_size asks for 29 seen scenarios and the file has 28"),
    ],
)
def test_no_scenario_is_met_twice_in_an_iteration(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build.domain(config_of(FILES / NAMES["math"], **changes))


def test_the_bytes_are_an_input_and_the_path_is_none(tmp_path: Path) -> None:
    here = FILES / NAMES["math"]
    there = tmp_path / "other.jsonl"
    there.write_bytes(here.read_bytes())

    assert file_inputs(config_of(there)) == file_inputs(config_of(here)) == {"scenarios": file_sha256(here)}
    assert config_of(here).section("domain") == config_of(there).section("domain")
    assert "scenarios" not in json.loads(config_of(here).section("domain")["domain"])
    assert file_inputs(config_of(None)) == {}
