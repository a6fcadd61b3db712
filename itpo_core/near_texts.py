"""Texts of evaluation scenarios that come again with a word changed.

Two texts are compared by the Jaccard similarity of their word shingles; which ones to compare is found by
MinHash and locality-sensitive hashing (Broder 1997), so that most pairs never are.
"""

from collections.abc import Collection, Iterable, Sequence

from datasketch import MinHash, MinHashLSH

from itpo_core.contamination import WORD, texts_of
from itpo_core.types import Role, Scenario

SHINGLE_WORDS = 3
PERMUTATIONS = 128
# Candidates are gathered from further away than what counts, for hardly any to be missed (one in 20,000 of
# pairs at 0.8, where three in five would be), and are then compared exactly.
GATHERED = 0.6


class NearTexts:
    """The texts of evaluation scenarios, ready to be found again in any number of others."""

    def __init__(self, scenarios: Sequence[Scenario], *, threshold: float) -> None:
        """`threshold` is the least Jaccard similarity of two texts that are nearly the same, in (0, 1]."""
        self._threshold = threshold
        self._owner, self._shingles = _identifying(scenarios)
        self._known = frozenset().union(*self._shingles.values())
        self._index = MinHashLSH(threshold=GATHERED * threshold, num_perm=PERMUTATIONS)
        for text, shingles in self._shingles.items():
            self._index.insert(text, _sketch(shingles))

    def alike(self, texts: Iterable[str]) -> dict[str, float]:
        """The scenarios that one of the texts nearly is, each with the largest similarity."""
        found: dict[str, float] = {}
        for text in texts:
            for scenario, similarity in self._matches(shingles_of(text)):
                found[scenario] = max(similarity, found.get(scenario, 0.0))
        return found

    def _matches(self, shingles: frozenset[str]) -> list[tuple[str, float]]:
        # No text can be alike that shares too little with all of them together: most are told so at once.
        if len(shingles & self._known) < self._threshold * max(1, len(shingles)):
            return []
        texts = map(str, self._index.query(_sketch(shingles)))
        near = [(self._owner[text], jaccard(shingles, self._shingles[text])) for text in texts]
        return [(owner, alike) for owner, alike in near if alike >= self._threshold]


def shingles_of(text: str) -> frozenset[str]:
    """Every three words in a row, in lower case; a shorter text is one shingle."""
    words = WORD.findall(text.lower())
    rows = zip(*(words[start:] for start in range(SHINGLE_WORDS)), strict=False)
    return frozenset(" ".join(row) for row in rows) or frozenset({" ".join(words)})


def jaccard(first: Collection[str], second: Collection[str]) -> float:
    """What two sets share, of all that they hold; 0 for two empty ones."""
    both = set(first) | set(second)
    return len(set(first) & set(second)) / len(both) if both else 0.0


def _identifying(scenarios: Sequence[Scenario]) -> tuple[dict[str, str], dict[str, frozenset[str]]]:
    """The scenario of every text that only one of them has, and the text's shingles."""
    owners: dict[str, set[str]] = {}
    for scenario in scenarios:
        # What assistants are told before is no user's, and the same for many.
        said = [message for message in scenario.opening if message.role is not Role.SYSTEM]
        for text in texts_of(said, scenario.latent_json):
            owners.setdefault(text, set()).add(scenario.scenario_id)
    owner = {text: min(ids) for text, ids in owners.items() if len(ids) == 1}
    return owner, {text: shingles_of(text) for text in owner}


def _sketch(shingles: Iterable[str]) -> MinHash:
    sketch = MinHash(num_perm=PERMUTATIONS)
    sketch.update_batch([shingle.encode() for shingle in sorted(shingles)])
    return sketch
