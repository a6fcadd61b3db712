"""Parsed log conversations become lake rows: groups, ids, and turn truth where a domain has an oracle."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from itpo_core.envs.catalogue import Domain
from itpo_core.identifiers import stable_id
from itpo_core.logs.duplicates import Sourced
from itpo_core.logs.parsed import ParsedConversation, Rejected, RejectReason, Suggestion
from itpo_core.types import Acceptance, Conversation, FinishReason, Role, Scenario, Turn, TurnTruth
from tasks.records import Lineage, Row, conversation_row, turn_rows

MAX_GROUP = 32_000  # sample indices are 16-bit in the lake
LOG_ENDINGS = (".gz", ".jsonl", ".ndjson", ".json", ".parquet")
FOREIGN_SIMULATOR = ("logs", "1", "")  # name, version, digest: nobody simulated these users


@dataclass(frozen=True, slots=True)
class Place:
    """Where imported rows belong."""

    experiment: str
    iteration: int = 0
    shard: int = 0


@dataclass(frozen=True, slots=True)
class Spoken:
    """A conversation ready for the lake, beside the log entry that it was."""

    sourced: Sourced
    conversation: Conversation


def spoken_conversations(
    kept: Sequence[Sourced], place: Place, *, domain: Domain | None
) -> tuple[list[Spoken], list[tuple[str, Rejected]]]:
    """Core conversations in their groups, and those whose simulated scenario the domain does not know.

    Conversations of one task, persona and file are siblings; one without a task is a group of its own.
    """
    members: Counter[str] = Counter()
    spoken: list[Spoken] = []
    refused: list[tuple[str, Rejected]] = []
    for sourced in kept:
        truths = _truths(sourced.conversation, domain)
        if isinstance(truths, Rejected):
            refused.append((sourced.source, truths))
        else:
            family = _family(sourced)
            part, sample = divmod(members[family], MAX_GROUP)
            group = stable_id(place.experiment, place.iteration, family, part)
            spoken.append(
                Spoken(sourced, _conversation(sourced, truths, place, group_id=group, sample=sample))
            )
            members[family] += 1
    return spoken, refused


def conversation_rows(spoken: Sequence[Spoken], lineages: Mapping[tuple[str, str], Lineage]) -> list[Row]:
    """Rows of `conversations`, with the file and first row that each came from, and its user."""
    return [
        {
            **conversation_row(each.conversation, _lineage(each, lineages)),
            "source_file": each.sourced.source,
            "source_row": each.sourced.conversation.rows[0],
            "user_id": each.sourced.conversation.user_id,
        }
        for each in spoken
    ]


def logged_turn_rows(spoken: Sequence[Spoken], lineages: Mapping[tuple[str, str], Lineage]) -> list[Row]:
    """Rows of `turns`; where the log says what had been suggested, that stands beside what was sent."""
    return [row for each in spoken for row in turn_rows(each.conversation, _lineage(each, lineages))]


def quarantine_rows(
    rejected: Sequence[tuple[str, Rejected]], raw: Mapping[tuple[str, int], str]
) -> list[Row]:
    """Rows of `quarantine`: one per log row that was not accepted, with its text."""
    return [
        {
            "source_file": source,
            "source_row": number,
            "disposition": rejection.reason.disposition,
            "reason": f"{rejection.reason.value}: {rejection.detail}",
            "raw": raw[source, number],
        }
        for source, rejection in rejected
        for number in rejection.rows
    ]


def lineages_of(
    spoken: Sequence[Spoken], place: Place, *, domain: Domain | None, outcome_column: str
) -> dict[tuple[str, str], Lineage]:
    """Who made the rows, by source file and domain name."""
    return {
        (source, name): _lineage_of(source, name, place, domain=domain, outcome_column=outcome_column)
        for source, name in {(each.sourced.source, each.conversation.scenario.domain) for each in spoken}
    }


def _lineage_of(
    source: str, name: str, place: Place, *, domain: Domain | None, outcome_column: str
) -> Lineage:
    known = domain is not None and domain.environment.name == name
    simulator = FOREIGN_SIMULATOR
    if domain is not None and known:
        simulator = (domain.environment.name, domain.environment.version, domain.simulator_digest)
    return Lineage(
        experiment=place.experiment,
        iteration=place.iteration,
        shard=place.shard,
        policy_version=f"logs:{_stem(source)}",
        simulator=simulator[0],
        simulator_version=simulator[1],
        simulator_digest=simulator[2],
        judge_version=f"logged:{outcome_column}",
    )


def _lineage(each: Spoken, lineages: Mapping[tuple[str, str], Lineage]) -> Lineage:
    return lineages[each.sourced.source, each.conversation.scenario.domain]


def _stem(source: str) -> str:
    for ending in LOG_ENDINGS:
        source = source.removesuffix(ending)
    return source


def _family(sourced: Sourced) -> str:
    parsed = sourced.conversation
    task = parsed.scenario_id or f"{sourced.source}#{parsed.rows[0]}"
    return stable_id(sourced.source, task, parsed.persona_id)


def _conversation(
    sourced: Sourced, truths: Sequence[TurnTruth | None], place: Place, *, group_id: str, sample: int
) -> Conversation:
    parsed = sourced.conversation
    name = stable_id(place.experiment, place.iteration, parsed.logged_id or "", parsed.body_digest)
    return Conversation(
        conversation_id=name,
        group_id=group_id,
        sample_index=sample,
        seed=parsed.seed,
        scenario=_scenario(sourced),
        messages=parsed.messages,
        turns=_turns(parsed, truths),
        outcome=parsed.outcome,
        stop=parsed.stop,
    )


def _scenario(sourced: Sourced) -> Scenario:
    parsed = sourced.conversation
    first_turn = next(i for i, message in enumerate(parsed.messages) if message.role is Role.ASSISTANT)
    return Scenario(
        scenario_id=parsed.scenario_id or f"{PurePosixPath(sourced.source).name}#{parsed.rows[0]}",
        domain=parsed.domain,
        split=parsed.split,
        opening=parsed.messages[:first_turn],
        latent_json=parsed.latent_json,
        persona_id=parsed.persona_id,
    )


def _turns(parsed: ParsedConversation, truths: Sequence[TurnTruth | None]) -> tuple[Turn, ...]:
    sent = [message.content for message in parsed.messages if message.role is Role.ASSISTANT]
    suggested = [
        each or Suggestion(text, Acceptance.AUTONOMOUS)
        for each, text in zip(parsed.suggestions, sent, strict=True)
    ]
    return tuple(
        Turn(
            turn_index=index,
            text=suggestion.text,
            finish=FinishReason.END_OF_TURN,
            truth=truth,
            sent_text=text,
            acceptance=Acceptance(suggestion.acceptance),
        )
        for index, (suggestion, text, truth) in enumerate(zip(suggested, sent, truths, strict=True))
    )


def _truths(parsed: ParsedConversation, domain: Domain | None) -> Sequence[TurnTruth | None] | Rejected:
    """The domain's exact truth per turn; None per turn for conversations of any other origin."""
    if domain is None or domain.oracle is None or domain.environment.name != parsed.domain:
        return [None] * len(parsed.suggestions)
    try:
        return domain.oracle.truths(_scenario(Sourced("", parsed)), parsed.messages)
    except (ValueError, KeyError, TypeError) as error:
        detail = f"metadata.scenario is not one of the domain {parsed.domain} ({error})"
        return Rejected(parsed.rows, RejectReason.BAD_METADATA, detail)
