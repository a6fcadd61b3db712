"""Conversations between an engine and simulated users: who speaks, who waits, how each one ends.

Between both a business person may stand, who sends something else than the policy suggests (see
`itpo_core.suggestions`). Messages are always what the user heard.

What breaks becomes a typed failure of its conversation, which keeps what was said and gets no outcome; the
others go on.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from itpo_core.asking import Answer, DirectUsers, Users, attempt
from itpo_core.engines.base import BrokenTurn, Engine, Sampling, Session, SpokenTurn
from itpo_core.envs.base import (
    Business,
    Businesses,
    Environment,
    Judge,
    Judges,
    Reply,
    Sent,
    TurnOracle,
    UserSimulator,
)
from itpo_core.identifiers import derive_seed
from itpo_core.judging import Bench, on_the_bench
from itpo_core.suggestions import Desk, at_the_desk, sent_note
from itpo_core.types import (
    Conversation,
    Failure,
    FailureKind,
    Message,
    ModelCall,
    Outcome,
    Role,
    Scenario,
    Scored,
    StopReason,
    Turn,
    Unscored,
)


@dataclass(frozen=True, slots=True)
class RolloutSpec:
    """One conversation to hold. `seed` is the root of its user's and of its policy's draws.

    `temperatures` are those of its first turns where it explores; later turns, and all by default, are
    sampled at the common one.
    """

    conversation_id: str
    group_id: str
    sample_index: int
    seed: int
    scenario: Scenario
    temperatures: tuple[float, ...] = ()


def run_conversations(
    engine: Engine,
    environment: Environment,
    *,
    oracle: TurnOracle | None,
    specs: Sequence[RolloutSpec],
    sampling: Sampling,
    businesses: Businesses | None = None,
    users: Users | None = None,
    judges: Judges | None = None,
    bench: Users | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[Conversation]:
    """Hold one conversation per spec, all in one batch, and return them in that order.

    `businesses` puts a person between policy and user (by default nobody). `users` says how both are asked
    (directly by default). `judges` stand in for the environment's rule, and `bench` says how they are asked:
    their answers are taken whenever they come, for a judged row is out of the engine. Turn truths, of what
    was sent, are attached to scored conversations when there is an oracle. `on_progress(finished, total)` is
    called as conversations end.
    """
    session = engine.open(
        [spec.scenario.opening for spec in specs],
        seeds=[derive_seed(spec.seed, "policy") for spec in specs],
        sampling=sampling,
        temperatures=[spec.temperatures for spec in specs] if any(s.temperatures for s in specs) else None,
    )
    batch = _Batch(
        session,
        environment,
        oracle=oracle,
        specs=specs,
        businesses=businesses,
        judges=judges,
        users=users or DirectUsers(),
        bench=bench or DirectUsers(),
    )
    finished = 0
    while batch.open_rows:
        batch.go_on()
        if on_progress is not None and len(specs) - batch.open_rows > finished:
            finished = len(specs) - batch.open_rows
            on_progress(finished, len(specs))
    return batch.conversations()


@dataclass(slots=True)
class _Row:
    """One conversation under way; `conversation` is None until it has ended.

    `is_at_desk` while the last turn is a suggestion that nobody has sent yet; `stop` is set while a judge is
    asked.
    """

    spec: RolloutSpec
    user: UserSimulator | Failure
    business: Business | Failure | None
    messages: list[Message]
    turns: list[Turn]
    is_at_desk: bool = False
    stop: StopReason | None = None
    calls: list[ModelCall] = field(default_factory=list)
    conversation: Conversation | None = None


class _Batch:
    """All conversations of one session."""

    def __init__(
        self,
        session: Session,
        environment: Environment,
        *,
        oracle: TurnOracle | None,
        specs: Sequence[RolloutSpec],
        businesses: Businesses | None,
        judges: Judges | None,
        users: Users,
        bench: Users,
    ) -> None:
        self._session = session
        self._environment = environment
        self._oracle = oracle
        self._judges = judges
        self._users = users
        self._bench = bench
        self._rows = [
            _Row(spec, self._user(spec), _person(businesses, spec), list(spec.scenario.opening), turns=[])
            for spec in specs
        ]
        self.open_rows = len(specs)
        for index, row in enumerate(self._rows):
            for absent in (row.user, row.business):
                if isinstance(absent, Failure) and row.conversation is None:
                    self._fail(index, absent)

    def go_on(self) -> None:
        """Let the engine finish a turn, and hand answers on; users are waited for when no row can speak."""
        spoken = self._session.advance()
        for turn in spoken:
            if isinstance(turn, BrokenTurn):
                self._fail(turn.row, turn.failure)
            else:
                self._hear(turn)
        answers = self._users.answers(wait=not spoken)
        for answer in [*answers, *self._bench.answers(wait=not spoken and not answers)]:
            self._take(answer)

    def conversations(self) -> list[Conversation]:
        """Every conversation that has ended, in the order of the specs."""
        return [row.conversation for row in self._rows if row.conversation is not None]

    def _user(self, spec: RolloutSpec) -> UserSimulator | Failure:
        seed = derive_seed(spec.seed, "user")
        return attempt(lambda: self._environment.user(spec.scenario, seed=seed), FailureKind.USER_ERROR)

    def _hear(self, spoken: SpokenTurn) -> None:
        row = self._rows[spoken.row]
        row.turns.append(
            Turn(
                turn_index=len(row.turns),
                text=spoken.text,
                finish=spoken.finish,
                prompt_ids=spoken.prompt_ids,
                response_ids=spoken.response_ids,
                logprobs=spoken.logprobs,
                temperature=next(iter(row.spec.temperatures[len(row.turns) :]), None),
            )
        )
        if row.business is None or isinstance(row.business, Failure):
            self._say(spoken.row, spoken.text)
        else:
            row.is_at_desk = True
            self._users.ask(spoken.row, Desk(row.business, spoken.text), messages=tuple(row.messages))

    def _say(self, index: int, text: str) -> None:
        """Let the user hear the assistant, and ask him."""
        row = self._rows[index]
        row.messages.append(Message(Role.ASSISTANT, text))
        if not isinstance(row.user, Failure):
            self._users.ask(index, row.user, messages=tuple(row.messages))

    def _send(self, index: int, sent: Sent) -> None:
        row = self._rows[index]
        row.is_at_desk = False
        row.turns[-1] = replace(row.turns[-1], sent_text=sent.text, acceptance=sent.acceptance)
        self._say(index, sent.text)

    def _take(self, answer: Answer) -> None:
        self._rows[answer.row].calls += answer.reply.calls
        match answer.reply:
            case Failure():
                self._break(answer.row, answer.reply)
            case Sent():
                self._send(answer.row, answer.reply)
            case Reply():
                self._go_on_with(answer, answer.reply)
            case Scored() | Unscored():
                stop = self._rows[answer.row].stop
                self._close(answer.row, stop or StopReason.COMPLETED, outcome=answer.reply)

    def _break(self, index: int, failure: Failure) -> None:
        row = self._rows[index]
        if row.stop is not None:
            self._fail(index, on_the_bench(failure))
        elif row.is_at_desk:
            # What was never sent is no turn: every turn has its message.
            row.turns.pop()
            self._fail(index, at_the_desk(failure))
        else:
            self._fail(index, failure)

    def _go_on_with(self, answer: Answer, reply: Reply) -> None:
        row = self._rows[answer.row]
        said = [] if reply.text is None else [Message(Role.USER, reply.text)]
        row.messages += said
        stop = self._stop(reply, turns=len(row.turns))
        if stop is not None:
            self._end(answer.row, stop)
        elif not self._session.append(
            answer.row, [*sent_note(row.turns[-1].text, row.turns[-1].sent_text), *said]
        ):
            full = Unscored(f"the context was full after {len(row.turns)} turns")
            self._close(answer.row, StopReason.CONTEXT_FULL, outcome=full)

    def _stop(self, reply: Reply, *, turns: int) -> StopReason | None:
        at_limit = turns >= self._environment.max_turns
        return reply.stop or (StopReason.TURN_LIMIT if at_limit else None)

    def _end(self, index: int, stop: StopReason) -> None:
        spec, messages = self._rows[index].spec, tuple(self._rows[index].messages)
        judge = _judge(self._judges, spec)
        if isinstance(judge, Failure):
            self._fail(index, judge)
            return
        if judge is not None:
            self._session.close(index)
            self._rows[index].stop = stop
            self._bench.ask(index, Bench(judge), messages=messages)
            return
        judged = attempt(lambda: self._environment.outcome(spec.scenario, messages), FailureKind.JUDGE_ERROR)
        if isinstance(judged, Failure):
            self._fail(index, judged)
        else:
            self._close(index, stop, outcome=judged)

    def _fail(self, index: int, failure: Failure) -> None:
        unscored = Unscored(f"{failure.kind}: {failure.cause}")
        self._close(index, StopReason.FAILED, outcome=unscored, failure=failure)

    def _close(
        self, index: int, stop: StopReason, *, outcome: Outcome, failure: Failure | None = None
    ) -> None:
        row = self._rows[index]
        if row.stop is None:
            self._session.close(index)
        self.open_rows -= 1
        row.conversation = Conversation(
            conversation_id=row.spec.conversation_id,
            group_id=row.spec.group_id,
            sample_index=row.spec.sample_index,
            seed=row.spec.seed,
            scenario=row.spec.scenario,
            messages=tuple(row.messages),
            turns=self._with_truths(row) if isinstance(outcome, Scored) else tuple(row.turns),
            outcome=outcome,
            stop=stop,
            failure=failure,
            calls=tuple(row.calls),
        )

    def _with_truths(self, row: _Row) -> tuple[Turn, ...]:
        if self._oracle is None:
            return tuple(row.turns)
        truths = self._oracle.truths(row.spec.scenario, row.messages)
        if not truths:
            return tuple(row.turns)
        return tuple(replace(turn, truth=truth) for turn, truth in zip(row.turns, truths, strict=True))


def _person(businesses: Businesses | None, spec: RolloutSpec) -> Business | Failure | None:
    if businesses is None:
        return None
    seed = derive_seed(spec.seed, "business")
    return attempt(lambda: businesses.person(spec.scenario, seed=seed), FailureKind.BUSINESS_ERROR)


def _judge(judges: Judges | None, spec: RolloutSpec) -> Judge | Failure | None:
    if judges is None:
        return None
    seed = derive_seed(spec.seed, "judge")
    return attempt(lambda: judges.judge(spec.scenario, seed=seed), FailureKind.JUDGE_ERROR)
