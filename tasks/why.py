"""`itpo why`: from which conversations a policy came, back to the first log, and why it was kept or not."""

import json
from collections.abc import Mapping, Sequence

import typer

from storage import registry, revisions
from storage.errors import MissingPolicy
from storage.manifests import Commit
from storage.policy_sources import is_unchanged
from storage.registry import Decision, PolicyVersion
from tasks.adapter_receipts import base_breaks, base_of
from tasks.console import OUT
from tasks.options import Options
from tasks.receipt_text import policy_tree
from tasks.receipts import Desk, Told, chain_notes, open_desk, told
from tasks.text_tree import print_tree

# In the order in which an iteration makes them, the newest first.
OF_ITERATION = ("evaluation", "credit", "q", "reward", "curated", "rollouts")


def run(options: Options, policy: str, *, as_json: bool) -> None:
    """Print the receipt of a version: its full name, its short one (v0003), or `current`."""
    experiment = policy.partition("/")[0] if "/" in policy else None
    receipt = receipt_of(open_desk(options, experiment), policy)
    if as_json:
        typer.echo(json.dumps(receipt, indent=2, sort_keys=True))
    else:
        print_tree(policy_tree(receipt), out=OUT)


def receipt_of(desk: Desk, policy: str) -> Told:
    """Everything that the lake knows about how the version came to be."""
    version = find_version(desk, policy)
    commit = desk.lineage.by_digest.get(version.commit_digest)
    if commit is None:
        raise MissingPolicy(
            f"{version.name} is registered with {version.commit_key}, digest {version.commit_digest}, which "
            "the lake does not hold: run `itpo verify --deep`, and restore it from a copy"
        )
    behind = [commit, *desk.lineage.ancestors(commit)]
    breaks, notes = chain_notes(desk, behind)
    broken_bases = [line for each in behind for line in base_breaks(desk, each)]
    return {
        "version": version.name,
        "status": status(desk, version),
        "parent": version.parent,
        "weights": {name: entry.sha256 for name, entry in sorted(commit.artifacts.items())},
        "base": base_of(desk, commit),
        "unchanged_from_parent": is_unchanged(desk.lineage, commit),
        "decisions": [decision(event) for event in decisions_about(desk, version)],
        "training": told(desk, commit),
        "learnt_from": [dict(row) for row in desk.rows("learnt_from", {"version": version.name})],
        "made_of": {kind: stage_of(desk, each) for kind, each in of_iteration(desk, version).items()},
        "versions_behind": [step(desk, each) for each in versions_behind(desk, version)],
        "logs": [log(desk, each) for each in behind if is_log(desk, each)],
        "outcomes": joined_later(behind),
        "commits_behind": len(behind) - 1,
        "breaks": [*breaks, *broken_bases, *loose_ends(desk, behind)],
        "notes": [*outside_models(behind), *notes],
    }


def find_version(desk: Desk, policy: str) -> PolicyVersion:
    """The registered version; MissingPolicy names those that are."""
    if policy == "current":
        return registry.current(desk.store, desk.experiment)
    name = policy if "/" in policy else f"{desk.experiment}/{policy}"
    known = {version.name: version for version in registry.versions(desk.store, desk.experiment)}
    if name not in known:
        names = ", ".join(known) or "none"
        raise MissingPolicy(f"there is no version {name!r}; registered in {desk.experiment} are: {names}")
    return known[name]


def decisions_about(desk: Desk, version: PolicyVersion) -> list[Decision]:
    """Its registration, the decision of its iteration whatever it said, and all that named it later."""
    own = f"decide/{version.iteration:04d}"
    events = registry.events(desk.store, desk.experiment)
    return [event for event in events if event.version == version.name or event.event_id == own]


def decision(event: Decision) -> Told:
    """An event with all its evidence."""
    return {
        "seq": event.seq,
        "event_id": event.event_id,
        "action": event.action,
        "current_after": None if event.action == "candidate" else registry.speaker_after(event) or "nobody",
        "reason": event.reason,
        "evidence": dict(event.evidence),
        "digest": event.digest,
    }


def status(desk: Desk, version: PolicyVersion) -> str:
    """What became of it, in a few words."""
    current = registry.find_current(desk.store, desk.experiment)
    if current is not None and current.name == version.name:
        return "current"
    events = [event for event in decisions_about(desk, version) if event.action != "candidate"]
    promoted = any(event.version == version.name and event.action != "hold" for event in events)
    if promoted:
        return "was current, is not any more"
    return "not decided yet" if not events else f"never current: its iteration ended in {events[0].action}"


def of_iteration(desk: Desk, version: PolicyVersion) -> Mapping[str, Commit]:
    """The commits of its iteration, by kind."""
    found = {kind: desk.find(kind, version.iteration) for kind in OF_ITERATION}
    return {kind: commit for kind, commit in found.items() if commit is not None}


def stage_of(desk: Desk, commit: Commit) -> Told:
    """A commit of the iteration, with what its rows say."""
    questions = {
        "rollouts": "speakers",
        "curated": "fates",
        "credit": "credited",
        "evaluation": "evaluators",
    }
    question = questions.get(commit.key.kind)
    rows = [] if question is None else desk.rows_of(question, commit.key.iteration)
    return {**told(desk, commit), "rows": [dict(row) for row in rows]}


def versions_behind(desk: Desk, version: PolicyVersion) -> list[PolicyVersion]:
    """The version and those whose weights it goes back to, newest first."""
    known = {each.name: each for each in registry.versions(desk.store, desk.experiment)}
    line, each = [], version
    while each is not None and each not in line:
        line.append(each)
        each = known.get(each.parent or "")
    return line


def step(desk: Desk, version: PolicyVersion) -> Told:
    """One version of the line: the rollouts that it was trained on, who spoke them, what was kept."""
    rollouts = desk.find("rollouts", version.iteration)
    speakers = desk.rows_of("speakers", version.iteration)
    fates = {str(row["fate"]): row["conversations"] for row in desk.rows_of("fates", version.iteration)}
    return {
        "version": version.name,
        "digest": version.commit_digest,
        "rollouts": None if rollouts is None else rollouts.key.text,
        "rollouts_digest": None if rollouts is None else rollouts.digest,
        "spoken_by": sorted({str(row["policy_version"]) for row in speakers}),
        "conversations": _sum(speakers, "conversations"),
        "turns": _sum(speakers, "turns"),
        "kept": fates.get("kept", 0),
    }


def is_log(desk: Desk, commit: Commit) -> bool:
    """Whether a commit is an import of logs: nobody's policy spoke it."""
    if commit.key.kind != "rollouts" or commit.parents:
        return False
    return "policy_version" not in commit.inputs


def log(desk: Desk, commit: Commit) -> Told:
    """An import: which files, by hash, and what became of their rows."""
    iteration = commit.key.iteration
    own = commit.key.experiment == desk.experiment
    return {
        **told(desk, commit),
        "sources": sorted({str(row["policy_version"]) for row in desk.rows_of("speakers", iteration)}),
        "rows": [dict(row) for row in desk.rows_of("log_files", iteration)] if own else [],
        "conversations": sum(entry.rows for entry in commit.files if entry.table == "conversations"),
    }


def joined_later(behind: Sequence[Commit]) -> list[Told]:
    """What was joined to the logs later, in order: each time which files, by hash, and how they were read."""
    rollouts = [commit for commit in behind if revisions.family(commit.key.kind) == revisions.ROLLOUTS]
    revised = [commit for commit in rollouts if revisions.revision(commit.key)]
    newest = max(revised, key=lambda commit: revisions.revision(commit.key), default=None)
    if newest is None:
        return []
    told = {"commit": newest.key.text, "digest": newest.digest}
    return [{**told, **each} for each in json.loads(newest.inputs["outcomes"])]


def loose_ends(desk: Desk, behind: Sequence[Commit]) -> list[str]:
    """Commits that were made from nothing and are no import, and a chain without an import."""
    ends = [commit for commit in behind if not commit.parents and not is_log(desk, commit)]
    loose = [f"{end.key.text} names nothing that it was made from, and is no import of logs" for end in ends]
    if not any(is_log(desk, commit) for commit in behind):
        loose.append("no import of logs is behind it")
    return loose


def outside_models(behind: Sequence[Commit]) -> list[str]:
    """Models from outside the lake that a version was started from."""
    models = {commit.key.text: json.loads(commit.inputs.get("model", "{}")) for commit in behind}
    return [
        f"{key}: used the model folder {model['folder']!r}, which lies outside the lake"
        for key, model in models.items()
        if model.get("folder")
    ]


def _sum(rows: Sequence[Mapping[str, object]], name: str) -> int:
    return sum(int(str(row[name])) for row in rows)
