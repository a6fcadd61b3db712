"""Stable names and seeds: every identifier and every random choice of the product derives from these two."""

import hashlib
import json

_ID_CHARACTERS = 32
_SEED_BITS = 63  # fits a signed 64-bit column and torch's generators


def stable_id(*parts: str | int) -> str:
    """32 hexadecimal characters that depend on the parts alone, on every machine and in every process.

    The parts are kept apart: ("ab", "c") and ("a", "bc") differ, and so do 1 and "1".
    """
    return _digest(parts).hex()[:_ID_CHARACTERS]


def derive_seed(root: int, *path: str | int) -> int:
    """A seed in [0, 2**63) for one purpose under `root`; different paths give unrelated streams."""
    whole = int.from_bytes(_digest((root, *path))[:8], "big")
    return whole >> (64 - _SEED_BITS)


def _digest(parts: tuple[str | int, ...]) -> bytes:
    # JSON keeps the borders between parts and tells numbers from text.
    return hashlib.sha256(json.dumps(parts).encode()).digest()
