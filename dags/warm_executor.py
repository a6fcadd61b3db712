"""A LocalExecutor whose workers already hold torch when they fork a task.

Importing torch and transformers costs a task five seconds of processor time; a fork of a process that has
imported them costs milliseconds.
"""

from airflow.executors.local_executor import LocalExecutor

from tasks import preload


class WarmLocalExecutor(LocalExecutor):
    """LocalExecutor that imports what the stages need before it forks its workers."""

    def start(self) -> None:
        """Import, then fork the workers; only the scheduler calls this."""
        preload.load()
        super().start()
