"""Logs of no domain: which stages an iteration has when a file is all there is, and who is missing."""

from tasks.config import Config, ConfigError
from tasks.config_offline import NO_DOMAIN
from tasks.context import Context

STEP = 1  # the iteration that steps on logged turns; from the next one on users are needed
STEP_STAGES = ("credit", "train_policy", "evaluate", "decide", "report")
REMEDY = (
    'give users and a judge that are language models, user.kind = "llm" and judge.kind = "llm", under '
    "another experiment name (docs/from-logs.md), or a domain whose users talk like the logged ones"
)


def is_bare(config: Config) -> bool:
    """Whether the experiment is its log files, of no domain."""
    return config.domain.name == NO_DOMAIN


def is_step(context: Context) -> bool:
    """Whether this iteration steps on logged turns, and rolls nothing out."""
    return steps_on_logs(context.config, context.iteration)


def steps_on_logs(config: Config, iteration: int) -> bool:
    """The same of an iteration of a configuration."""
    return is_bare(config) and iteration == STEP


def has_users(config: Config) -> bool:
    """Whether anybody is there to talk to."""
    return not is_bare(config) or config.user.kind == "llm"


def last_iteration(config: Config) -> int | None:
    """The last iteration that can be run; None where there is no last one."""
    return None if has_users(config) else STEP


def previous(config: Config, iteration: int) -> int:
    """The iteration before with rollouts of its own: the step on logged turns has none."""
    skips = is_bare(config) and iteration - 1 == STEP
    return iteration - 2 if skips else iteration - 1


def window(config: Config, iteration: int, *, replayed: int) -> list[int]:
    """An iteration and those before that it replays, oldest first."""
    found = [iteration]
    while len(found) <= replayed and found[0] > 0:
        found.insert(0, previous(config, found[0]))
    return found


def check_reachable(context: Context) -> None:
    """Raises ConfigError for an iteration that nobody is there to talk in."""
    last = last_iteration(context.config)
    if last is not None and context.iteration > last:
        raise ConfigError(
            f"{context.experiment}, iteration {context.iteration}: the log is used up after iteration "
            f"{last}, and there are no users to talk to; {REMEDY}"
        )
