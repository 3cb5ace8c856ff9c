"""One exception family: what went wrong decides the exit code of the command line.

A message names the thing, the value found, the rule and the way out, because the command line prints the message and
nothing else (a traceback only under ``--debug``).
"""

from __future__ import annotations

INTERRUPTED, TERMINATED = 130, 143
"""Exit codes after SIGINT and SIGTERM, as a shell has them."""


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


def stopped(error: BaseException | None) -> int | None:
    """The exit code of the Ctrl-C or SIGTERM that an error is or came of, as when a connection breaks that was cut off
    in a call; None if it came of neither."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return INTERRUPTED
        if isinstance(error, SystemExit) and error.code == TERMINATED:
            return TERMINATED
        error = error.__context__
    return None
