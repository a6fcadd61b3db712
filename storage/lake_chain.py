"""Whether the objects of a lake belong together: manifests to commits, parents to children, event to event.

Each function takes what was read and gives the problems, every one naming the object that it is about.
"""

from collections.abc import Iterator, Mapping

from storage.lake_contents import Contents, Link
from storage.manifests import Commit, CommitKey, FileEntry, commit_object, shard_key

_REGISTERED = frozenset({"warm_start", "train_policy"})  # stages that register what they commit
_IN_EVIDENCE = ("evaluation_digest", "policy_digest")


def digests_of(contents: Contents) -> set[str]:
    """Every digest that something may be made from: of commits, also earlier ones, and of events."""
    of_commits = {commit.digest for commit in contents.commits.values()}
    earlier = {old.digest for commit in contents.commits.values() for old in commit.supersedes}
    return of_commits | earlier | {link.event.digest for links in contents.events.values() for link in links}


def shard_problems(contents: Contents) -> Iterator[str]:
    """A commit without the manifests that it was sealed from, or with files that they do not name."""
    for key, commit in contents.commits.items():
        for shard, files in _files_by_shard(commit).items():
            place = shard_key(key, shard)
            manifest = contents.shards.get(key, {}).get(shard)
            if manifest is not None and frozenset(manifest.files) != files:
                yield f"object {place!r} names other files than {commit_object(key)!r}: restore it"
            elif manifest is not None and not manifest.artifacts.items() <= commit.artifacts.items():
                yield f"object {place!r} claims other artifacts than {commit_object(key)!r} has: restore it"
            elif manifest is None and place not in contents.damaged:
                yield f"object {place!r} is missing: {key.text} was sealed from it; restore it from a copy"


def parent_problems(contents: Contents, known: set[str]) -> Iterator[str]:
    """What a commit was made from and is not in the lake, where something in the lake tells what it was."""
    for key, commit in contents.commits.items():
        roles = {f"its {role}": digest for role, digest in commit.parents.items()}
        if "policy_digest" in commit.inputs:
            roles["the policy that spoke"] = commit.inputs["policy_digest"]
        for role, digest in roles.items():
            if digest not in known:
                yield (
                    f"object {commit_object(key)!r} names {digest} as {role}, which nothing in the lake has: "
                    f"{_suspect_event(key) if role == 'its registry' else _suspects(contents, key)}"
                )
        for old in commit.supersedes:
            if old.tombstone not in contents.tombstones:
                place = f"_tombstones/{old.tombstone}.json"
                yield f"object {place!r} is missing: {key.text} was made anew because of it; restore it"


def lost_commits(contents: Contents) -> Iterator[str]:
    """Commits that a finished stage left side facts about and that are gone; a page may be uncommitted."""
    for key, facts in contents.facts.items():
        place = commit_object(key)
        gone = key not in contents.commits and place not in contents.closed | contents.damaged.keys()
        finished = {fact.get("stage") for fact in facts if fact.get("shard") == -1 and "error" not in fact}
        if gone and finished and key.kind != "report":
            yield f"object {place!r} is missing: its side facts say that it was sealed; restore it"


def closed_problems(contents: Contents) -> Iterator[str]:
    """A place that was shut without the one that is always shut before it."""
    for place in sorted(contents.closed):
        before = place.replace("/commit.json", "/shard-0000.json")
        if before not in contents.keys:
            yield f"object {before!r} is missing: {place!r} was closed after it; restore it from a copy"


def registry_problems(contents: Contents, known: set[str]) -> Iterator[str]:
    """Broken links between events, and events about what is not there."""
    for experiment, links in contents.events.items():
        ordered = sorted(links, key=lambda link: link.event.seq)
        yield from _chain_problems(contents, experiment, {link.event.seq: link for link in ordered})
        names = {link.event.policy.name for link in ordered if link.event.policy is not None}
        for link in ordered:
            yield from _event_problems(contents, link, known=known, names=names)
    yield from _lost_events(contents)


def _chain_problems(contents: Contents, experiment: str, links: Mapping[int, Link]) -> Iterator[str]:
    digests = {seq: link.event.digest for seq, link in links.items()}
    for seq in range(max(links)):
        place = f"{experiment}/registry/{seq:06d}.json"
        if place not in contents.keys:
            yield f"object {place!r} is missing although later events exist: restore it from a copy"
        elif seq in digests and seq + 1 in links and links[seq + 1].previous != digests[seq]:
            yield (
                f"object {place!r} is not the event that {links[seq + 1].key!r} follows: one of the two was "
                "replaced; restore the registry from a copy"
            )
    if 0 in links and links[0].previous:
        yield f"object {links[0].key!r} is first and follows an event: restore the registry from a copy"


def _event_problems(contents: Contents, link: Link, *, known: set[str], names: set[str]) -> Iterator[str]:
    event = link.event
    if event.version not in names:
        yield f"object {link.key!r} is about {event.version}, which no event registers"
    named = {name: event.evidence[name] for name in _IN_EVIDENCE if name in event.evidence}
    if event.policy is not None:
        named["commit_digest"] = event.policy.commit_digest
    for name, digest in named.items():
        if digest not in known:
            yield (
                f"object {link.key!r} names {digest} ({name}), which nothing in the lake has: "
                f"{_suspects(contents)}"
            )


def _lost_events(contents: Contents) -> Iterator[str]:
    """Events at the end of a registry leave no gap when they vanish, but stages that made them left facts."""
    for key, facts in contents.facts.items():
        stages = {fact.get("stage") for fact in facts if "error" not in fact}
        events = [link.event for link in contents.events.get(key.experiment, [])]
        unreadable = any(place.startswith(f"{key.experiment}/registry/") for place in contents.damaged)
        registered = {event.policy.iteration for event in events if event.policy is not None}
        if unreadable:
            continue
        if stages & _REGISTERED and key.iteration not in registered:
            yield _lost_event(contents, key, "registers its version")
        if "decide" in stages and f"decide/{key.iteration:04d}" not in {event.event_id for event in events}:
            yield _lost_event(contents, key, "decides about it")


def _lost_event(contents: Contents, key: CommitKey, does: str) -> str:
    count = len(contents.events.get(key.experiment, []))
    place = f"{key.experiment}/registry/{count:06d}.json"
    return f"object {place!r} or one behind it is missing: the event that {does} ({key.text}); restore it"


def _files_by_shard(commit: Commit) -> dict[int, frozenset[FileEntry]]:
    """The files of every shard that a commit was sealed from; a commit without tables has one empty shard."""
    found: dict[int, set[FileEntry]] = {0: set()}
    for entry in commit.files:
        number = entry.key.removeprefix(f"{commit.key.prefix}/shard=").partition("/")[0]
        found.setdefault(int(number) if number.isdigit() else -1, set()).add(entry)
    return {shard: frozenset(files) for shard, files in found.items()}


def _suspect_event(key: CommitKey) -> str:
    return f"an event of {key.experiment}/registry/ was changed or is missing"


def _suspects(contents: Contents, child: CommitKey | None = None) -> str:
    """Which object it probably was: one that has manifests or side facts and no commit."""
    begun = {*contents.shards, *contents.facts} - contents.commits.keys() - {child}
    gone = sorted({commit_object(key) for key in begun} - contents.closed)
    return (
        f"missing or changed is one of {', '.join(gone)}" if gone else "the object is missing or was changed"
    )
