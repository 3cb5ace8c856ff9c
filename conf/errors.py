"""One exception family: what went wrong decides the exit code of the command line.

A message names the thing, the value found, the rule and the way out, because the command line prints the message and
nothing else (a traceback only under ``--debug``).
"""

from __future__ import annotations

INTERRUPTED = 130


class MatineeError(Exception):
    """Base of every error that is expected to reach a user; ``exit_code`` becomes the process's own."""

    exit_code: int = 1


class UsageError(MatineeError):
    """The command or its arguments make no sense; trying again does not help."""

    exit_code = 2


class ConfigError(MatineeError):
    """A setting, a lock file or an environment is wrong; trying again does not help."""

    exit_code = 2


class InputMissing(MatineeError):
    """An input partition or file is not there yet; a scheduler may retry."""

    exit_code = 3


class AuditFailed(MatineeError):
    """The data broke an expectation; ``main`` is untouched, trying again does not help."""

    exit_code = 4


class ServiceUnavailable(MatineeError):
    """A broker, cluster or database does not answer; a scheduler may retry."""

    exit_code = 5


def by_interrupt(error: BaseException | None) -> bool:
    """Whether an error is Ctrl-C or came of giving up after it, as when a connection breaks that was cut off in a
    call."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error is not None
