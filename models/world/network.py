"""The line between cluster and player: throughput traces, evening congestion, and one transfer over them.

A trace is a loop of steps (duration ms, kbps, latency ms). Synthetic ones are a Markov chain over five levels, one
family per kind of line, in shares of the household's access speed; real ones are given as they were measured.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from models.days import DAY_MS
from models.world.config import MINUTE_MS, WorldConfig
from models.world.population import F8, I8, Clusters
from models.world.rng import stream

MINUTES = 3 * DAY_MS // MINUTE_MS
"""Length of the minute tables: a day and the tail of its sessions."""
TIMEOUT_MS = 20_000
"""A segment request is given up after this time."""
_LEVELS = np.array([0.015, 0.3, 0.7, 1.0, 1.35])
_STAY = np.array([0.9, 0.75, 0.75, 0.75, 0.75])


@dataclass(frozen=True, slots=True)
class Traces:
    """Traces end to end: steps of trace i are `first[i] : first[i + 1]`; `until` counts from the trace's start."""

    first: I8
    until: I8
    kbps: F8
    latency_ms: I8
    real: bool

    @property
    def mean_kbps(self) -> F8:
        """Time-weighted mean of each trace."""
        spans = np.diff(np.concatenate([[0], self.until]))
        starts = self.first[:-1]
        spans[starts] = self.until[starts]
        return np.asarray(np.add.reduceat(spans * self.kbps, starts) / np.add.reduceat(spans, starts))


@dataclass(frozen=True, slots=True)
class Environment:
    """What faults can change, per cluster and minute of the day and its tail; shape (clusters, MINUTES)."""

    factor: F8
    origin_factor: F8
    edge_up: NDArray[np.bool_]


def pack(traces: list[tuple[NDArray[np.int64], F8, I8]], real: bool) -> Traces:
    """Traces from (duration ms, kbps, latency ms) arrays."""
    first = np.concatenate([[0], np.cumsum([len(t[0]) for t in traces])]).astype(np.int64)
    until = np.concatenate([np.cumsum(t[0]) for t in traces]).astype(np.int64)
    return Traces(
        first,
        until,
        np.concatenate([t[1] for t in traces]).astype(np.float64),
        np.concatenate([t[2] for t in traces]).astype(np.int64),
        real,
    )


def synthetic(config: WorldConfig, count: int = 96, steps: int = 400) -> Traces:
    """Fixed lines (first half: calm) and radio lines (second half: restless); kbps are shares of the access speed."""
    rng = stream(config.seed, "traces")
    out = []
    for i in range(count):
        radio = i >= count // 2
        calm = np.array([0.0035, 0.03, 0.12, 0.63, 0.2165]) if not radio else np.array([0.02, 0.17, 0.28, 0.37, 0.16])
        level = np.empty(steps, dtype=np.int64)
        level[0] = 3
        keep, fresh = rng.random(steps), rng.choice(5, steps, p=calm)
        for k in range(1, steps):
            level[k] = level[k - 1] if keep[k] < _STAY[level[k - 1]] else fresh[k]
        share = _LEVELS[level] * np.exp(rng.normal(0.0, 0.08 if not radio else 0.2, steps))
        out.append(
            (
                rng.integers(1_500, 6_000, steps),
                share,
                rng.integers(2, 12, steps) if not radio else rng.integers(20, 80, steps),
            )
        )
    return pack(out, real=False)


def environment(config: WorldConfig, isps: Clusters, day: int, real: bool = False) -> Environment:
    """Undisturbed tables: congestion grows towards 21 h local time, most in the ISPs that have too little.
    Real traces carry their own congestion (`real`)."""
    rng = stream(config.seed, "environment", day)
    minute = np.arange(MINUTES)
    local = minute[None, :] / 60.0 + np.array(config.utc_offset_h)[isps.country][:, None]
    peak = np.exp(-0.5 * ((((local - 21.0) + 12.0) % 24.0 - 12.0) / 2.2) ** 2)
    level = isps.congestion * rng.uniform(0.7, 1.2, len(isps.isp))
    factor = 1.0 - np.minimum(level[:, None] * peak, 0.85) * (0.0 if real else 1.0)
    return Environment(factor, np.ones_like(factor), np.ones(factor.shape, dtype=np.bool_))


@njit(cache=True)
def step_at(first: I8, until: I8, trace: int, at: int) -> int:
    """Step of a looping trace in force `at` ms after its start."""
    low, high = first[trace], first[trace + 1]
    t = at % until[high - 1]
    while low < high - 1:
        middle = (low + high - 1) // 2
        if until[middle] > t:
            high = middle + 1
        else:
            low = middle + 1
    return int(low)


@njit(cache=True)
def transfer(
    size: int, at: int, net: Any, x: Any, factor: Any, origin_factor: Any, rtt: int, origin_kbps: float
) -> int:
    """Moment at which `size` bytes asked for `at` (ms from the day's start) have arrived, or -1 if given up.

    One round trip, then bits at min(line, origin) kbps; the line is the trace's step times access times the
    minute's factor, re-read at every step of the trace and every minute. `origin_kbps` 0 means served at the edge.
    """
    first, until, kbps, latency = net
    begin = x.trace_at + at - x.start
    step = step_at(first, until, x.trace, begin)
    now = at + rtt + latency[step]
    left = float(size) * 8.0
    limit = at + TIMEOUT_MS
    minutes = len(factor)
    while now < limit:
        offset = x.trace_at + now - x.start
        step = step_at(first, until, x.trace, offset)
        minute = min(now // MINUTE_MS, minutes - 1)
        rate = kbps[step] * x.access * factor[minute]
        if origin_kbps > 0.0:
            rate = min(rate, origin_kbps * origin_factor[minute])
        rate = max(rate, 1.0)
        length = until[first[x.trace + 1] - 1]
        room = min(until[step] - offset % length, (minute + 1) * MINUTE_MS - now)
        if minute == minutes - 1:
            room = until[step] - offset % length
        need = int(np.ceil(left / rate))
        if need <= room:
            done = now + need
            return done if done <= limit else -1
        left -= rate * float(room)
        now += room
    return -1
