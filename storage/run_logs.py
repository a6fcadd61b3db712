"""What an attempt logged and how it failed, kept in the lake: a machine that is gone takes its disk along."""

import contextlib
import logging
import time
from collections.abc import Generator, Sequence

from storage.manifests import encode_object, parse_object
from storage.objects import ObjectStore

LINE_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class _Listener(logging.Handler):
    def __init__(self, lines: list[str]) -> None:
        super().__init__(logging.INFO)
        self._lines = lines
        formatter = logging.Formatter(LINE_FORMAT, datefmt="%Y-%m-%dT%H:%M:%SZ")
        formatter.converter = time.gmtime
        self.setFormatter(formatter)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the line."""
        self._lines.append(self.format(record))


@contextlib.contextmanager
def listening() -> Generator[list[str], None, None]:
    """Everything that is logged while the block runs, line by line; it goes where it went before as well."""
    lines: list[str] = []
    listener, root = _Listener(lines), logging.getLogger()
    root.addHandler(listener)
    try:
        yield lines
    finally:
        root.removeHandler(listener)


def keep(store: ObjectStore, experiment: str, *, name: str, lines: Sequence[str]) -> None:
    """Write the lines of an attempt once; nothing is written for one that said nothing."""
    if lines:
        store.create(f"{experiment}/_logs/{name}.json", encode_object({"name": name, "lines": list(lines)}))


def read(store: ObjectStore, experiment: str) -> dict[str, list[str]]:
    """The kept lines by name of the attempt."""
    bodies = [parse_object(store.get(place), place=place) for place in store.list(f"{experiment}/_logs/")]
    return {body["name"]: body["lines"] for body in bodies}


def names(store: ObjectStore, experiment: str, *, prefix: str) -> list[str]:
    """Names of the attempts with kept lines that start so."""
    folder = f"{experiment}/_logs/"
    found = store.list(folder + prefix)
    return [place.removeprefix(folder).removesuffix(".json") for place in found]
