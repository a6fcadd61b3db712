"""Parsed log conversations become lake rows: groups, ids, and turn truth where a domain has an oracle."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from itpo_core.envs.base import TurnOracle
from itpo_core.identifiers import stable_id
from itpo_core.logs.duplicates import Body, Sourced
from itpo_core.logs.parsed import Draw, ParsedConversation, Rejected, RejectReason, Speaker, Suggestion
from itpo_core.types import Acceptance, Conversation, FinishReason, Role, Scenario, Turn, TurnTruth
from tasks.records import Columns, Lineage, Row, conversation_row, turn_columns
from tasks.speakers import logged_speaker

if TYPE_CHECKING:
    from itpo_core.envs.catalogue import Domain  # all environments: not for processes that only read

MAX_GROUP = 32_000  # sample indices are 16-bit in the lake
LOG_ENDINGS = (".gz", ".jsonl", ".ndjson", ".json", ".parquet")
UNDRAWN = Draw((), ())


@dataclass(frozen=True, slots=True)
class Place:
    """Where imported rows belong."""

    experiment: str
    iteration: int = 0
    shard: int = 0


@dataclass(frozen=True, slots=True)
class Simulator:
    """Who simulated the users of logged conversations, and the truth of their turns where it can be told."""

    name: str
    version: str
    digest: str
    oracle: TurnOracle | None = None


FOREIGN_SIMULATOR = Simulator("logs", "1", "")  # nobody simulated these users


def simulator_of(domain: "Domain | None") -> Simulator | None:
    """Of a domain what logs need; its other parts need not be carried to who reads them."""
    if domain is None:
        return None
    environment = domain.environment
    return Simulator(environment.name, environment.version, domain.simulator_digest, domain.oracle)


@dataclass(frozen=True, slots=True)
class Spoken:
    """A conversation ready for the lake but for its group, and the log entry that it was."""

    sourced: Sourced
    conversation: Conversation


class Families:
    """Conversations of one task, persona and file are siblings; one without a task is a group of its own."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._members: Counter[str] = Counter()

    def next_in(self, family: str) -> tuple[str, int]:
        """The group of the next conversation of a family, and its number in the group."""
        part, sample = divmod(self._members[family], MAX_GROUP)
        self._members[family] += 1
        return stable_id(self._place.experiment, self._place.iteration, family, part), sample


def family_of(sourced: Sourced) -> str:
    """What siblings have in common."""
    parsed = sourced.conversation
    task = parsed.scenario_id or f"{sourced.source}#{parsed.rows[0]}"
    return stable_id(sourced.source, task, parsed.persona_id)


def spoken_of(sourced: Sourced, place: Place, *, simulator: Simulator | None) -> Spoken | Rejected:
    """The conversation, in no group yet; refused when its simulated scenario is not the simulator's."""
    truths = _truths(sourced.conversation, simulator)
    if isinstance(truths, Rejected):
        return truths
    return Spoken(sourced, _conversation(sourced, truths, place))


def conversation_id(place: Place, body: Body) -> str:
    """The same words under the same id are the same conversation, wherever they are read."""
    return stable_id(place.experiment, place.iteration, body.logged_id or "", body.digest)


class Lineages:
    """Who made the rows: the same for all conversations of one file and domain name."""

    def __init__(
        self, place: Place, *, simulator: Simulator | None, outcome_columns: Mapping[str, str]
    ) -> None:
        """`outcome_columns` says by file where its outcomes stand."""
        self._place = place
        self._simulator = simulator
        self._outcome_columns = outcome_columns
        self._known: dict[tuple[str, str, Speaker | None], Lineage] = {}

    def of(self, each: Spoken) -> Lineage:
        """The lineage of one conversation."""
        key = (each.sourced.source, each.conversation.scenario.domain, each.sourced.conversation.speaker)
        if key not in self._known:
            column = self._outcome_columns[each.sourced.source]
            self._known[key] = _lineage_of(
                *key, self._place, simulator=self._simulator, outcome_column=column
            )
        return self._known[key]


def conversation_rows(spoken: Sequence[Spoken], lineages: Lineages) -> list[Row]:
    """Rows of `conversations`, with the file and first row that each came from, and its user."""
    return [
        {
            **conversation_row(each.conversation, lineages.of(each)),
            "source_file": each.sourced.source,
            "source_row": each.sourced.conversation.rows[0],
            "user_id": each.sourced.conversation.user_id,
        }
        for each in spoken
    ]


def logged_turn_columns(spoken: Sequence[Spoken], lineages: Lineages) -> Columns:
    """Columns of `turns`; where the log says what had been suggested, that stands beside what was sent."""
    return turn_columns([(each.conversation, lineages.of(each)) for each in spoken])


def quarantine_rows(source: str, rejected: Rejected, *, raw: Mapping[int, str]) -> list[Row]:
    """Rows of `quarantine`: one per log row that was not accepted, with its text."""
    return [
        {
            "source_file": source,
            "source_row": number,
            "disposition": rejected.reason.disposition,
            # A detail may repeat what the log says, with half a character in it.
            "reason": f"{rejected.reason.value}: {rejected.detail}".encode(
                errors="backslashreplace"
            ).decode(),
            "raw": raw[number],
        }
        for number in rejected.rows
    ]


def _lineage_of(
    source: str,
    name: str,
    speaker: Speaker | None,
    place: Place,
    *,
    simulator: Simulator | None,
    outcome_column: str,
) -> Lineage:
    known = simulator if simulator is not None and simulator.name == name else FOREIGN_SIMULATOR
    lineage = Lineage(
        experiment=place.experiment,
        iteration=place.iteration,
        shard=place.shard,
        policy_version=logged_speaker(_stem(source), None if speaker is None else speaker.policy_version),
        simulator=known.name,
        simulator_version=known.version,
        simulator_digest=known.digest,
        judge_version=f"logged:{outcome_column}",
        # Nobody has looked yet whether ids and log-probabilities are those of who is named.
        says_sampling=False,
    )
    if speaker is None:
        return lineage
    return replace(
        lineage,
        tokenizer_digest=speaker.tokenizer_digest,
        temperature=speaker.temperature,
        top_p=speaker.top_p,
    )


def _stem(source: str) -> str:
    for ending in LOG_ENDINGS:
        source = source.removesuffix(ending)
    return source


def _conversation(sourced: Sourced, truths: Sequence[TurnTruth | None], place: Place) -> Conversation:
    parsed = sourced.conversation
    return Conversation(
        conversation_id=conversation_id(place, sourced.body),
        group_id="",
        sample_index=0,
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
        scenario_id=parsed.scenario_id or f"{sourced.source.rpartition('/')[2]}#{parsed.rows[0]}",
        domain=parsed.domain,
        split=parsed.split,
        opening=parsed.messages[:first_turn],
        latent_json=parsed.latent_json,
        persona_id=parsed.persona_id,
    )


def _turns(parsed: ParsedConversation, truths: Sequence[TurnTruth | None]) -> tuple[Turn, ...]:
    sent = [message.content for message in parsed.messages if message.role is Role.ASSISTANT]
    draws, cut = parsed.draws or [UNDRAWN] * len(sent), parsed.cut or [False] * len(sent)
    said = zip(parsed.suggestions, sent, truths, draws, cut, strict=True)
    return tuple(_turn(index, *each) for index, each in enumerate(said))


def _turn(
    index: int, suggestion: Suggestion | None, sent: str, truth: TurnTruth | None, draw: Draw, was_cut: bool
) -> Turn:
    """Where nothing had been suggested, the policy answered by itself."""
    return Turn(
        turn_index=index,
        text=sent if suggestion is None else suggestion.text,
        finish=FinishReason.LENGTH if was_cut else FinishReason.END_OF_TURN,
        response_ids=draw.token_ids,
        logprobs=draw.logprobs,
        truth=truth,
        sent_text=sent,
        acceptance=Acceptance.AUTONOMOUS if suggestion is None else Acceptance(suggestion.acceptance),
    )


def _truths(parsed: ParsedConversation, simulator: Simulator | None) -> Sequence[TurnTruth | None] | Rejected:
    """The domain's exact truth per turn; None per turn for conversations of any other origin."""
    if simulator is None or simulator.oracle is None or simulator.name != parsed.domain:
        return [None] * len(parsed.suggestions)
    try:
        return simulator.oracle.truths(_scenario(Sourced("", parsed)), parsed.messages)
    except (ValueError, KeyError, TypeError) as error:
        detail = f"metadata.scenario is not one of the domain {parsed.domain} ({error})"
        return Rejected(parsed.rows, RejectReason.BAD_METADATA, detail)
