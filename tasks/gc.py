"""`itpo gc`: what nothing in the lake needs any more, listed, and removed on demand."""

import time
from dataclasses import replace
from pathlib import Path

from rich.table import Table

from storage.exclusion import Alone, alone
from storage.leases import Holder
from storage.objects import LakeStore
from storage.sweeping import Sweep, find_garbage, refuse_unfinished, remove_garbage
from storage.tombstones import unfinished
from tasks.config import ConfigError
from tasks.console import OUT
from tasks.context import Context, work_root
from tasks.options import Options
from tasks.plain_text import plain

HOUR_S = 3600.0
SHOWN = 50


def run(options: Options, *, grace_s: float, delete: bool, force: bool) -> int:
    """List the garbage that is older than the grace; with `delete` remove it, and half-written files too.

    Raises ConfigError for a grace so short that it would take what a running stage is about to name, and
    BusyLake where a forgetting has to be finished first.
    """
    context = Context(options.load(), 0)
    if not delete:
        _list(context.store, now_s=time.time(), grace_s=grace_s)
        OUT.print("nothing was removed: --delete does")
        return 0
    ttl_s = context.config.lake.lease_ttl_s
    check_grace(grace_s, lease_ttl_s=ttl_s, force=force)
    with alone(context.store, attempt=context.attempt, ttl_s=ttl_s, on_wait=say_waiting) as mine:
        refuse_unfinished(mine.store)
        sweep, copies = _list(mine.store, now_s=mine.now_s(), grace_s=grace_s)
        _remove(replace(mine, silent_s=max(mine.silent_s, grace_s)), sweep, copies, grace_s=grace_s)
    return 0


def _list(store: LakeStore, *, now_s: float, grace_s: float) -> tuple[Sweep, list[Path]]:
    sweep = find_garbage(store, now_s=now_s, grace_s=grace_s)
    print_sweep(sweep)
    copies = old_copies(work_root() / "cache", older_than_s=grace_s)
    OUT.print(f"local copies of objects: {len(copies)} not touched within the grace")
    for place in unfinished(store):
        said = f"{place}: a forgetting was begun and not finished: run it again"
        OUT.print(plain(said, style="yellow"), soft_wrap=True)
    return sweep, copies


def say_waiting(holder: Holder) -> None:
    """Tell people why nothing happens yet."""
    OUT.print(f"waiting for a forgetting or another collection of garbage (process {holder.process.pid})")


def check_grace(grace_s: float, *, lease_ttl_s: float, force: bool) -> None:
    """Warn of a short grace; ConfigError for one that is shorter than a lease, unless forced."""
    if grace_s < lease_ttl_s and not force:
        raise ConfigError(
            f"a grace of {grace_s:g} s is shorter than a lease ({lease_ttl_s:g} s): a stage that runs stores "
            "its files first and names them later; what is removed in between would be named and missing "
            "and the iteration lost. Give a longer --grace-hours, or --force where surely nothing runs"
        )
    if grace_s < HOUR_S:
        OUT.print(
            f"[yellow]a grace of {grace_s:g} s: stages that run now may lose files that they are about to "
            "name, which breaks their iteration; be sure that nothing runs[/yellow]"
        )


def print_sweep(sweep: Sweep) -> None:
    """What would go and what stays, by reason."""
    table = Table("object", "bytes", "why", box=None, pad_edge=False)
    for each in sweep.garbage[:SHOWN]:
        table.add_row(each.info.key, str(each.info.size_bytes), each.why)
    OUT.print(table)
    size = sum(each.info.size_bytes for each in sweep.garbage)
    OUT.print(
        f"{len(sweep.garbage)} objects of {size} bytes; younger than the grace: {sweep.young}; where a stage "
        f"is at work: {sweep.waiting}",
        soft_wrap=True,
    )
    for info in sweep.unknown[:SHOWN]:
        OUT.print(plain(f"left alone, as it is of no known form: {info.key}"), soft_wrap=True)


def old_copies(folder: Path, *, older_than_s: float) -> list[Path]:
    """Files of the cache that nobody read or wrote for so long; they are fetched again when needed."""
    oldest = time.time() - older_than_s
    files = (path for path in folder.rglob("*") if path.is_file())
    return sorted(path for path in files if max(path.stat().st_atime, path.stat().st_mtime) < oldest)


def _remove(mine: Alone, sweep: Sweep, copies: list[Path], *, grace_s: float) -> None:
    gone = remove_garbage(mine, sweep)
    halves = mine.store.sweep_unfinished(older_than_s=grace_s)
    for path in copies:
        path.unlink(missing_ok=True)
    OUT.print(f"removed: {len(gone)} objects, {len(halves)} half-written ones, {len(copies)} local copies")
