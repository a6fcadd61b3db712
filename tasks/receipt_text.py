"""Receipts for the terminal: a tree that reads from the policy back to the logs."""

import json
from collections.abc import Mapping, Sequence

from tasks.receipts import Told, code_revisions
from tasks.text_tree import Branch

SHORT = 16  # characters of a digest that are shown; --json has all
TITLES = {
    "evaluation": "evaluation",
    "credit": "credit",
    "q": "Q",
    "reward": "reward model",
    "curated": "curation",
    "rollouts": "rollouts",
}
LINE = ("version", "digest", "rollouts", "spoken by", "conversations", "turns", "kept")
RELATIONS = {
    "direct": "its weights were trained on",
    "reward": "read by the reward model of its credit",
    "q": "read by the Q of its credit",
    "inherited": "of versions and fits that it goes back to",
}


def policy_tree(receipt: Told) -> Branch:
    """The whole receipt of a policy."""
    tree = Branch(f"{receipt['version']}   {receipt['status']}", style="bold")
    _weights(tree, receipt)
    _decisions(tree, receipt["decisions"])
    _made(tree.add("training", style="bold"), receipt["training"])
    for kind, told in receipt["made_of"].items():
        branch = tree.add(f"{TITLES[kind]}", style="bold")
        for line in ROWS.get(kind, _no_rows)(told["rows"]):
            branch.add(line)
        _made(branch, told)
    _learnt_from(tree, receipt)
    _versions(tree, receipt["versions_behind"])
    _logs(tree, receipt["logs"])
    _outcomes(tree, receipt["outcomes"])
    _ending(tree, receipt)
    return tree


def short(digest: str) -> str:
    """The beginning of a digest."""
    return digest[:SHORT]


def settings_text(settings: Mapping[str, object]) -> list[str]:
    """One line per section, `name value` by `name value`."""
    return [f"{name}: {_setting(value)}" for name, value in settings.items()]


def _weights(tree: Branch, receipt: Told) -> None:
    branch = tree.add("weights", style="bold")
    if receipt["unchanged_from_parent"]:
        branch.add(f"no step was taken: the same files as {receipt['parent']}")
    branch.add_rows([(name, f"sha256 {digest}") for name, digest in receipt["weights"].items()])
    base = receipt["base"]
    if base is not None:
        branch.add(f"an adapter of {base['version']}   {short(base['digest'] or 'not in the lake')}")


def _decisions(tree: Branch, decisions: Sequence[Told]) -> None:
    branch = tree.add("decisions", style="bold")
    for event in decisions:
        after = "" if event["current_after"] is None else f", current after it: {event['current_after']}"
        line = branch.add(f"{event['event_id']}: {event['action']}{after}")
        line.add(f"because: {event['reason']}")
        line.add_rows([(name, _number(value)) for name, value in sorted(event["evidence"].items())])
        line.add(f"event {event['seq']}, digest {short(event['digest'])}")


def _made(branch: Branch, told: Told) -> None:
    """What all commits have: digest, settings, SQL, parents, code."""
    branch.add(f"commit {told['commit']}  digest {short(told['digest'])}")
    for line in settings_text(told["settings"]):
        branch.add(line)
    branch.add_rows([_sql(each) for each in told["sql"]])
    branch.add_rows([_parent(each) for each in told["made_from"]])
    branch.add(_attempts(told["attempts"]))


def _sql(each: Told) -> tuple[str, ...]:
    same = "the same as in this checkout" if each["same_here"] else "this checkout has another"
    return (each["file"], f"sha256 {short(each['sha256'])}", same)


def _parent(each: Told) -> tuple[str, ...]:
    event = "an event of the registry" if each["role"] == "registry" else "NOT IN THE LAKE"
    since = "conversations were forgotten since" if each["forgotten_since"] else ""
    return (f"made from {each['role']}", each["commit"] or event, f"digest {short(each['digest'])}", since)


def _attempts(attempts: Sequence[Told]) -> str:
    made = [each for each in attempts if "error" not in each]
    if not made:
        return "code: not known, no attempt left side facts"
    seconds = sum(float(each.get("seconds", 0.0)) for each in made)
    failed = f", {len(attempts) - len(made)} attempts failed" if len(attempts) > len(made) else ""
    stages = ", ".join(sorted({str(each.get("stage")) for each in made}))
    return f"code: {', '.join(code_revisions(made))}  ({stages}: {seconds:.1f} s{failed})"


def _speakers(rows: Sequence[Told]) -> list[str]:
    return [
        line
        for row in rows
        for line in (
            f"{row['conversations']} conversations, {row['turns']} turns, spoken by {row['policy_version']}; "
            f"{row['failed']} failed, {row['scored']} scored, success {_percent(row['success'])}",
            _users(row),
        )
    ]


def _evaluators(rows: Sequence[Told]) -> list[str]:
    users = list(dict.fromkeys(_users(row) for row in rows))
    return [*map(_evaluated, rows), *users]


def _evaluated(row: Told) -> str:
    unscored = row["unseen"] - row["unseen_scored"]
    return (
        f"{row['policy_version']}: {row['conversations']} conversations, {row['unseen']} of them on "
        f"scenarios that are never collected: success {_percent(row['success'])}"
        + (f", {unscored} unscored" if unscored else "")
    )


def _users(row: Told) -> str:
    users = f"{row['simulator']} {row['simulator_version']}".strip() or "not known"
    digest = f" (digest {short(str(row['simulator_digest']))})" if row["simulator_digest"] else ""
    return f"users {users}{digest}, judge {row['judge_version'] or 'none'}"


def _fates(rows: Sequence[Told]) -> list[str]:
    fates = [f"{row['conversations']} {_fate(str(row['fate']))}" for row in rows]
    return [", ".join(fates)]


def _fate(fate: str) -> str:
    return fate if fate == "kept" else f"dropped: {fate}"


def _credited(rows: Sequence[Told]) -> list[str]:
    return [
        f"{row['turns']} turns of {row['conversations']} conversations, by {row['algorithm']}" for row in rows
    ]


def _no_rows(rows: Sequence[Told]) -> list[str]:
    return []


ROWS = {"rollouts": _speakers, "evaluation": _evaluators, "curated": _fates, "credit": _credited}


def _learnt_from(tree: Branch, receipt: Told) -> None:
    branch = tree.add("conversations that it learnt from", style="bold")
    branch.add_rows([_learnt(row) for row in receipt["learnt_from"]])
    select = f"select * from policy_conversations where policy_version = '{receipt['version']}'"
    experiment = receipt["version"].partition("/")[0]
    branch.add(f'each of them: itpo sql -e {experiment} "{select}"', style="dim")


def _learnt(row: Told) -> tuple[str, ...]:
    judged = row["relation"] in ("reward", "q") and row["heldout"]
    held_out = f"{row['heldout']} of them held out to judge it" if judged else ""
    return (str(row["conversations"]), row["source_key"], RELATIONS[row["relation"]], held_out)


def _versions(tree: Branch, versions: Sequence[Told]) -> None:
    branch = tree.add("versions behind it", style="bold")
    branch.add_rows([LINE, *(_version(each) for each in versions)])


def _version(step: Told) -> tuple[str, ...]:
    numbers = (str(step[name]) for name in ("conversations", "turns", "kept"))
    names = (step["version"], short(step["digest"]), step["rollouts"] or "none", ", ".join(step["spoken_by"]))
    return (*names, *numbers)


def _logs(tree: Branch, logs: Sequence[Told]) -> None:
    branch = tree.add("first logs", style="bold")
    for each in logs:
        line = branch.add(f"{each['conversations']} conversations from {', '.join(each['sources'])}")
        rows = [
            (row["source_file"], str(row["rows_read"]), f"rows {row['disposition']}") for row in each["rows"]
        ]
        line.add_rows(rows)
        _made(line, each)


def _outcomes(tree: Branch, joined: Sequence[Told]) -> None:
    if not joined:
        return
    branch = tree.add("outcomes that were joined to them later", style="bold")
    for each in joined:
        how = f"by {each['key']}" + (", the newest wins" if each["newest_wins"] else "")
        branch.add_rows([(name, f"sha256 {short(digest)}", how) for name, digest in each["files"].items()])
    last = joined[-1]
    branch.add(f"commit {last['commit']}  digest {short(last['digest'])}")


def _ending(tree: Branch, receipt: Told) -> None:
    for note in receipt["notes"]:
        tree.add(f"note: {note}", style="yellow")
    for each in receipt["breaks"]:
        tree.add(f"the chain breaks: {each}", style="red")
    if not receipt["breaks"]:
        tree.add(
            f"the chain is whole: {receipt['commits_behind']} commits behind it, back to the logs "
            "(itpo verify --deep recomputes every hash)",
            style="green",
        )


def _setting(value: object) -> str:
    if isinstance(value, Mapping):
        return "  ".join(f"{name} {_plain(each)}" for name, each in value.items())
    return _plain(value)


def _plain(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _number(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _percent(value: object) -> str:
    return f"{100 * value:.1f} %" if isinstance(value, float) else "unknown"
