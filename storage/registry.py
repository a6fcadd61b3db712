"""The policy registry: an append-only chain of events per experiment, one create-only object each.

Every event holds the digest of the one before it, so a changed, lost or inserted event is noticed on reading.
What is current is never stored; it is what the events add up to.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from storage.digests import file_sha256
from storage.errors import ConflictingEvent, CorruptObject, MissingPolicy, ObjectMissing
from storage.manifests import encode_object, parse_object
from storage.objects import ObjectStore
from storage.tagged_copies import get_below

Action = Literal["candidate", "promote", "hold", "rollback"]
Evidence = Mapping[str, float | str | bool | None]
DECISIONS = ("promote", "hold", "rollback")


@dataclass(frozen=True, slots=True)
class PolicyVersion:
    """A trained policy: its name, the version it started from (None for the first), and its commit."""

    name: str
    experiment: str
    iteration: int
    parent: str | None
    commit_digest: str
    commit_key: str


@dataclass(frozen=True, slots=True)
class Decision:
    """One event of the registry.

    `policy` is set for candidates only. `settles` is the newest iteration whose candidate this decides, None
    for a candidate's own event and for a rollback by hand. `digest` is that of the event's bytes.
    """

    action: Action
    version: str
    reason: str
    evidence: Evidence
    event_id: str
    seq: int
    policy: PolicyVersion | None
    settles: int | None
    digest: str


@dataclass(frozen=True, slots=True)
class _Draft:
    action: str
    version: str
    reason: str
    evidence: Evidence
    policy: PolicyVersion | None = None
    settles: int | None = None


def version_name(experiment: str, iteration: int) -> str:
    """The name of the version that an iteration trains, as in sales/v0003."""
    return f"{experiment}/v{iteration:04d}"


def register_candidate(store: ObjectStore, version: PolicyVersion) -> Decision:
    """Make the version known, once; ConflictingEvent when the name stands for another policy."""
    draft = _Draft("candidate", version.name, "trained", {}, policy=version)
    event = _append(store, version.experiment, event_id=f"candidate/{version.name}", draft=lambda _: draft)
    if event.policy != version:
        raise ConflictingEvent(
            f"{version.name} is registered as {event.policy}, now it would be {version}: versions are never "
            "changed; train under another experiment name"
        )
    return event


def record_decision(
    store: ObjectStore,
    experiment: str,
    *,
    event_id: str,
    action: str,
    version: str,
    reason: str,
    evidence: Evidence,
) -> Decision:
    """Promote or hold the newest candidate, or roll back to `version`; the candidate counts as decided.

    The same event id again returns the event that is there; with another action or version it is a
    ConflictingEvent. Raises MissingPolicy for a version that was never registered.
    """
    if action not in DECISIONS:
        raise ValueError(f"action {action!r} is unknown: use one of {', '.join(DECISIONS)}")

    def draft(events: Sequence[Decision]) -> _Draft:
        known = _known(events, experiment, version)
        newest = max(policy.iteration for policy in known.values())
        return _Draft(action, version, reason, dict(evidence), settles=newest)

    event = _append(store, experiment, event_id=event_id, draft=draft)
    if (event.action, event.version) != (action, version):
        raise ConflictingEvent(
            f"event {event_id!r} of {experiment} is {event.action} {event.version}, now it would be {action} "
            f"{version}: decisions are never changed; record a new one under another event id"
        )
    return event


def rollback(store: ObjectStore, experiment: str, *, to: str | None, reason: str, event_id: str) -> Decision:
    """Make an earlier version current: `to`, or the one that was current before the present one.

    Raises MissingPolicy when there is no such version. A repeated event id returns the event that is there.
    """

    def draft(events: Sequence[Decision]) -> _Draft:
        version = _predecessor(events, experiment) if to is None else to
        _known(events, experiment, version)
        return _Draft("rollback", version, reason, {})

    return _append(store, experiment, event_id=event_id, draft=draft)


def events(store: ObjectStore, experiment: str) -> list[Decision]:
    """Every event in order, the chain verified; raises CorruptObject naming the first broken link.

    Of a bucket what was read before comes from this machine; where the chain ends is asked every time.
    """
    found: list[Decision] = []
    read = get_below(store, f"{experiment}/registry/")
    while (data := _event_bytes(store, experiment, len(found), read=read)) is not None:
        previous = found[-1].digest if found else ""
        found.append(
            decode_event(data, seq=len(found), place=_place(experiment, len(found)), previous=previous)
        )
    return found


def versions(store: ObjectStore, experiment: str) -> list[PolicyVersion]:
    """Every registered version, oldest first."""
    return [event.policy for event in events(store, experiment) if event.policy is not None]


def current(store: ObjectStore, experiment: str) -> PolicyVersion:
    """The version that speaks now; MissingPolicy says how to get one."""
    found = find_current(store, experiment)
    if found is None:
        raise MissingPolicy(
            f"experiment {experiment} has no current policy: run its iteration 0 (`itpo run`), and look at "
            "`itpo policies` if version 0 was held at its gate"
        )
    return found


def find_current(store: ObjectStore, experiment: str) -> PolicyVersion | None:
    """The version that speaks now, or None before anything was promoted."""
    found = events(store, experiment)
    line = _line_of_current(found)
    return _policies(found)[line[-1]] if line else None


def speaker_after(decision: Decision) -> str | None:
    """Who speaks after a decision; None where its own candidate was held, so that nobody does yet."""
    settles = decision.settles
    is_own = settles is not None and decision.version.rpartition("/")[2] == f"v{settles:04d}"
    return None if decision.action == "hold" and is_own else decision.version


def next_iteration(store: ObjectStore, experiment: str) -> int:
    """The iteration after the last one that was decided; 0 when none was."""
    settled = [event.settles for event in events(store, experiment) if event.settles is not None]
    return max(settled, default=-1) + 1


def claim_run(store: ObjectStore, experiment: str, *, run_id: str) -> int:
    """The iteration that this run does: the next one, and for ever the same for the same run id."""
    place = f"{experiment}/runs/{file_sha256(run_id.encode())}.json"
    body = {"run_id": run_id, "iteration": next_iteration(store, experiment)}
    store.create(place, encode_object(body))
    return int(parse_object(store.get(place), place=place)["iteration"])


def _append(
    store: ObjectStore, experiment: str, *, event_id: str, draft: Callable[[Sequence[Decision]], _Draft]
) -> Decision:
    """Add one event, or return the one that has this id. Losing the race for a place, take the next."""
    while True:
        earlier = events(store, experiment)
        same = [event for event in earlier if event.event_id == event_id]
        if same:
            return same[0]
        data = _encode(draft(earlier), event_id=event_id, previous=earlier[-1].digest if earlier else "")
        store.create(_place(experiment, len(earlier)), data)


def _place(experiment: str, seq: int) -> str:
    return f"{experiment}/registry/{seq:06d}.json"


def _event_bytes(store: ObjectStore, experiment: str, seq: int, *, read: Mapping[str, bytes]) -> bytes | None:
    """The event at a place in the chain, or None behind its end; CorruptObject where the chain has a gap."""
    place = _place(experiment, seq)
    if place in read:
        return read[place]
    try:
        return store.get(place)
    except ObjectMissing:
        if all(key <= place for key in store.list(f"{experiment}/registry/")):
            return None
    try:
        return store.get(place)  # written by somebody else since the first look, or really lost
    except ObjectMissing as lost:
        raise CorruptObject(f"object {place!r} is lost although later events exist: restore it") from lost


def _encode(draft: _Draft, *, event_id: str, previous: str) -> bytes:
    body = {
        "event_id": event_id,
        "previous": previous,
        **dataclasses.asdict(draft),
    }
    try:
        return encode_object(body)
    except ValueError as problem:
        raise ValueError(
            f"event {event_id!r}: evidence must be finite, unknown is null: {draft.evidence}"
        ) from problem


def decode_event(data: bytes, *, place: str, seq: int, previous: str) -> Decision:
    """The event in the object `place`; CorruptObject unless it follows the one with the digest `previous`."""
    body = parse_object(data, place=place)
    try:
        if body["previous"] != previous:
            raise CorruptObject(
                f"object {place!r} follows an event with digest {body['previous']!r}, but the one before "
                f"it has {previous!r}: an event was changed or lost; restore the registry from a copy"
            )
        return Decision(
            action=body["action"],
            version=body["version"],
            reason=body["reason"],
            evidence=body["evidence"],
            event_id=body["event_id"],
            seq=seq,
            policy=None if body["policy"] is None else PolicyVersion(**body["policy"]),
            settles=body["settles"],
            digest=file_sha256(data),
        )
    except (KeyError, TypeError) as problem:
        raise CorruptObject(f"object {place!r} is no registry event: {problem!r}") from problem


def _policies(found: Sequence[Decision]) -> dict[str, PolicyVersion]:
    return {event.policy.name: event.policy for event in found if event.policy is not None}


def _known(found: Sequence[Decision], experiment: str, version: str) -> dict[str, PolicyVersion]:
    """All registered versions, among which `version` has to be."""
    known = _policies(found)
    if version not in known:
        names = ", ".join(known) or "none"
        raise MissingPolicy(f"experiment {experiment} has no version {version!r}; registered are: {names}")
    return known


def _line_of_current(found: Sequence[Decision]) -> list[str]:
    """The versions that a rollback can step back through; the last one is current.

    A rollback cuts the line at its target, so that rolling back twice goes back twice instead of returning
    to the version that was left.
    """
    line: list[str] = []
    for event in found:
        if event.action == "rollback" and event.version in line:
            del line[line.index(event.version) + 1 :]
        elif event.action in ("promote", "rollback") and line[-1:] != [event.version]:
            line.append(event.version)
    return line


def _predecessor(found: Sequence[Decision], experiment: str) -> str:
    line = _line_of_current(found)
    if len(line) < 2:
        raise MissingPolicy(
            f"experiment {experiment} has no version before {line[-1] if line else 'the first'} to roll back "
            "to: name one with --to"
        )
    return line[-2]
