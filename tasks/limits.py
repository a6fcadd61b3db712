"""Settings that say when to stop and never what is written: another value is no other iteration."""

import json
from collections.abc import Mapping
from types import MappingProxyType

from tasks.config import canonical_json

LIMITS = MappingProxyType(
    {
        "collect": frozenset({"failure_budget", "unscored_budget"}),
        "evaluate": frozenset({"failure_budget", "contamination"}),
    }
)


def but_for_limits(inputs: Mapping[str, str], committed: Mapping[str, str] | None) -> dict[str, str]:
    """The inputs, with the text that was committed wherever a section differs from it in limits alone.

    So what lies in the lake keeps saying under which limits it was made, and may be gone on with under
    others: who is refused by a limit has to be able to move it.
    """
    found = committed or {}
    return {
        name: found[name]
        if name in LIMITS and name in found and _unlimited(name, text) == _unlimited(name, found[name])
        else text
        for name, text in inputs.items()
    }


def _unlimited(name: str, text: str) -> str:
    return canonical_json({key: value for key, value in json.loads(text).items() if key not in LIMITS[name]})
