"""Named points at which a test kills the process as the operating system would: no handler runs, nothing is flushed."""

from __future__ import annotations

import os
import signal

VARIABLE = "MATINEE_FAILPOINT"


def failpoint(name: str) -> None:
    """SIGKILL this process if the environment names this point; otherwise nothing."""
    if os.environ.get(VARIABLE) == name:
        os.kill(os.getpid(), signal.SIGKILL)
