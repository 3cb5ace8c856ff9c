"""The session machine's records and its four basic moves: report, change state, log a request, end.

`EVENT` (what the player would report), `INTERVAL` (the truth) and `REQUEST` (what was fetched) are written to three
arrays given as `outs`; positions in them are part of the state.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from models.world.config import MINUTE_MS

INF = 1 << 60
MAX_CHUNKS = 4_096
MAX_ROWS = 6_000
"""Most events, intervals or requests one session can make; the cap of a session's length keeps it below."""
SESSION_CAP_MS = 6 * 3_600_000
BEAT_MS = 30_000
RESUME_MS = 8_000
SEEK_MS = 120
RETRIES = 3
PATIENCE_MS, STALL_PATIENCE_MS, ACTION_MS = 14_000.0, 25_000.0, 780_000.0
"""Mean wait a viewer of middling liking bears, beyond the first seconds, at start and in a stall; time between acts."""

# Modes and event codes; texts are in models.world.beacons.
PRELOAD, STARTING, PLAYING, REBUFFERING, SEEKING, PAUSED, ENDED, FAILED, QUIT = range(9)
PS, TICK, ERROR, BITRATE, BACKGROUND, CONTENT, AD_START, AD_END, BREAK_START, BREAK_END, SEEK = range(11)
NO_ERROR, SEGMENT_TIMEOUT, NETWORK, START = range(4)
"""Error codes: a segment given up (not fatal), the network lost, no start (licence or decoder)."""

# Purposes of keyed draws.
(
    D_PATIENCE,
    D_STALL,
    D_TARGET,
    D_DEPTH,
    D_ACTION,
    D_KIND,
    D_PAUSE,
    D_SEEK,
    D_AD,
    D_AD_MS,
    D_CRASH,
    D_BINGE,
    D_AWAY,
    D_KILL,
    D_LEAVE,
    D_DROP,
    D_FAIL,
    D_SETUP,
) = range(18)

SESSION = np.dtype(
    [
        ("start", "i8"),
        ("seed", "u8"),
        ("asset", "i8"),
        ("cluster", "i8"),
        ("like", "f8"),
        ("binge", "f8"),
        ("trace", "i8"),
        ("trace_at", "i8"),
        ("access", "f8"),
        ("cap_kbps", "i8"),
        ("start_buffer", "i8"),
        ("max_buffer", "i8"),
        ("mobile", "i8"),
        ("web", "i8"),
        ("ads", "i8"),
        ("preload", "i8"),
        ("preload_leaves", "i8"),
        ("fail", "f8"),
        ("greedy", "i8"),
        ("crash_per_h", "f8"),
        ("wanted", "i8"),
        ("hint_kbps", "f8"),
    ],
    align=True,
)
"""Input of one session. Times are ms from the day's start; `wanted` is playing time asked for (-1: by liking),
`preload` ms before the attempt (0: none), `greedy` a player that ignores its buffer, `hint_kbps` the speed it
expects at the start."""

EVENT = np.dtype(
    [
        ("session", "i8"),
        ("asset", "i8"),
        ("at", "i8"),
        ("code", "i8"),
        ("mode", "i8"),
        ("kbps", "i8"),
        ("buffer", "i8"),
        ("stalls", "i8"),
        ("stall_ms", "i8"),
        ("delay", "i8"),
        ("playhead", "i8"),
        ("background", "i8"),
        ("ad", "i8"),
        ("error", "i8"),
        ("throughput", "i8"),
        ("dropped", "i8"),
        ("cold", "i8"),
    ],
    align=True,
)
INTERVAL = np.dtype(
    [
        ("session", "i8"),
        ("part", "i8"),
        ("asset", "i8"),
        ("mode", "i8"),
        ("background", "i8"),
        ("ad", "i8"),
        ("kbps", "i8"),
        ("start", "i8"),
        ("end", "i8"),
    ],
    align=True,
)
REQUEST = np.dtype(
    [("session", "i8"), ("file", "i8"), ("edge", "i8"), ("minute", "i8"), ("bytes", "i8"), ("requests", "i8")],
    align=True,
)
END = np.dtype([("mode", "i8"), ("crashed", "i8"), ("at", "i8"), ("parts", "i8"), ("completed", "i8")], align=True)
"""How a session ended: last mode, no end event, when, parts played, parts watched to the end."""

_STATE = """
id now alive mode ad background shown since part asset rungs files duration chunks pos end started
attempt_at apart_from apart delay stalls stall_ms stall_from setup_at fail_at attempt_from_preload
fetching fetch_at fetch_from fetch_rung fetch_bytes fetch_edge fetch_failed failures throughput rung
beat_at patience_at seek_ready target played action_at actions resume_at ad_at ad_until ads
away_until crash_at dropped quirk_at completed events intervals requests own_requests kill leave
cold edge
"""
STATE = np.dtype([(name, "i8") for name in _STATE.split()], align=True)


@njit(cache=True)
def emit(s: Any, out: Any, code: int, error: int) -> None:
    """Note what the player would report now."""
    e = out[s.events]
    e.session, e.asset, e.at, e.code, e.mode = s.id, s.asset, s.now, code, s.mode
    e.kbps, e.buffer, e.stalls, e.delay = s.shown, s.end - s.pos, s.stalls, s.delay
    e.stall_ms = s.stall_ms + (s.now - s.stall_from if s.mode == REBUFFERING else 0)
    e.playhead, e.background, e.ad, e.error = s.pos, s.background, s.ad, error
    e.throughput, e.dropped, e.cold = s.throughput, s.dropped, s.cold if s.mode == STARTING else 0
    s.events += 1


@njit(cache=True)
def change(s: Any, out: Any, mode: int, ad: int, background: int, shown: int) -> None:
    """Move the timeline to another state; the interval before is closed now."""
    if s.now > s.since and (
        mode != s.mode or ad != s.ad or background != s.background or shown != s.shown or s.alive == 0
    ):
        i = out[s.intervals]
        i.session, i.part, i.asset, i.mode, i.background, i.ad = s.id, s.part, s.asset, s.mode, s.background, s.ad
        i.kbps, i.start, i.end = s.shown, s.since, s.now
        s.intervals += 1
        s.since = s.now
    s.mode, s.ad, s.background, s.shown = mode, ad, background, shown


@njit(cache=True)
def over(s: Any, x: Any, outs: Any, mode: int) -> None:
    """The session ends; bytes of a transfer under way count as far as it got."""
    if s.fetching == 1:
        log_request(s, outs[2], s.fetch_bytes * (s.now - s.fetch_from) // max(s.fetch_at - s.fetch_from, 1))
        s.fetching = 0
    if s.mode == REBUFFERING:
        s.stall_ms += s.now - s.stall_from
    s.alive = 0
    change(s, outs[1], mode, 0, s.background, s.shown)


@njit(cache=True)
def log_request(s: Any, out: Any, size: int) -> None:
    """Add a request to the delivery log, merged by file, tier and minute."""
    file, minute = s.files + s.fetch_rung, s.fetch_from // MINUTE_MS
    for k in range(s.requests - 1, max(s.own_requests, s.requests - 12) - 1, -1):
        r = out[k]
        if r.file == file and r.edge == s.fetch_edge and r.minute == minute:
            r.bytes += size
            r.requests += 1
            return
    r = out[s.requests]
    r.session, r.file, r.edge, r.minute, r.bytes, r.requests = s.id, file, s.fetch_edge, minute, size, 1
    s.requests += 1


@njit(cache=True)
def ready(s: Any, need: int) -> bool:
    return bool(s.end - s.pos >= need or s.end >= s.duration)
