"""How much lies in a folder while some work goes on."""

import contextlib
import threading
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

LOOK_EVERY_S = 0.05


@dataclass(slots=True)
class LargestSize:
    """The most bytes that were seen in the folder."""

    folder: Path
    bytes: int = 0

    def look(self) -> None:
        """Once; files that go away meanwhile do not count."""
        total = 0
        for path in self.folder.rglob("*"):
            with contextlib.suppress(FileNotFoundError):
                total += path.stat().st_size if path.is_file() else 0
        self.bytes = max(self.bytes, total)


@contextlib.contextmanager
def largest_size(folder: Path) -> Generator[LargestSize, None, None]:
    """Look every twentieth of a second until the work is done."""
    noted, done = LargestSize(folder), threading.Event()

    def look() -> None:
        while not done.wait(LOOK_EVERY_S):
            noted.look()

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    try:
        yield noted
    finally:
        done.set()
        watcher.join()
