"""When the counters of a step are complete, and how a silent stream is told from a silent service.

Nothing says so step by step: `qoe_progress` has a row a partition and day, at the day's end. But steps are of the
arrival clock, so counters of a later step mean that the stream has got there, and what is still under way of the one
before comes within `SETTLE_S`. Where no later step comes, either nobody watches any more or the stream stands still:
the offsets that it commits with every checkpoint tell what of its input it has taken in. A step that it has taken in
without a counter is an empty one, which is an outage if anything is; one that it has not waits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime

from conf.alerts import STEP_S
from conf.errors import MatineeError

SETTLE_S = 2.0
"""A step is judged so long after counters of a later one were read, on this machine's clock. Its own are late by one
commit at most (1 s: sinks commit one after the other, subtasks are a checkpoint apart), those of timers by the
watermark's slack and interval (2 s) after an event's 0 to 1.5. What is later still counts in the next step."""
POLL_S = 0.2
FRESH_S = 1.5
"""99th percentile from an event to its committed counters (docs/stream.md)."""
VISIBLE_S = FRESH_S + SETTLE_S + POLL_S
"""From the end of a step to its judgement, while all is well; `bench/qoe_alerts.py` counts with it."""
GRACE_S = 30
"""A step that nothing younger came after is asked about so long after its end: a stream that is started again reads
its last commit within 23 s (docs/stream.md)."""
NEAR_WALL_S = 3_600
ASK_S = 5.0
SILENT_S, TOLD_S = 60.0, 600.0
LATE_S = 300
"""Counters of a judged step count in the next one for so long: a silent partition holds timers back as long."""


class Pace:
    """How far the steps may be judged.

    Args:
        taken_in: whether the stream has taken in all input that arrived before a moment (Unix seconds).
        say: where a silent stream is told.
        wall: the clock on the wall.
    """

    def __init__(self, taken_in: Callable[[int], bool], say: Callable[[str], None], wall: Callable[[], float]) -> None:
        self.taken_in, self.say, self.wall = taken_in, say, wall
        self.newest = self.settled = 0
        self.behind = False
        self._vouched: tuple[float, int, bool] | None = None
        self._rises: deque[tuple[float, int]] = deque()
        self._asked_s = -float("inf")
        self._silent_s: float | None = None
        self._told_s = -float("inf")

    def complete(self, newest: int, done: int) -> int:
        """The moment before which steps are complete, given the start of the newest step that was read and up to
        where steps are judged."""
        now = self.wall()
        if newest > self.newest:
            self.newest = newest
            self._rises.append((now, newest))
        while self._rises and not 0 <= now - self._rises[0][0] < SETTLE_S:
            self.settled = self._rises.popleft()[1]
        if not self.behind and abs(now - max(newest, done)) >= NEAR_WALL_S:
            return max(self.settled, done)  # a world in the past: its clock is not the one on the wall
        self.behind |= now - (newest + STEP_S) > GRACE_S
        if not self.behind:
            return max(self.settled, done)
        if self._vouched is not None:
            since, until, all_of_it = self._vouched
            if 0 <= now - since < SETTLE_S:
                return done
            self._vouched, self.behind = None, not all_of_it
            return max(until, done)
        if now - self._asked_s >= ASK_S:
            self._asked_s = now
            self._ask(now, done)
        return done

    def _ask(self, now: float, done: int) -> None:
        """Up to where the stream has taken in its input; it commits that a moment before its counters, so they get
        `SETTLE_S` too."""
        by_wall = int(now - GRACE_S) // STEP_S * STEP_S
        why = "its input grows and is not read"
        try:
            for until in (by_wall, self.settled):
                if until > done and self.taken_in(until):
                    self._vouched = (now, until, until >= by_wall)
                    self._counts_again(now)
                    return
        except MatineeError as error:
            why = str(error)
        if by_wall <= done:
            return
        if self._silent_s is None:
            self._silent_s = now
        if now - self._silent_s >= SILENT_S and now - self._told_s >= TOLD_S:
            self._told_s = now
            self.say(f"the stream is silent since {_clock(max(self.newest + STEP_S, done))}: {why}; steps wait for it")

    def _counts_again(self, now: float) -> None:
        if self._silent_s is not None and self._told_s >= self._silent_s:
            self.say(f"the stream counts again, after {now - self._silent_s:.0f} s of silence")
        self._silent_s = None


def _clock(at_s: int) -> str:
    return f"{datetime.fromtimestamp(at_s, UTC):%Y-%m-%d %H:%M:%S}"
