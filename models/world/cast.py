"""From what viewers want to sessions the player can play: device, line, encode, patience and flaws of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.world.catalogue import Catalogue
from models.world.config import WorldConfig
from models.world.delivery import Disks
from models.world.faults import Fault, inside, of
from models.world.machine import END, EVENT, INTERVAL, REQUEST, SESSION, STATE
from models.world.network import Environment, Traces
from models.world.player import play_many
from models.world.population import DEVICES, F8, I8, Clusters, Obj, Population
from models.world.rng import seeds

Rows = NDArray[Any]
MOBILE, WEB, TV = 1, 3, 0
_CAP_KBPS = np.array([100_000, 2_500, 3_500, 6_000, 100_000])
_START_MS = np.array([8_000, 4_000, 4_000, 4_000, 8_000])
_BUFFER_MS = np.array([60_000, 30_000, 40_000, 40_000, 60_000])
_AV1 = np.array([False, True, False, True, False])
BLOCK = 150_000


@dataclass(slots=True)
class Wanted:
    """What viewers want to watch, by time: numbers of profile, show and title, ms of the day, and where it came from.

    `cell` is the entry of the impression that led there (-1: search or autoplay), `wanted_ms` the playing time asked
    for (-1: by liking), `session_id` given (ratings) or made.
    """

    profile: I8
    show: I8
    title: I8
    at: I8
    device: I8
    cluster: I8
    cell: I8
    like: F8
    wanted_ms: I8
    session_id: Obj

    def __len__(self) -> int:
        return len(self.profile)


def sessions(
    config: WorldConfig,
    want: Wanted,
    people: Population,
    cat: Catalogue,
    isps: Clusters,
    traces: Traces,
    faults: tuple[Fault, ...],
    rng: np.random.Generator,
    day: int,
) -> tuple[Rows, Obj]:
    """Input of the player for each wanted viewing, and the app version it runs on."""
    n = len(want)
    out = np.zeros(n, dtype=SESSION)
    out["start"], out["seed"] = want.at, seeds(config.seed, n, "session", day)
    av1 = _AV1[want.device] & (cat.title_extra[want.title] >= 0)
    out["asset"] = np.where(av1, cat.title_extra[want.title], cat.title_avc[want.title])
    out["cluster"], out["like"] = want.cluster, want.like
    synthetic = want.wanted_ms < 0
    out["binge"] = np.where(cat.shows.series[want.show] & synthetic, 0.15 + 0.6 * want.like, 0.0)
    _line(out, want, people, isps, traces, rng)
    out["cap_kbps"], out["start_buffer"], out["max_buffer"] = (
        _CAP_KBPS[want.device],
        _START_MS[want.device],
        _BUFFER_MS[want.device],
    )
    out["mobile"], out["web"] = (want.device == MOBILE) | (want.device == 2), want.device == WEB
    out["ads"] = people.ads[want.profile]
    preview = (want.device == TV) & (rng.random(n) < 0.06) & (want.cell >= 0) & synthetic
    out["preload"] = np.where(preview, rng.integers(800, 4_000, n), 0)
    out["preload_leaves"] = preview & (rng.random(n) < 0.2)
    out["fail"], out["crash_per_h"] = 0.004, 0.03
    out["wanted"] = want.wanted_ms
    version = np.array(config.app_versions, dtype=object)[people.version[want.profile]]
    upgrade = rng.random(len(people))
    for f in of(faults, "bad_release"):
        hit = inside(f, want.at) & (upgrade[want.profile] < f.share)
        if f.device is not None:
            hit &= np.array(DEVICES, dtype=object)[want.device] == f.device
        version[hit] = f.app_version
        out["fail"][hit], out["greedy"][hit] = f.amount, 1
    return out, version


def _line(
    out: Rows, want: Wanted, people: Population, isps: Clusters, traces: Traces, rng: np.random.Generator
) -> None:
    """Trace and access speed. A phone is on radio: slower than the household's line and more restless.

    Real traces are drawn by rank: the faster the line, the faster the trace, with scatter; they carry their own speed.
    """
    n, count = len(want), len(traces.first) - 1
    radio = want.device == MOBILE
    access = np.where(
        radio,
        isps.access_kbps[want.cluster] * 0.42 * np.exp(rng.normal(0.0, 0.6, n)),
        people.access_kbps[want.profile] * np.exp(rng.normal(0.0, 0.2, n)),
    )
    if traces.real:
        rank = np.argsort(
            np.argsort(access + rng.normal(0.0, access.std() * 0.7 + 1.0, n), kind="stable"), kind="stable"
        )
        out["trace"] = (rank * count) // max(n, 1)
        out["access"], expected = 1.0, traces.mean_kbps[out["trace"]]
    else:
        half = count // 2
        out["trace"] = np.where(radio, half + rng.integers(0, count - half, n), rng.integers(0, max(half, 1), n))
        out["access"], expected = access, access * 0.8
    out["trace_at"] = rng.integers(0, 3_600_000, n)
    out["hint_kbps"] = expected * np.exp(rng.normal(0.0, 0.35, n))


@dataclass(frozen=True, slots=True)
class Played:
    """What the player left: events, intervals and requests in session order, and how each session ended."""

    events: Rows
    intervals: Rows
    requests: Rows
    ends: Rows


def play_day(
    config: WorldConfig,
    day_sessions: Rows,
    cat: Catalogue,
    isps: Clusters,
    traces: Traces,
    env: Environment,
    disks: Disks,
) -> Played:
    """Play all sessions in order of their start; the disks change on the way. Memory besides output: `BLOCK` rows."""
    ends = np.zeros(len(day_sessions), dtype=END)
    block = (np.zeros(BLOCK, EVENT), np.zeros(BLOCK, INTERVAL), np.zeros(BLOCK, REQUEST))
    state = np.zeros(1, dtype=STATE)
    tables = (
        cat.asset_file,
        cat.asset_rungs,
        cat.duration_ms[cat.asset_title],
        cat.asset_next,
        cat.asset_vbr,
        cat.file_kbps,
        cat.file_bytes,
    )
    net = (traces.first, traces.until, traces.kbps, traces.latency_ms)
    environment = (env.factor, env.origin_factor, env.edge_up, isps.edge_rtt_ms, isps.origin_rtt_ms, config.origin_kbps)
    disk = (disks.before, disks.after, disks.used, disks.disk, disks.planned)
    parts: list[tuple[Rows, Rows, Rows]] = []
    done = 0
    while done < len(day_sessions):
        state[:] = np.zeros(1, dtype=STATE)
        done = play_many(done, day_sessions, tables, net, environment, disk, block, ends, state)
        counts = [int(state[name][0]) for name in ("events", "intervals", "requests")]
        parts.append((block[0][: counts[0]].copy(), block[1][: counts[1]].copy(), block[2][: counts[2]].copy()))
    if not parts:
        return Played(block[0][:0].copy(), block[1][:0].copy(), block[2][:0].copy(), ends)
    events, intervals, requests = (np.concatenate([p[i] for p in parts]) for i in range(3))
    return Played(events, intervals, requests, ends)
