"""What can go wrong in a way that a person can act on, and the exit codes that tell scripts of it."""

from __future__ import annotations

import sys
from collections.abc import Callable


class K2Error(Exception):
    """The text says what happened, to which thing, and what to do. `exit_code` is the one of the k2 program."""

    exit_code = 1


class DataError(K2Error):
    """Data or a check failed: a table of another form, lost offsets, a file that cannot be read."""

    exit_code = 1


class RaceError(DataError):
    """Another writer was faster, and nothing of this was applied: plan again from what the tables hold."""


class ConfigurationError(K2Error):
    """The caller's words, or what is installed here, are wrong."""

    exit_code = 2


class UnavailableError(K2Error):
    """A service does not answer, or does not let us in; nothing was done that must be undone."""

    exit_code = 3


class SparkStoppedError(UnavailableError):
    """This session's Spark has ended: waiting does not help, a new session does."""


class UnknownOutcomeError(K2Error):
    """A commit was sent, and whether it was applied could not be learnt."""

    exit_code = 4


class InternalError(K2Error):
    """A fault of k2 itself, told with the place where it was caught."""

    exit_code = 5


def one_line(text: object, limit: int = 400) -> str:
    """The first line of a text that says something: Java's stack traces follow it."""
    for line in str(text).splitlines():
        if line.strip():
            return line.strip() if len(line) <= limit else line.strip()[:limit] + "…"
    return type(text).__name__


def run_main(main: Callable[[], int]) -> None:
    """Ends the process with the exit code of `main`, or of the error that it raised, told in one line."""
    try:
        code = main()
    except K2Error as error:
        print(f"error: {error}", file=sys.stderr)
        code = error.exit_code
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        code = 130
    sys.stdout.flush()
    sys.stderr.flush()
    sys.exit(code)
