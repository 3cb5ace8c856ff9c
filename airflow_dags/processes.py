"""One child command with everything it starts: run it, hand on its output, leave nothing of it behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

import psutil

GRACE_S = 10.0
"""Seconds between asking a tree of processes to end and ending it."""


def guarded(argv: Sequence[str]) -> list[str]:
    """``argv``, such that it gets a SIGTERM if its parent is killed outright, where the system offers that (Linux).

    A scheduler that loses its worker would otherwise start a second writer beside the first.
    """
    guard = shutil.which("setpriv")
    return [guard, "--pdeathsig", "TERM", "--", *argv] if guard else list(argv)


class Command:
    """A command in a session of its own, so that one call ends it and its descendants."""

    def __init__(self, argv: Sequence[str], cwd: Path, env: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            guarded(argv),
            cwd=cwd,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            bufsize=1,
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        """Process id of the command, which is also its session's."""
        return self._process.pid

    def follow(self, write: Callable[[str], None]) -> int:
        """Give each line of output to ``write``; the exit code, negative for a signal. Ends the tree if interrupted."""
        try:
            assert self._process.stdout is not None
            for line in self._process.stdout:
                write(line.rstrip("\n"))
            return self._process.wait()
        finally:
            self.stop()

    def stop(self) -> None:
        """End the command and its descendants: SIGTERM, after ``GRACE_S`` SIGKILL. Harmless when it is gone."""
        stop_trees(self._process.pid)


def stop_trees(*leaders: int, grace_s: float | None = None) -> None:
    """End the sessions led by ``leaders`` with all descendants; returns once they are gone.

    Reaps nothing: whoever started a leader still gets its exit code, also when this runs in a signal handler.
    """
    known: set[psutil.Process] = set()
    for number in (signal.SIGTERM, signal.SIGKILL):
        known |= _trees(leaders)
        for process in known:
            _send(process, number)
        deadline = time.monotonic() + (GRACE_S if grace_s is None else grace_s)
        while any(map(_lives, known | _trees(leaders))) and time.monotonic() < deadline:
            time.sleep(0.05)


def _trees(leaders: Collection[int]) -> set[psutil.Process]:
    """The living members of the sessions and their descendants; ourselves never."""
    found: set[psutil.Process] = set()
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) in leaders:
                found.update((process, *process.children(recursive=True)))
        except (psutil.NoSuchProcess, ProcessLookupError, PermissionError):
            continue
    return {process for process in found if process.pid != os.getpid() and _lives(process)}


def _lives(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _send(process: psutil.Process, number: int) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return
