"""PostgreSQL of the distribution in the place of its image: where its programs are, and its first start."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from dags.stack_compose import StackFailed

DEBIAN = Path("/usr/lib/postgresql")


def postgres_programs(debian: Path = DEBIAN) -> Path:
    """The folder of PostgreSQL's programs, the newest of Debian's; StackFailed when there is none."""
    found = find_programs(debian)
    if found is None:
        raise StackFailed("PostgreSQL is not installed: apt-get install postgresql (Debian, Ubuntu)")
    return found


def find_programs(debian: Path = DEBIAN) -> Path | None:
    """The same, None when there is none."""
    newest_first = sorted(debian.glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]), reverse=True)
    found = str(newest_first[0]) if newest_first else shutil.which("initdb")
    return None if found is None else Path(found).resolve().parent


def database_user() -> str | None:
    """Who PostgreSQL runs as (None: whoever starts it): it refuses root, and its package brings a user."""
    return "postgres" if os.geteuid() == 0 else None


def make_database(data: Path, given: Mapping[str, str]) -> None:
    """What the image does on its first start, under another name until it is whole; nothing where it is done.

    `given` are the variables of the service. Raises StackFailed with what the program said.
    """
    if data.exists():
        return
    programs, user = postgres_programs(), database_user()
    unfinished, password = data.with_suffix(".unfinished"), data.with_suffix(".password")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(mode=0o700)
    _write_private(password, given["POSTGRES_PASSWORD"])
    for path in (unfinished, password):
        if user is not None:
            shutil.chown(path, user)
    login = ["-U", given["POSTGRES_USER"], f"--pwfile={password}", "--auth=scram-sha-256"]
    init = [str(programs / "initdb"), "-D", str(unfinished), *login, "--encoding=UTF8", "--locale=C.UTF-8"]
    single = [str(programs / "postgres"), "--single", "-D", str(unfinished), "postgres"]
    try:
        _run(init, given, user=user, words="")
        _run(single, given, user=user, words=f'CREATE DATABASE "{given["POSTGRES_DB"]}";\n')
    finally:
        password.unlink()
    unfinished.rename(data)


def _write_private(path: Path, text: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)


def _run(command: list[str], environment: Mapping[str, str], *, user: str | None, words: str) -> None:
    done = subprocess.run(
        command, input=words, text=True, capture_output=True, check=False, cwd="/",
        env=dict(environment), user=user,
    )  # fmt: skip
    if done.returncode != 0:
        raise StackFailed(
            f"{command[0]} ended with {done.returncode}: {done.stderr.strip()[-1000:]}\n"
            "(the user of PostgreSQL must be able to enter the folder of the stack: see --folder)"
        )
