"""From what the player would report to what leaves the device: sequence numbers, POSTs, clocks, arrival times.

Events queue for a device-dependent time and leave in one POST; the first event, errors and ends leave at once. A
crash takes the queue with it: those events exist in the sequence but were never sent.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from models.world.machine import ERROR, PS
from models.world.population import I8

EVENT_TEXT = np.array(["ps", "t", "e", "br", "bc", "c", "as", "ae", "abs", "abe", "sk"], dtype=object)
STATE_TEXT = np.array(["d", "s", "p", "r", "k", "a", "e", "f", "q"], dtype=object)
"""CMCD v2 codes of the player's modes, in their order."""
SPAN_STATE = np.array(
    ["preloading", "starting", "playing", "rebuffering", "seeking", "paused", "ended", "failed", "quit"], dtype=object
)
ERROR_TEXT = np.array([None, "segment_timeout", "network", "start_failed"], dtype=object)
BATCH_MS = np.array([4_000, 8_000, 8_000, 2_000, 4_000])
"""Longest wait of an event in the queue, by device class."""
MAX_BATCH = 10


@dataclass(slots=True)
class Beacons:
    """One entry per record on its way: copies are entries too. Times are ms from the day's start, device times with
    the device's error. `event` points into the player's events; `order` is the place in the topic."""

    event: I8
    post: I8
    sent_at: I8
    received_at: I8
    order: I8
    copy: NDArray[np.int8]

    def take(self, rows: NDArray[np.bool_] | I8) -> Beacons:
        """Some of the entries."""
        return Beacons(
            self.event[rows],
            self.post[rows],
            self.sent_at[rows],
            self.received_at[rows],
            self.order[rows],
            self.copy[rows],
        )

    def append(self, other: Beacons) -> Beacons:
        """Both."""
        return Beacons(*(np.concatenate([getattr(self, n), getattr(other, n)]) for n in self.__slots__))


@njit(cache=True)
def number(session: I8) -> I8:
    """Sequence number of each event in its session; sessions stand one after the other."""
    out = np.zeros(len(session), dtype=np.int64)
    for i in range(1, len(session)):
        out[i] = out[i - 1] + 1 if session[i] == session[i - 1] else 0
    return out


@njit(cache=True)
def group(session: I8, at: I8, code: I8, mode: I8, wait: I8, crash_at: I8) -> tuple[I8, I8]:
    """(POST number, time it leaves) of every event; time -1 where the session crashed with the event in the queue.

    `wait` and `crash_at` are per session (ms; crash_at -1: none).
    """
    n = len(session)
    post, leaves = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int64)
    begin, posts = 0, 0
    for i in range(n):
        if i > begin and (session[i] != session[begin] or at[i] > at[begin] + wait[session[begin]]):
            _flush(begin, i, at[begin] + wait[session[begin]], session, crash_at, post, leaves, posts)
            begin, posts = i, posts + 1
        first = i == 0 or session[i - 1] != session[i]
        final = mode[i] >= 6 and (code[i] == PS or code[i] == ERROR)
        if first or final or code[i] == ERROR or i + 1 - begin >= MAX_BATCH:
            _flush(begin, i + 1, at[i], session, crash_at, post, leaves, posts)
            begin, posts = i + 1, posts + 1
    if begin < n:
        _flush(begin, n, at[begin] + wait[session[begin]], session, crash_at, post, leaves, posts)
    return post, leaves


@njit(cache=True)
def _flush(begin: int, end: int, when: int, session: I8, crash_at: I8, post: I8, leaves: I8, number: int) -> None:
    dead = crash_at[session[begin]]
    for j in range(begin, end):
        post[j] = number
        leaves[j] = -1 if 0 <= dead < when else when


@njit(cache=True)
def late(session: I8, seq: I8, received: I8, lateness: int) -> NDArray[np.bool_]:
    """Which records are late by decision 1: received more than `lateness` after a record of higher number.

    Rows are sorted by (session, seq), one per number.
    """
    n = len(session)
    out = np.zeros(n, dtype=np.bool_)
    earliest = np.int64(0)
    for i in range(n - 1, -1, -1):
        if i == n - 1 or session[i + 1] != session[i]:
            earliest = received[i]
            continue
        out[i] = received[i] > earliest + lateness
        earliest = min(earliest, received[i])
    return out
