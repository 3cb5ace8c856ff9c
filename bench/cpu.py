"""CPU seconds of processes and all below them, for the benches."""

from __future__ import annotations

import contextlib

import psutil


class Meter:
    """CPU seconds of the processes looked at and all below them, those that have ended too, as last seen of each.

    Who is left to init takes its seconds along: so do PyFlink's workers, whose shell is killed before them, and they
    are most of what its job costs. So look often; what a process uses after the last look at it is lost.
    """

    def __init__(self) -> None:
        self._spent: dict[psutil.Process, float] = {}

    def look(self, *pids: int) -> float:
        """All so far of these and of those of earlier looks; a process that is gone is as it was."""
        for pid in pids:
            with contextlib.suppress(psutil.NoSuchProcess):
                root = psutil.Process(pid)
                for process in (root, *root.children(recursive=True)):
                    with contextlib.suppress(psutil.NoSuchProcess):
                        times = process.cpu_times()
                        self._spent[process] = float(times.user + times.system)
        return sum(self._spent.values())
