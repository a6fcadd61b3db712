"""Fidelity: the simulated users of an experiment beside those of its logs.

In the place of the logged users: a simulated one hears what a logged one heard and answers it, so that only
the users differ. Or in the committed conversations of an iteration, whose assistant is not that of the logs.
"""

from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

from itpo_core.envs.catalogue import Domain
from itpo_core.envs.logged import NAME as LOGGED
from itpo_core.envs.logged import LoggedTalk, scenario_of
from itpo_core.envs.user_acts import REFUSING, USER_ACTS
from itpo_core.fidelity import LOGS_NEEDED, Fidelity, TooFew, compare
from itpo_core.fidelity_talks import Exchange, Talk, replayed, talk_of
from itpo_core.identifiers import derive_seed
from itpo_core.types import Failure, Message, Role, Scenario, Split, StopReason
from storage import commits
from storage.warehouse import run_sql
from tasks import build, simulators
from tasks.cassettes import tape_of
from tasks.config import Config
from tasks.context import Context
from tasks.records import messages_from_json

Row = Mapping[str, object]
REPORTED = 400  # logged conversations of which the report's section is made
MORE_LOGS = "import more, or look at more (--conversations)"
KEEP_CALLS = "and --set cassettes.mode=record keeps the calls with their causes"


@dataclass(frozen=True, slots=True)
class Comparison:
    """What was found, or why nothing was; where the users were heard, and how many answers failed."""

    found: Fidelity | None
    reason: str
    how: str
    failed: int = 0


def in_the_report(context: Context) -> Comparison:
    """What the page of iteration 0 shows: users who follow rules, in the logged users' place.

    Users without rules (language models) are not asked while a page is written.
    """
    if context.config.user.kind != "scripted":
        return Comparison(None, "a language model plays the users; `itpo fidelity` asks it", "")
    return in_their_place(context, conversations=REPORTED)


def in_their_place(context: Context, *, conversations: int) -> Comparison:
    """Simulated users answer what logged ones heard. MissingCommit when there are no logs."""
    domain = build.domain(context.config)
    rows = logged_rows(context, conversations=conversations)
    known = [row for row in rows if row["simulator"] == domain.environment.name and _scenario(row)]
    how = f"in the place of the users of {len(known)} logged conversations"
    if len(known) < LOGS_NEEDED:
        name = domain.environment.name
        told = f"{len(known)} of {len(rows)} logged conversations say what a user of {name} wants"
        needed = f"at least {LOGS_NEEDED} are needed: {MORE_LOGS}, or hear the users of an iteration"
        return Comparison(None, f"{told}; {needed} (`itpo fidelity --iteration N`)", how)
    with _playing(context, domain) as users, ThreadPoolExecutor(_at_once(context.config)) as threads:
        asked = partial(in_place_of, domain=users, root=context.config.seed)
        answered = list(threads.map(asked, known))
    failed = sum(failures for _, failures in answered)
    found = compared(context, known, simulated=[talk for talk, _ in answered])
    return _comparison(found, how=how, failed=failed)


@contextmanager
def _playing(context: Context, domain: Domain) -> Generator[Domain]:
    """The domain with its own users, or with the language model that plays them."""
    config = context.config
    if config.user.kind == "scripted":
        yield domain
        return
    with tape_of(config, 0, "fidelity") as tape, simulators.asked_models(config, tape) as models:
        yield simulators.with_models(domain, config, models={"user": models["user"]})


def _at_once(config: Config) -> int:
    """Conversations that are answered at the same time; the order does not change what is answered."""
    return 1 if config.user.kind == "scripted" else config.user.concurrency


def in_iteration(context: Context, *, conversations: int) -> Comparison:
    """The users of an iteration's own rollouts. MissingCommit when there are none."""
    rows = conversation_rows(context, context.iteration, conversations=conversations)
    spoken = ", ".join(sorted({str(row["policy_version"]) for row in rows}))
    how = f"in {len(rows)} conversations with {spoken}, another assistant than in the logs"
    logged = logged_rows(context, conversations=conversations)
    return _comparison(compared(context, logged, simulated=[_talk(row) for row in rows]), how=how)


def compared(context: Context, logged: Sequence[Row], *, simulated: Sequence[Talk]) -> Fidelity | TooFew:
    """Logged users beside simulated ones, with the domain's kinds of messages where it has some."""
    chosen = context.config.domain
    acts = USER_ACTS[chosen.name](chosen.preset) if chosen.name in USER_ACTS else None
    talks, seed = [_talk(row) for row in logged], context.config.seed
    return compare(talks, simulated, acts=acts, refusing=REFUSING, seed=seed)


def logged_rows(context: Context, *, conversations: int) -> list[Row]:
    """Logged conversations, a sample by hash; without the personas that only teach a policy to copy."""
    return conversation_rows(context, 0, conversations=conversations)


def conversation_rows(context: Context, iteration: int, *, conversations: int) -> list[Row]:
    """Conversations of an iteration's rollouts, at most so many, a sample by hash."""
    rollouts = context.read("rollouts", iteration)
    left_out = context.config.logs.supervised_only_personas
    return run_sql(
        "user_talks.sql",
        relations={"conversations": commits.table_paths(context.store, rollouts, table="conversations")},
        parameters={"personas_left_out": f"|{'|'.join(left_out)}|", "conversations": conversations},
        settings=context.duck,
    ).to_pylist()


def _comparison(found: Fidelity | TooFew, *, how: str, failed: int = 0) -> Comparison:
    if isinstance(found, TooFew):
        return Comparison(None, f"{found.reason}: {_more(failed)}", how, failed)
    return Comparison(found, "", how, failed)


def _more(failed: int) -> str:
    """Where more conversations come from, and whether it was the model that lost them."""
    lost = f"; {failed} answers failed, {KEEP_CALLS}" if failed else ""
    return f"{MORE_LOGS}, or collect more in the iteration (collect.conversations){lost}"


def _talk(row: Row) -> Talk:
    return talk_of(messages_from_json(str(row["messages_json"])), StopReason(str(row["stop_reason"])))


def in_place_of(row: Row, *, domain: Domain, root: int) -> tuple[Talk, int]:
    """What simulated users answer to each thing that the logged user heard, and how often one broke."""
    messages, scenario = messages_from_json(str(row["messages_json"])), _scenario(row)
    if scenario is None:
        raise ValueError(f"nobody begins conversation {row['conversation_id']}, so that nobody can be played")
    exchanges: list[Exchange] = []
    failures = 0
    for turn, heard in enumerate(_heard(messages)):
        seed = derive_seed(root, "fidelity", scenario.scenario_id, str(row["conversation_id"]), turn)
        reply = domain.environment.user(scenario, seed=seed).reply(heard)
        if isinstance(reply, Failure):
            failures += 1
        elif (exchange := replayed(heard, turn, reply=reply)) is not None:
            exchanges.append(exchange)
    return tuple(exchanges), failures


def _heard(messages: Sequence[Message]) -> list[Sequence[Message]]:
    """The conversation up to each point at which a user was to answer."""
    ends = [
        place
        for place, each in enumerate(messages)
        if each.role is Role.ASSISTANT
        and (place + 1 == len(messages) or messages[place + 1].role is Role.USER)
    ]
    return [messages[: place + 1] for place in ends]


def _scenario(row: Row) -> Scenario | None:
    """What the logged user wanted; of no domain what he says himself. None where no user begins."""
    messages = messages_from_json(str(row["messages_json"]))
    if row["simulator"] == LOGGED:
        talk = LoggedTalk(str(row["scenario_id"]), messages, held_out=False)
        found = scenario_of(talk)
        return None if found is None else replace(found, persona_id=str(row["persona_id"]))
    first = next(i for i, each in enumerate(messages) if each.role is Role.ASSISTANT)
    return Scenario(
        scenario_id=str(row["scenario_id"]),
        domain=str(row["simulator"]),
        split=Split(str(row["split"])),
        opening=tuple(messages[:first]),
        latent_json=str(row["latent_json"]),
        persona_id=str(row["persona_id"]),
    )
