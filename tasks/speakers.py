"""How the lake calls who spoke a logged conversation: its file, and the version that the log names."""

LOGGED = "logs:"  # before the name of who spoke, when it is no version of the registry
_MARK = "//"  # no path of a file has two slashes in a row, so no file is mistaken for a version


def logged_speaker(stem: str, version: str | None) -> str:
    """`policy_version` of rows from this file, without its ending; the version is what the log says."""
    return f"{LOGGED}{stem}" if version is None else f"{LOGGED}{stem}{_MARK}{version}"


def claimed_version(policy_version: str) -> str | None:
    """The version that a logged row names as its speaker; None where it names none, or is not logged."""
    _, mark, version = policy_version.partition(_MARK)
    return version if mark and policy_version.startswith(LOGGED) else None
