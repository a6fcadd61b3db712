"""`itpo forget`: a conversation, or all of a user, leaves the lake and everything that was made from it."""

import re
import sys
from collections.abc import Mapping, Sequence

from rich.table import Table

from storage import forgetting, registry, tombstones
from storage.exclusion import Alone, alone
from storage.forget_look import Found, look
from storage.learners import last_unaffected
from storage.listing import require_experiment
from storage.objects import LakeStore
from storage.tombstones import Affected, Counts, Selector, Tombstone
from tasks.config import ConfigError
from tasks.console import OUT
from tasks.context import Context
from tasks.forget_local import Traces, remove_local_traces
from tasks.forget_pages import Pages
from tasks.gc import say_waiting
from tasks.options import Options
from tasks.plain_text import plain


def run(options: Options, selector: Selector, *, reason: str, dry_run: bool, yes: bool) -> int:
    """Look, ask, remove, say what cannot be removed; 0 when no trace is left, 1 when there was none.

    What a killed run began for the same ids is finished first. Raises BusyLake while a stage is at work.
    """
    check_reason(reason, selector)
    context = Context(options.load(), 0)
    require_experiment(context.store, None)
    if dry_run:
        found = look(context.store, selector)
        if not _is_known(found, selector):
            _print_unknown(selector)
            return 1
        _print_found(found, context.store)
        return 0
    ttl_s = context.config.lake.lease_ttl_s
    with alone(context.store, attempt=context.attempt, ttl_s=ttl_s, on_wait=say_waiting) as mine:
        mine.refuse_busy()
        return _forget(options, mine, selector, reason=reason, yes=yes)


def check_reason(reason: str, selector: Selector) -> None:
    """ConfigError when the reason, which is kept, names whom to forget."""
    if not reason.strip():
        raise ConfigError("--reason is empty: say why, it is kept in the tombstone")
    for name in selector.ids:
        if re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", reason, re.IGNORECASE):
            raise ConfigError("--reason is kept, and names the id that is to be forgotten: say why without")


def _forget(options: Options, mine: Alone, selector: Selector, *, reason: str, yes: bool) -> int:
    store, pages = mine.store, Pages(options)
    begun = tombstones.find_pending(store, selector)
    found = look(store, selector)
    if begun is None and not _is_known(found, selector):
        _print_unknown(selector)
        return 1
    if begun is not None:
        OUT.print("a forgetting of the same was begun and not finished: it is finished now")
    _print_found(found, store)
    if not yes and not _confirmed():
        OUT.print("nothing was changed")
        return 1
    mine.refuse_busy()  # people take their time to answer
    removed = remove_local_traces(store, Traces(found.meant.needles, found.marks))
    done = _removed(store, selector, found, reason=reason, pages=pages)
    pages.write_again(store, removed.pages, renewed=[each.commit for each in done.renewed])
    _print_done(done, files=len(removed.files), failures=pages.failures)
    if begun is not None:
        _print_affected(done.affected, store)
    return 0


def _removed(store: LakeStore, selector: Selector, found: Found, *, reason: str, pages: Pages) -> Tombstone:
    """Finish what was begun, then remove what is there beyond it."""
    done = forgetting.resume(store, selector, render=pages.render)
    if done is not None:
        found = look(store, selector)
    if done is not None and found.is_nothing:
        return done
    return forgetting.forget(store, found, reason=reason, render=pages.render)


def _is_known(found: Found, selector: Selector) -> bool:
    """Whether there is something of it; a user without rows is only a word that pages hold."""
    return not found.is_nothing and (selector.user is None or bool(found.removed))


def _print_unknown(selector: Selector) -> None:
    asked = "user" if selector.user is not None else "conversation"
    OUT.print(
        plain(
            f"the lake holds no {asked} {', '.join(selector.ids)}: nothing was removed. Was it written "
            "whole? `itpo where` completes the id of a conversation; users are those of `select distinct "
            "user_id from conversations`"
        ),
        soft_wrap=True,
    )


def _confirmed() -> bool:
    if not sys.stdin.isatty():
        raise ConfigError("this removes data for good and there is no terminal to ask: say --yes")
    return input("Remove all this for good? [y/N] ").strip().lower() in ("y", "yes")


def _print_found(found: Found, store: LakeStore) -> None:
    if not found.is_nothing:
        copies = f", {len(found.meant.copies)} of them copies under other ids" if found.meant.copies else ""
        OUT.print(f"conversations: {len(found.meant.ids)}{copies}")
        OUT.print(_rows(found.removed))
        OUT.print(f"pages to render anew: {len(found.pages)}, other objects: {len(found.objects)}")
        _print_affected(found.affected, store)
    for place in found.mentions:
        OUT.print(plain(f"named in {place}: this stays, look at it yourself", style="yellow"), soft_wrap=True)


def _print_done(done: Tombstone, *, files: int, failures: Mapping[str, str]) -> None:
    OUT.print(f"removed; local files removed: {files}; commits renewed: {len(done.renewed)}")
    for page, why in failures.items():
        said = f"{page} could not be rendered anew and says so: {why}"
        OUT.print(plain(said, style="yellow"), soft_wrap=True)
    place = tombstones.tombstone_place(done.name)
    OUT.print(f"tombstone: {place}; `itpo verify --deep --all` looks at what stays", soft_wrap=True)


def _print_affected(affected: tuple[Affected, ...], store: LakeStore) -> None:
    """Who learned from it. Weights cannot unlearn."""
    for each in affected:
        name = each.version or each.commit
        OUT.print(f"[bold]{name}[/bold] ({each.kind}) learned from it: {_HOW[each.how]}", soft_wrap=True)
    experiments = sorted({each.commit.split("/")[0] for each in affected})
    for experiment in experiments:
        OUT.print(advice(store, experiment, affected=affected), soft_wrap=True)


_HOW = {"direct": "directly", "descent": "through weights that it descends from"}


def advice(store: LakeStore, experiment: str, *, affected: tuple[Affected, ...]) -> str:
    """What can be done about weights, which cannot unlearn."""
    own = [each for each in affected if each.commit.startswith(f"{experiment}/")]
    first = min(int(each.commit.rpartition("/")[2]) for each in own)
    current = registry.find_current(store, experiment)
    if current is not None and current.name not in {each.version for each in own}:
        return (
            f"{experiment}: the current version {current.name} never learned from it; nothing more is needed"
        )
    clean = last_unaffected(store, experiment, affected=own)
    again = (
        f"train again from iteration {first} under a new experiment name (`itpo run --experiment …`) on logs "
        "without it"
    )
    if clean is None:
        return f"{experiment}: weights cannot unlearn and every version is affected; {again}"
    return (
        f"{experiment}: weights cannot unlearn; the last version without it is {clean} "
        f"(`itpo rollback -e {experiment} --to {clean} --reason …`), or {again}"
    )


def _rows(removed: Counts) -> Table:
    table = Table("kind", "table", "rows", box=None, pad_edge=False)
    for kind, counts in sorted(removed.items()):
        for name, rows in sorted(counts.items()):
            table.add_row(kind, name, str(rows))
    return table


def selector_of(conversations: Sequence[str], user: str | None) -> Selector:
    """What the options name; ConfigError when they name nothing."""
    selector = Selector(tuple(conversations), user)
    if not selector.ids or not all(name.strip() for name in selector.ids):
        raise ConfigError("name what to forget: --conversation ID (as often as needed), or --user ID")
    return selector
