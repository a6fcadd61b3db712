"""`itpo where`: every dataset that holds a conversation, what it earned, every policy that learnt from it."""

import json
from collections.abc import Mapping, Sequence

import typer

from storage.errors import MissingConversation
from storage.receipts import Row
from tasks.console import OUT
from tasks.options import Options
from tasks.receipts import Desk, Told, open_desk
from tasks.text_tree import Branch, print_tree

SHORTEST_PREFIX = 6
SUGGESTED = 3
LISTED = 20  # at most, by each of the two queries
RELATIONS = {
    "direct": "its weights were trained on it",
    "reward": "the reward model of its credit read it",
    "q": "the Q of its credit read it",
    "inherited": "goes back to a version or a fit that learnt from it",
}


def run(options: Options, conversation: str, *, as_json: bool) -> None:
    """Print everything that became of a conversation, given by its id, at least six characters of it, or the
    id that it had in the log."""
    desk = open_desk(options)
    trail = trail_of(desk, find_conversation(desk, conversation))
    if as_json:
        typer.echo(json.dumps(trail, indent=2, sort_keys=True))
    else:
        print_tree(conversation_tree(trail), out=OUT)


def find_conversation(desk: Desk, text: str) -> str:
    """The one conversation whose id is, or starts with, the text, or that had it as its id in the log.

    MissingConversation lists what it may have been.
    """
    found = desk.rows("ids", {"text": text})
    begun = [str(row["conversation_id"]) for row in found if row["matches"]]
    if text in begun:
        return text
    logged = [str(row["conversation_id"]) for row in desk.rows("logged", {"text": text})]
    matching = sorted({*logged, *(begun if len(text) >= SHORTEST_PREFIX else [])})
    if len(matching) == 1:
        return matching[0]
    if matching:
        raise MissingConversation(
            f"{text!r} may be any of {len(matching)}{' or more' if len(matching) >= LISTED else ''}: "
            f"{', '.join(matching)}; give more of the id, or a whole one"
        )
    if begun:
        raise MissingConversation(
            f"{text!r} is too short: give at least {SHORTEST_PREFIX} characters of the id, or the whole id "
            "that it has in the log"
        )
    near = ", ".join(str(row["conversation_id"]) for row in found[:SUGGESTED])
    similar = f"; similar are {near}" if near else ""
    raise MissingConversation(
        f"experiment {desk.experiment} holds no conversation {text!r}, and its logs gave none this id"
        f"{similar}. What was forgotten is in no dataset any more; another experiment is named with "
        "--experiment"
    )


def trail_of(desk: Desk, conversation: str) -> Told:
    """What the views say about the conversation."""
    of = {"conversation": conversation}
    return {
        "conversation": conversation,
        "experiment": desk.experiment,
        "held": [dict(row) for row in desk.rows("conversation", of)],
        "datasets": [_dataset(desk, row) for row in desk.rows("places", of)],
        "curated": [dict(row) for row in desk.rows("verdicts", of)],
        "credit": [dict(row) for row in desk.rows("turn_credit", of)],
        "policies": [dict(row) for row in desk.rows("taught", of)],
    }


def conversation_tree(trail: Told) -> Branch:
    """The trail as a tree."""
    tree = Branch(f"conversation {trail['conversation']}", style="bold")
    for row in trail["held"]:
        _held(tree, row)
    datasets = tree.add("datasets that hold it", style="bold")
    datasets.add_rows(
        [
            (row["commit"], row["table"], str(row["rows"]), f"digest {row['digest'][:16]}")
            for row in trail["datasets"]
        ]
    )
    _curated(tree, trail["curated"])
    credit = tree.add("credit that it earned" if trail["credit"] else "credit: none", style="bold")
    if trail["credit"]:
        heading = ("iteration", "turn", "kind", "by", "score", "credit", "advantage")
        credit.add_rows([heading, *(_credit(row) for row in trail["credit"])])
    policies = tree.add("policies" if trail["policies"] else "policies: none learnt from it", style="bold")
    policies.add_rows(
        [(row["policy_version"], row["source_key"], _relation(row)) for row in trail["policies"]]
    )
    return tree


def _dataset(desk: Desk, row: Row) -> Told:
    commit = desk.find(str(row["kind"]), int(str(row["iteration"])))
    return {
        "commit": "" if commit is None else commit.key.text,
        "digest": "" if commit is None else commit.digest,
        "table": row["table_name"],
        "rows": row["rows_held"],
    }


def _held(tree: Branch, row: Mapping[str, object]) -> None:
    what = "held for the evaluation" if row["kind"] == "evaluation" else "collected"
    imported = f"imported from {row['source_file']}, row {row['source_row']}"
    branch = tree.add(
        f"{what if row['source_file'] is None else imported} in iteration {row['iteration']}", style="bold"
    )
    branch.add(f"spoken by {row['policy_version']}, {row['n_turns']} turns, ended: {row['stop_reason']}")
    if row["status"] == "failed":
        branch.add(f"failed: {row['failure_cause']}")
    outcome = f"unknown ({row['outcome_reason']})" if row["outcome"] is None else _number(row["outcome"])
    users = f"{row['simulator']} {row['simulator_version']}".strip() or "real or not known"
    branch.add(f"outcome {outcome}, judge {row['judge_version'] or 'none'}, users {users}")


def _curated(tree: Branch, verdicts: Sequence[Mapping[str, object]]) -> None:
    branch = tree.add("curation" if verdicts else "curation: never curated", style="bold")
    for row in verdicts:
        said = "kept" if row["kept"] else f"dropped: {row['drop_reason']}"
        branch.add(
            f"iteration {row['iteration']}: {said}, fold {row['fold']}, reward {_number(row['reward'])}"
        )


def _credit(row: Mapping[str, object]) -> tuple[str, ...]:
    numbers = tuple(_number(row[name]) for name in ("score", "credit", "advantage"))
    kind = str(row["turn_kind"] or "")
    return (str(row["iteration"]), str(row["turn_index"]), kind, str(row["algorithm"]), *numbers)


def _relation(row: Mapping[str, object]) -> str:
    fitted = row["relation"] in ("reward", "q") and row["fold"] == "heldout"
    return RELATIONS[str(row["relation"])] + (", held out to judge the fit" if fitted else "")


def _number(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, float) else "" if value is None else str(value)
