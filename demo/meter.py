"""How long each step takes and how much memory all processes of the demo hold together."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import psutil


class Meter:
    """Times steps, and samples the proportional set size of this process, its descendants and `others`.

    Proportional set size counts a page shared by n processes as 1/n in each, so the sum over processes is what they
    take from the machine together. Where the kernel does not tell it, resident size stands in, which counts shared
    pages more than once.
    """

    def __init__(self, others: Callable[[], Iterable[int]], interval_s: float = 3.0) -> None:
        self.steps: list[tuple[str, float]] = []
        self.peak_bytes = 0
        self._others = others
        self._interval_s = interval_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample_until_stopped, name="memory-meter", daemon=True)

    def __enter__(self) -> Meter:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time one step; a step that fails is not recorded."""
        begun = time.monotonic()
        yield
        self.steps.append((name, time.monotonic() - begun))

    def _sample_until_stopped(self) -> None:
        while not self._stop.is_set():
            self.peak_bytes = max(self.peak_bytes, memory(self._others()))
            self._stop.wait(self._interval_s)


def memory(others: Iterable[int] = ()) -> int:
    """Bytes held now by this process, its descendants, and the processes `others` with theirs."""
    family: dict[int, psutil.Process] = {}
    for pid in {os.getpid(), *others}:
        try:
            process = psutil.Process(pid)
            for member in (process, *process.children(recursive=True)):
                family[member.pid] = member
        except psutil.NoSuchProcess:
            continue
    return sum(_held(process) for process in family.values())


def _held(process: psutil.Process) -> int:
    try:
        full = process.memory_full_info()
        return int(getattr(full, "pss", 0) or full.rss)
    except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
        return 0
