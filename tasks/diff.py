"""`itpo diff`: in what two iterations differ, stage by stage: data, settings, SQL, code, users, results."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import typer

from storage import registry
from storage.errors import BadKey, MissingCommit
from storage.manifests import Commit
from storage.receipts import Row
from tasks.console import OUT
from tasks.diff_text import difference_tree
from tasks.options import Options
from tasks.receipts import Desk, Told, attempts, code_revisions, open_desk, settings_of, sql_of
from tasks.text_tree import print_tree

KINDS = ("rollouts", "curated", "reward", "q", "credit", "policy", "evaluation")
ROLES = ("predecessor", "initial", "incumbent", "candidate")  # of a version that has several, the last
_SIDE = re.compile(r"(?:(?P<experiment>[^/]+)/)?v?(?P<iteration>\d+)")
_EVIDENCE_SKIPPED = ("evaluation_digest", "policy_digest")


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two iterations."""

    desk: Desk
    iteration: int

    @property
    def name(self) -> str:
        """How a person writes it: sales/2."""
        return f"{self.desk.experiment}/{self.iteration}"

    def find(self, kind: str) -> Commit | None:
        """Its commit of this kind."""
        return self.desk.find(kind, self.iteration)


def run(options: Options, first: str, *, second: str, as_json: bool) -> None:
    """Print in what the iterations differ; one is written 3, v0003, sales/3 or sales/v0003."""
    found = difference(side(options, first), side(options, second))
    if as_json:
        typer.echo(json.dumps(found, indent=2, sort_keys=True))
    else:
        print_tree(difference_tree(found), out=OUT)


def side(options: Options, text: str) -> Side:
    """The iteration that a text names; BadKey for no name of one, MissingCommit where there is none."""
    parts = _SIDE.fullmatch(text)
    if parts is None:
        raise BadKey(f"{text!r} is no iteration: write 3, or sales/3 for that of another experiment")
    found = Side(open_desk(options, parts["experiment"]), int(parts["iteration"]))
    if not any(found.find(kind) for kind in KINDS):
        known = sorted({commit.key.iteration for commit in found.desk.lineage.commits})
        raise MissingCommit(f"there is no iteration {found.name} in the lake; there are {known or 'none'}")
    return found


def difference(one: Side, other: Side) -> Told:
    """Everything in which the two differ; what is the same is only named."""
    return {
        "iterations": [one.name, other.name],
        "stages": {kind: stage_difference(one, other, kind=kind) for kind in KINDS},
        "figures": differing(figures(one), figures(other)),
        "users": differing(users(one), users(other)),
        "credit": differing(credit_by_kind(one), credit_by_kind(other)),
        "decision": differing(decided(one), decided(other)),
    }


def stage_difference(one: Side, other: Side, *, kind: str) -> Told:
    """Whether the data is the same; if not, in what settings, SQL, parents and code the two differ."""
    first, second = one.find(kind), other.find(kind)
    if first is None or second is None:
        absent = [each.name for each, found in ((one, first), (other, second)) if found is None]
        return {"same_data": first is second, "absent": absent}
    return {
        "same_data": is_same_data(first, second),
        "absent": [],
        "settings": differing(flat(settings_of(first)), flat(settings_of(second))),
        "sql": differing(sql_hashes(first), sql_hashes(second)),
        "parents": differing(dict(first.parents), dict(second.parents)),
        "code": differing(code(one, first), code(other, second)),
    }


def is_same_data(first: Commit, second: Commit) -> bool:
    """Whether the rows and artifacts are equal; the digests of commits also hold what they are made from."""
    rows = [[(entry.table, entry.data_digest) for entry in each.files] for each in (first, second)]
    artifacts = [{name: e.sha256 for name, e in each.artifacts.items()} for each in (first, second)]
    return rows[0] == rows[1] and artifacts[0] == artifacts[1]


def differing(first: Mapping[str, object], second: Mapping[str, object]) -> Told:
    """Both values of every name under which they differ; a name that one side has not is None there."""
    names = sorted(first.keys() | second.keys())
    return {
        name: [first.get(name), second.get(name)] for name in names if first.get(name) != second.get(name)
    }


def flat(settings: Mapping[str, object]) -> Told:
    """Settings by dotted name."""
    found: Told = {}
    for name, value in settings.items():
        inner = {f"{name}.{key}": each for key, each in value.items()} if isinstance(value, dict) else {}
        found |= inner or {name: value}
    return found


def sql_hashes(commit: Commit) -> dict[str, str]:
    """The hash of every SQL file by its name."""
    return {each["file"]: each["sha256"] for each in sql_of(commit)}


def code(of: Side, commit: Commit) -> dict[str, str]:
    """The code revisions that made the commit."""
    made = [each for each in attempts(of.desk, commit) if "error" not in each]
    return {"revision": ", ".join(code_revisions(made)) or "not known"}


def figures(of: Side) -> Told:
    """Counts, success and what it cost, and how many were kept or dropped under each reason."""
    speakers = of.desk.rows_of("speakers", of.iteration)
    fates = {
        f"curated: {row['fate']}": row["conversations"] for row in of.desk.rows_of("fates", of.iteration)
    }
    successes = {
        f"evaluated success of {_role(of, row)}": row["success"]
        for row in of.desk.rows_of("evaluators", of.iteration)
    }
    conversations = _total(speakers, "conversations")
    return {
        "conversations": conversations,
        "turns": _total(speakers, "turns"),
        "failed": _total(speakers, "failed"),
        "success": _success(speakers),
        "tokens per conversation": _total(speakers, "assistant_tokens") / max(1, conversations),
        **fates,
        **successes,
    }


def users(of: Side) -> Told:
    """Who was talked to and who judged, as distinct values."""
    speakers = of.desk.rows_of("speakers", of.iteration)
    names = ("simulator", "simulator_version", "simulator_digest", "judge_version")
    return {name: ", ".join(sorted({str(row[name]) for row in speakers})) for name in names}


def credit_by_kind(of: Side) -> Told:
    """Mean credit and advantage of the algorithm that trained, by kind of turn."""
    return {
        f"{row['turn_kind']}: {name}": row[column]
        for row in of.desk.rows_of("credit_by_kind", of.iteration)
        for name, column in (("turns", "turns"), ("mean credit", "credit"), ("mean advantage", "advantage"))
    }


def decided(of: Side) -> Told:
    """What was decided about the iteration, why, and on what evidence."""
    own = f"decide/{of.iteration:04d}"
    events = registry.events(of.desk.store, of.desk.experiment)
    for event in events:
        if event.event_id == own:
            evidence = {name: each for name, each in event.evidence.items() if name not in _EVIDENCE_SKIPPED}
            return {
                "action": event.action,
                "current after it": event.version,
                "reason": event.reason,
            } | evidence
    return {"action": "not decided"}


def _role(of: Side, row: Row) -> str:
    evaluation = of.find("evaluation")
    inputs = {} if evaluation is None else evaluation.inputs
    roles = {inputs[role]: role for role in ROLES if role in inputs}
    return roles.get(str(row["policy_version"]), "another")


def _total(rows: Sequence[Row], name: str) -> int:
    return sum(int(str(row[name])) for row in rows)


def _success(rows: Sequence[Row]) -> float | None:
    scored = _total(rows, "scored")
    total = sum(float(str(row["success"])) * int(str(row["scored"])) for row in rows if row["scored"])
    return total / scored if scored else None
