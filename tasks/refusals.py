"""Refusals that are no fault of the configuration: light, so that the command can name them."""


class FailureBudgetError(RuntimeError):
    """Too many conversations broke, or nobody scored them; nothing of them is kept, and nothing trains.

    No ConfigError: the same step may well succeed at another hour, and is worth another try.
    """
