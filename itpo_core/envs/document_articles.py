"""Real articles as scenarios for users and judges that are language models, from rows that somebody supplies.

Two kinds of rows are known by their keys (the schema is in docs/domains.md): an article ({title, text} or
{title, article}), and a CollabLLM multi-turn row in its collapsed form ({prompt, ground_truth, extra_info}).
"""

import json
from collections.abc import Iterable, Mapping, Sequence

from itpo_core.envs.collapsed_rows import Row, collapsed, is_collapsed, text_of
from itpo_core.envs.document_article import DOMAIN
from itpo_core.envs.document_drafts import assembled_from
from itpo_core.envs.document_score import score_document
from itpo_core.envs.scenarios import UNSEEN_SHARE
from itpo_core.identifiers import derive_seed, stable_id
from itpo_core.types import Message, Outcome, Role, Scenario, Split, Unscored

MAX_WORDS = 500
GOAL = "write under {words} words about {title}"
# Short, so that openings about like titles are not taken for near-duplicates of each other.
OPENING = "Can you help me write about {title}?"


def read_articles(rows: Iterable[tuple[int, Row]], *, max_words: int = MAX_WORDS) -> list[Scenario]:
    """One scenario per row, in their order; a row that repeats an earlier one is left out.

    A fifth of the texts, chosen by a hash of the text alone, is UNSEEN, so that no text is on both sides.
    Raises ValueError naming the row by its number and the key for whatever is missing, empty, of another
    type, or as long as the goal forbids.
    """
    found = (_scenario(row, where=f"row {number}", max_words=max_words) for number, row in rows)
    return list({each.scenario_id: each for each in found}.values())


def reference_text(scenario: Scenario) -> str:
    """The text that the user of a real article has in mind. Raises ValueError for any other scenario."""
    latent = json.loads(scenario.latent_json) if scenario.domain == DOMAIN else {}
    if "reference" not in latent:
        raise ValueError(f"scenario {scenario.scenario_id} has no reference text; read it by read_articles")
    return str(latent["reference"])


def article_outcome(scenario: Scenario, messages: Sequence[Message]) -> Outcome:
    """The outcome of what the assistant marked as draft; without any mark the document is empty and worth 0.

    A judge that finds unmarked drafts assembles them itself and calls `score_document` with `reference_text`.
    """
    if not any(message.role is Role.ASSISTANT for message in messages):
        return Unscored("the assistant said nothing")
    return score_document(reference_text(scenario), assembled_from(messages))


def _scenario(row: Row, *, where: str, max_words: int) -> Scenario:
    if is_collapsed(row):
        return _collapsed(row, where=where)
    return _plain(row, where=where, max_words=max_words)


def _plain(row: Row, *, where: str, max_words: int) -> Scenario:
    title = text_of(row, "title", where=where)
    key = "article" if "article" in row else "text"
    reference = text_of(row, key, where=where)
    words = len(reference.split())
    if words >= max_words:
        raise ValueError(
            f"{where}, key {key!r}: {words} words, but its user asks for fewer than {max_words}; "
            "leave such rows out, or raise max_words"
        )
    opening = (Message(Role.USER, OPENING.format(title=title)),)
    goal = GOAL.format(words=max_words, title=title)
    return _made({"title": title, "goal": goal, "reference": reference}, opening)


def _collapsed(row: Row, *, where: str) -> Scenario:
    given = collapsed(row, where=where)
    latent = {"name": given.name, "goal": given.goal, "task": given.task, "reference": given.reference}
    return _made(latent, given.prompt)


def _made(latent: Mapping[str, str], opening: tuple[Message, ...]) -> Scenario:
    text = json.dumps(latent, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    said = [part for message in opening for part in (message.role.value, message.content)]
    return Scenario(
        scenario_id=f"{DOMAIN}-article-{stable_id(text, *said)[:16]}",
        domain=DOMAIN,
        split=_split(latent["reference"]),
        opening=opening,
        latent_json=text,
    )


def _split(reference: str) -> Split:
    share = derive_seed(0, DOMAIN, "split", reference) / 2**63
    return Split.UNSEEN if share < UNSEEN_SHARE else Split.SEEN
