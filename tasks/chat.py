"""`itpo chat`: a person takes the user's seat and talks to any policy version."""

from collections.abc import Iterable
from pathlib import Path

from rich.console import Console
from rich.text import Text

from itpo_core.engines.base import BrokenTurn, Engine, Sampling
from itpo_core.types import Message, Role
from storage import registry
from tasks import build
from tasks.config import Config, ConfigError
from tasks.context import Context
from tasks.options import Options
from tasks.plain_text import plain, visible

OUT = Console(highlight=False)


def talk(options: Options, policy: str) -> None:
    """Read lines until an empty one; every answer is sampled as in a rollout."""
    config = options.load()
    context = Context(config, 0)
    folder = policy_folder(context, policy)
    OUT.print(plain(f"talking to {policy} ({folder}); an empty line ends"))
    speaker = speaker_of(config, folder)
    for answer in answers(speaker.engine, _lines(), seed=config.seed, sampling=build.sampling(config)):
        OUT.print(Text.assemble(("assistant", "bold"), f" {visible(answer)}"))


def speaker_of(config: Config, folder: Path) -> build.Speaker:
    """The policy in the folder. Raises ConfigError where there is none, or none that can be talked to."""
    from itpo_core.tiny_policy import PolicyFolderError
    from itpo_core.tokens import ChatTemplateError

    try:
        return build.speaker(config, folder, trains=False)
    except PolicyFolderError as error:
        raise ConfigError(str(error)) from None
    except ChatTemplateError as error:
        raise ConfigError(
            f"{_template(folder)}: nobody can be talked to through this chat template: {error}. Mend it, or "
            f"talk to another policy; `itpo doctor --policy {folder}` shows all that it does"
        ) from None


def _template(folder: Path) -> Path:
    """The file of the folder that holds the chat template."""
    alone = folder / "chat_template.jinja"
    return alone if alone.is_file() else folder / "tokenizer_config.json"


def policy_folder(context: Context, policy: str) -> Path:
    """A registered version, `current`, or a model folder as a local folder."""
    if Path(policy).is_dir():
        return Path(policy)
    versions = {version.name: version for version in registry.versions(context.store, context.experiment)}
    if policy == "current":
        return context.policy_folder(registry.current(context.store, context.experiment))
    if policy not in versions:
        raise ConfigError(
            f"policy {policy!r}: not a folder, nor a version of {context.experiment}, which has "
            f"{', '.join(versions) or 'none yet'}; another experiment is named with --experiment"
        )
    return context.policy_folder(versions[policy])


def answers(engine: Engine, said: Iterable[str], *, seed: int, sampling: Sampling) -> Iterable[str]:
    """One assistant answer per user line, in one conversation; stops when the context is full."""
    session = None
    for line in said:
        message = Message(Role.USER, line)
        if session is None:
            session = engine.open([[message]], seeds=[seed], sampling=sampling)
        elif not session.append(0, [message]):
            yield "(the conversation no longer fits the policy's context)"
            return
        (turn,) = session.advance()
        if isinstance(turn, BrokenTurn):
            yield f"(no answer: {turn.failure.cause})"
            return
        yield turn.text


def _lines() -> Iterable[str]:
    while True:
        try:
            line = OUT.input("you> ").strip()
        except EOFError:
            return
        if not line:
            return
        yield line
