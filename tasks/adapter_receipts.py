"""What a receipt says of an adapter: the version that it is added to, and whether its weights are those."""

import hashlib
import json

from storage import registry
from storage.manifests import Commit
from tasks.context import BASE_VERSION
from tasks.receipts import Desk, Told

BELONGS = "itpo_base.json"


def base_of(desk: Desk, commit: Commit) -> Told | None:
    """The weights behind an adapter, by the digests of commit and files; None for whole weights."""
    if BASE_VERSION not in commit.inputs:
        return None
    base = _base_commit(desk, commit)
    return {
        "version": commit.inputs[BASE_VERSION],
        "digest": None if base is None else base.digest,
        "weights": {} if base is None else _weights(base),
    }


def base_breaks(desk: Desk, commit: Commit) -> list[str]:
    """Why the adapter cannot be the one of the version that its commit names; nothing for whole weights."""
    if BASE_VERSION not in commit.inputs:
        return []
    name, base = commit.inputs[BASE_VERSION], _base_commit(desk, commit)
    if base is None:
        return [f"{commit.key.text} is an adapter of {name}, which the lake does not hold"]
    wanted, found = _trained_on(desk, commit), _digest(base)
    if wanted == found:
        return []
    return [f"{commit.key.text} was trained on weights {wanted[:12]}…, {name} has {found[:12]}…"]


def _base_commit(desk: Desk, commit: Commit) -> Commit | None:
    known = {each.name: each for each in registry.versions(desk.store, desk.experiment)}
    version = known.get(commit.inputs[BASE_VERSION])
    return None if version is None else desk.lineage.by_digest.get(version.commit_digest)


def _weights(base: Commit) -> dict[str, str]:
    names = sorted(name for name in base.artifacts if name.endswith(".safetensors"))
    return {name: base.artifacts[name].sha256 for name in names}


def _trained_on(desk: Desk, commit: Commit) -> str:
    belongs = json.loads(desk.store.get(commit.artifacts[BELONGS].key))
    return str(belongs["weights_sha256"])


def _digest(base: Commit) -> str:
    """As an adapter's folder names it: SHA-256 over those of the files, in the order of their names."""
    return hashlib.sha256(b"".join(bytes.fromhex(sha256) for sha256 in _weights(base).values())).hexdigest()
