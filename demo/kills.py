"""`matinee demo --kill`: kill -9 at full size, the TaskManager under the live day and the driver at points of ingest.

The loop goes on as if nothing had happened; `reconcile` and the counts of the report say whether anything did.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import date

from conf import flink, supervisor
from conf.errors import MatineeError
from conf.settings import ROOT, Settings
from jobs import failpoint
from streaming import follow

INGEST_POINTS = ("before_write", "before_publish", "between_publishes")
PATIENCE_S = 120.0


@contextmanager
def taskmanager(settings: Settings, job_id: str, day: date, say: Callable[[str], None]) -> Iterator[None]:
    """While the block sends `day`: after the next completed checkpoint, before the day's end, kill the TaskManager.

    Raises:
        MatineeError: no checkpoint was completed in time, or the day was through before the kill.
    """
    with ThreadPoolExecutor(1, "kill-taskmanager") as pool:
        killed = pool.submit(_kill_after_checkpoint, settings, job_id, day, say)
        yield
        killed.result()


def _kill_after_checkpoint(settings: Settings, job_id: str, day: date, say: Callable[[str], None]) -> None:
    first = _checkpoints(settings, job_id)["completed"]
    deadline = time.monotonic() + PATIENCE_S
    while _checkpoints(settings, job_id)["completed"] == first:
        if time.monotonic() > deadline:
            raise MatineeError(f"no checkpoint of job {job_id} was completed within {PATIENCE_S:.0f} s")
        time.sleep(0.1)
    state = supervisor.read_state(settings.stack.dir)
    child = None if state is None else next((c for c in state.children if c.name == "taskmanager"), None)
    if child is None:
        raise MatineeError("no TaskManager of this stack is known: it is not started by `make up`")
    unfinished = follow.open_partitions(settings, day)
    if not unfinished:
        raise MatineeError(f"the stream was through with {day} before the kill: nothing was tried")
    os.kill(child.pid, signal.SIGKILL)
    say(f"killed the TaskManager (process {child.pid}) with {day} open in partitions {unfinished}")


def assert_restored(settings: Settings, job_id: str) -> int:
    """How often the job was restored from a checkpoint.

    Raises:
        MatineeError: never; the kill was not felt, so nothing is shown by it.
    """
    restored = int(_checkpoints(settings, job_id)["restored"])
    if not restored:
        raise MatineeError(f"job {job_id} was never restored from a checkpoint: the kill was not felt")
    return restored


def ingest(day: date, say: Callable[[str], None]) -> None:
    """Start ingest of `day` in a process of its own for every point, which kills itself there.

    Raises:
        MatineeError: a process ended otherwise than by SIGKILL.
    """
    command = [sys.executable, str(ROOT / "matinee.py"), "job", "ingest", "--date", day.isoformat()]
    for point in INGEST_POINTS:
        done = subprocess.run(
            command, env={**os.environ, failpoint.VARIABLE: f"ingest:{point}"}, capture_output=True, text=True
        )
        if done.returncode != -signal.SIGKILL:
            raise MatineeError(f"ingest was to be killed at {point}, but ended with {done.returncode}: {done.stderr}")
        say(f"killed the driver of ingest {point.replace('_', ' ')}")


def _checkpoints(settings: Settings, job_id: str) -> dict[str, int]:
    counts: dict[str, int] = flink.get(settings, f"/jobs/{job_id}/checkpoints")["counts"]
    return counts
