"""One playback session as a state machine: viewer, buffer-based player, network and disk, in whole milliseconds.

The session moves from moment to moment: the earliest of what can happen next is found (`_next`), time moves there,
the one thing happens. Bitrates are chosen as in BBA (Huang et al., A buffer-based approach to rate adaptation,
SIGCOMM 2014): by measured throughput while the buffer is below the reservoir, by a linear map of the buffer above.
Three things come out and never feed each other: the timeline (`INTERVAL`, the truth), what the player would report
(`EVENT`) and what was fetched (`REQUEST`). Every random draw is keyed (`models.world.rng.draw`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from models.world.catalogue import CHUNK_MS, VBR, chunk_bytes
from models.world.config import MINUTE_MS
from models.world.delivery import touch
from models.world.machine import (
    ACTION_MS,
    BACKGROUND,
    BEAT_MS,
    BITRATE,
    CONTENT,
    D_ACTION,
    D_AD,
    D_BINGE,
    D_CRASH,
    D_DEPTH,
    D_DROP,
    D_FAIL,
    D_PATIENCE,
    D_SETUP,
    D_STALL,
    D_TARGET,
    ENDED,
    ERROR,
    FAILED,
    INF,
    MAX_CHUNKS,
    MAX_ROWS,
    NETWORK,
    NO_ERROR,
    PATIENCE_MS,
    PAUSED,
    PLAYING,
    PRELOAD,
    PS,
    QUIT,
    REBUFFERING,
    RESUME_MS,
    RETRIES,
    SEEKING,
    SEGMENT_TIMEOUT,
    SESSION_CAP_MS,
    STALL_PATIENCE_MS,
    START,
    STARTING,
    TICK,
    change,
    emit,
    log_request,
    over,
    ready,
)
from models.world.network import TIMEOUT_MS, transfer
from models.world.rng import draw, exponential
from models.world.viewer import act, ad_moment, attempt, first_frame, leave_preload, quirk, resume


@njit(cache=True)
def _open(s: Any, x: Any, cat: Any, asset: int, setup: int) -> None:
    """Begin a content: its ladder, an empty buffer, how much of it the viewer wants."""
    asset_file, asset_rungs, duration, _, _, _, _ = cat
    s.asset, s.files, s.rungs, s.duration = asset, asset_file[asset], asset_rungs[asset], duration[asset]
    s.chunks = min((s.duration + CHUNK_MS - 1) // CHUNK_MS, MAX_CHUNKS)
    s.edge = CHUNK_MS
    s.pos = s.end = s.played = s.started = s.fetching = s.failures = s.apart = 0
    s.shown, s.delay, s.rung = -1, -1, -1
    s.attempt_at, s.setup_at = s.now, s.now + setup
    s.patience_at = s.now + 2_000 + int(exponential(x.seed, D_PATIENCE, s.part, PATIENCE_MS * (0.5 + x.like)))
    s.target = INF
    if x.wanted >= 0:
        s.target = x.wanted
    elif draw(x.seed, D_TARGET, s.part) > 0.2 + 0.6 * x.like:
        depth = draw(x.seed, D_DEPTH, s.part)
        s.target = max(15_000, int(float(s.duration) * depth ** (2.6 - 1.8 * x.like)))
    s.action_at = int(exponential(x.seed, D_ACTION, s.actions, ACTION_MS))
    s.ad_at = INF if x.ads == 0 else 480_000 + int(600_000.0 * draw(x.seed, D_AD, 1_000 * s.part))


@njit(cache=True)
def _begin(s: Any, x: Any, cat: Any, outs: Any) -> None:
    """First moment of the session: preloading or the attempt itself."""
    s.now = s.since = x.start
    s.alive, s.mode, s.part, s.stall_from = 1, STARTING, 0, 0
    setup = 180 + int(exponential(x.seed, D_SETUP, 0, 220.0))
    _open(s, x, cat, x.asset, setup)
    s.fail_at = s.setup_at if draw(x.seed, D_FAIL, 0) < x.fail else INF
    s.beat_at, s.crash_at = s.now + BEAT_MS, INF
    if x.crash_per_h > 0.0:
        s.crash_at = s.now + 1 + int(exponential(x.seed, D_CRASH, 0, 3_600_000.0 / x.crash_per_h))
    s.resume_at = s.ad_until = s.away_until = s.quirk_at = s.attempt_from_preload = s.seek_ready = INF
    if x.preload > 0:
        s.mode, s.patience_at, s.fail_at = PRELOAD, INF, INF
        s.attempt_from_preload = s.now + x.preload
        emit(s, outs[0], PS, NO_ERROR)
    else:
        attempt(s, x, outs)


@njit(cache=True)
def _next(s: Any, x: Any) -> Any:
    """(when, what): the earliest thing that can happen; ties go to the first of this order."""
    when, what = INF, -1
    playing = s.mode == PLAYING and s.ad == 0
    if s.fetching == 1:
        when, what = s.fetch_at, 0
    elif s.end < s.duration and s.end // CHUNK_MS < s.chunks:
        over = s.end - s.pos + CHUNK_MS - x.max_buffer
        if over <= 0:
            when, what = max(s.now, s.setup_at), 1
        elif playing:
            when, what = max(s.now, s.setup_at) + over, 1
    if playing:
        edge = min(min(s.edge, s.duration), s.end) - s.pos
        if s.now + edge < when:
            when, what = s.now + edge, 2
        if s.target < INF and s.now + s.target - s.played < when:
            when, what = s.now + s.target - s.played, 3
        if s.now + s.action_at - s.played < when:
            when, what = s.now + s.action_at - s.played, 4
        if s.ad_at < INF and s.now + max(s.ad_at - s.pos, 0) < when:
            when, what = s.now + max(s.ad_at - s.pos, 0), 5
    if abs(s.ad_until) < min(when, INF):
        when, what = abs(s.ad_until), 6
    if s.mode == PAUSED and s.resume_at < when:
        when, what = s.resume_at, 7
    if s.away_until < when:
        when, what = s.away_until, 8
    if s.mode == SEEKING and ready(s, CHUNK_MS) and max(s.now, s.seek_ready) < when:
        when, what = max(s.now, s.seek_ready), 9
    waiting = s.mode == STARTING or s.mode == REBUFFERING or s.mode == SEEKING
    if waiting and s.ad == 0 and max(s.now, s.patience_at) < when:
        when, what = max(s.now, s.patience_at), 10
    if s.fail_at < when:
        when, what = s.fail_at, 11
    if s.attempt_from_preload < when:
        when, what = s.attempt_from_preload, 12
    if s.quirk_at < when:
        when, what = s.quirk_at, 13
    if s.crash_at < when:
        when, what = s.crash_at, 14
    if x.start + SESSION_CAP_MS < when:
        when, what = x.start + SESSION_CAP_MS, 15
    if s.beat_at < when:
        when, what = s.beat_at, 16
    return when, what


@njit(cache=True)
def _choose(s: Any, x: Any, kbps: Any) -> int:
    """Rung of the next chunk."""
    low, top = kbps[s.files], 0
    for q in range(1, s.rungs):
        if kbps[s.files + q] <= x.cap_kbps:
            top = q
    if x.greedy == 1:
        return top
    if s.failures > 0:
        return 0
    buffer = s.end - s.pos
    reservoir = min(10_000, x.max_buffer // 3)
    if buffer < reservoir or s.rung < 0:
        speed = 0.7 * float(s.throughput) if s.throughput > 0 else 0.5 * x.hint_kbps
        q = 0
        while q < top and float(kbps[s.files + q + 1]) <= speed:
            q += 1
        return q
    full = float(x.max_buffer) * 0.85
    map_kbps = float(low) + (float(kbps[s.files + top]) - float(low)) * min(
        (buffer - reservoir) / (full - reservoir), 1.0
    )
    q = min(s.rung, top)
    if q < top and map_kbps >= float(kbps[s.files + q + 1]):
        while q < top and float(kbps[s.files + q + 1]) <= map_kbps:
            q += 1
    elif q > 0 and map_kbps <= float(kbps[s.files + q - 1]):
        while q > 0 and float(kbps[s.files + q - 1]) >= map_kbps:
            q -= 1
    return q


@njit(cache=True)
def _fetch(s: Any, x: Any, cat: Any, net: Any, env: Any, disk: Any, seen: Any, rung_of: Any) -> None:
    """Ask the cluster for the next chunk; the first chunk of a file decides where the session gets it from."""
    _, _, _, _, vbr, kbps, sizes = cat
    factor, origin_factor, edge_up, edge_rtt, origin_rtt, origin_kbps = env
    before, after, used, size, planned = disk
    k, c = s.end // CHUNK_MS, x.cluster
    q = _choose(s, x, kbps)
    if seen[q] < 0:
        seen[q] = 1 if touch(before, after, used, c, s.files + q, sizes, size, planned[c]) else 0
    minute = min(s.now // MINUTE_MS, edge_up.shape[1] - 1)
    edge = seen[q] == 1 and edge_up[c, minute]
    length = min(CHUNK_MS, s.duration - k * CHUNK_MS)
    s.fetching, s.fetch_from, s.fetch_rung, s.fetch_edge = 1, s.now, q, 1 if edge else 0
    s.fetch_bytes = chunk_bytes(kbps[s.files + q], length, vbr[s.asset, k % VBR])
    rtt = edge_rtt[c] + (0 if edge else origin_rtt[c])
    done = transfer(s.fetch_bytes, s.now, net, x, factor[c], origin_factor[c], rtt, 0.0 if edge else origin_kbps)
    s.fetch_failed = 1 if done < 0 else 0
    s.fetch_at = done if done >= 0 else s.now + TIMEOUT_MS
    rung_of[k] = q


@njit(cache=True)
def _fetched(s: Any, x: Any, kbps: Any, outs: Any) -> None:
    """A chunk is here, or was given up."""
    s.fetching = 0
    took = max(s.now - s.fetch_from, 1)
    if s.fetch_failed == 1:
        log_request(s, outs[2], s.fetch_bytes // 2)
        s.failures += 1
        if s.failures >= RETRIES:
            over(s, x, outs, FAILED)
            emit(s, outs[0], ERROR, NETWORK)
        else:
            emit(s, outs[0], ERROR, SEGMENT_TIMEOUT)
        return
    log_request(s, outs[2], s.fetch_bytes)
    s.failures = 0
    rate = s.fetch_bytes * 8 // took
    s.throughput = rate if s.throughput == 0 else (7 * s.throughput + 3 * rate) // 10
    s.rung = s.fetch_rung
    s.end = min(s.end // CHUNK_MS * CHUNK_MS + CHUNK_MS, s.duration)


@njit(cache=True)
def _maybe_play(s: Any, x: Any, kbps: Any, rung_of: Any, outs: Any) -> None:
    """Leave starting, rebuffering or seeking once enough is buffered."""
    if s.ad == 1:
        return
    if s.mode == STARTING and s.ad_until == INF and s.fail_at == INF and ready(s, x.start_buffer):
        first_frame(s, kbps, rung_of, outs)
        emit(s, outs[0], PS, NO_ERROR)
    elif s.mode == REBUFFERING and ready(s, RESUME_MS):
        s.stall_ms += s.now - s.stall_from
        s.edge = (s.pos // CHUNK_MS + 1) * CHUNK_MS
        change(s, outs[1], PLAYING, 0, s.background, kbps[s.files + rung_of[s.pos // CHUNK_MS]])
        emit(s, outs[0], PS, NO_ERROR)


@njit(cache=True)
def _edge(s: Any, x: Any, cat: Any, seen: Any, rung_of: Any, outs: Any) -> None:
    """The playhead reaches the end of the content, of the buffer or of a chunk."""
    _, _, _, following, _, kbps, _ = cat
    if s.pos >= s.duration:
        s.completed += 1
        if following[s.asset] >= 0 and s.part < 3 and draw(x.seed, D_BINGE, s.part) < x.binge:
            _next_part(s, outs)
            _open(s, x, cat, following[s.asset], 120)
            s.mode = STARTING
            seen[:] = -1
            emit(s, outs[0], CONTENT, NO_ERROR)
            return
        over(s, x, outs, ENDED)
        emit(s, outs[0], PS, NO_ERROR)
    elif s.pos >= s.end:
        s.stalls += 1
        s.stall_from = s.now
        s.patience_at = s.now + 1_500 + int(exponential(x.seed, D_STALL, s.stalls, STALL_PATIENCE_MS * (0.5 + x.like)))
        change(s, outs[1], REBUFFERING, 0, s.background, s.shown)
        emit(s, outs[0], PS, NO_ERROR)
    else:
        if draw(x.seed, D_DROP, s.played // CHUNK_MS) < 0.01:
            s.dropped += 1 + s.played % 7
        s.edge = (s.pos // CHUNK_MS + 1) * CHUNK_MS
        bitrate = kbps[s.files + rung_of[s.pos // CHUNK_MS]]
        if bitrate != s.shown:
            change(s, outs[1], PLAYING, 0, s.background, bitrate)
            emit(s, outs[0], BITRATE, NO_ERROR)


@njit(cache=True)
def _next_part(s: Any, outs: Any) -> None:
    """Close the timeline of one content before the next begins in the same session."""
    change(s, outs[1], -1, 0, s.background, s.shown)
    s.part += 1


@njit(cache=True)
def _happen(
    what: int, s: Any, x: Any, cat: Any, net: Any, env: Any, disk: Any, seen: Any, rung_of: Any, outs: Any
) -> None:
    """Do the one thing `_next` named."""
    kbps = cat[5]
    if what == 0:
        _fetched(s, x, kbps, outs)
        if s.alive == 1:
            _maybe_play(s, x, kbps, rung_of, outs)
    elif what == 1:
        _fetch(s, x, cat, net, env, disk, seen, rung_of)
    elif what == 2:
        _edge(s, x, cat, seen, rung_of, outs)
    elif what == 4:
        act(s, x, outs, rung_of)
    elif what == 5 or what == 6:
        ad_moment(s, x, kbps, rung_of, outs)
    elif what == 7:
        resume(s, x, outs)
    elif what == 8:
        s.away_until = INF
        if s.background == 1:
            change(s, outs[1], s.mode, s.ad, 0, s.shown)
            emit(s, outs[0], BACKGROUND, NO_ERROR)
    elif what == 9:
        s.seek_ready = INF
        s.edge = (s.pos // CHUNK_MS + 1) * CHUNK_MS
        change(s, outs[1], PLAYING, 0, s.background, kbps[s.files + rung_of[s.pos // CHUNK_MS]])
        emit(s, outs[0], PS, NO_ERROR)
    elif what == 11:
        over(s, x, outs, FAILED)
        emit(s, outs[0], ERROR, START)
    elif what == 12:
        leave_preload(s, x, outs)
    elif what == 13:
        s.quirk_at = INF
        quirk(s, outs)
    elif what == 16:
        s.beat_at = s.now + BEAT_MS
        emit(s, outs[0], TICK, NO_ERROR)
    else:
        over(s, x, outs, QUIT)
        emit(s, outs[0], PS, NO_ERROR)


@njit(cache=True)
def play(number: int, x: Any, state: Any, cat: Any, net: Any, env: Any, disk: Any, outs: Any, end: Any) -> None:
    """Play session `number`; `state` carries the write positions of the three outputs from session to session."""
    events, intervals, requests = state.events, state.intervals, state.requests
    _clear(state)
    state.id, state.events, state.intervals, state.requests, state.own_requests = (
        number,
        events,
        intervals,
        requests,
        requests,
    )
    seen, rung_of = np.full(16, -1, dtype=np.int64), np.zeros(MAX_CHUNKS, dtype=np.int64)
    _begin(state, x, cat, outs)
    crashed = 0
    while state.alive == 1:
        when, what = _next(state, x)
        if state.mode == PLAYING and state.ad == 0:
            state.pos += when - state.now
            state.played += when - state.now
        state.now = when
        if what == 14:
            crashed = 1
            over(state, x, outs, state.mode)
        else:
            _happen(what, state, x, cat, net, env, disk, seen, rung_of, outs)
            if state.alive == 1 and state.mode == STARTING and what != 0 and state.started == 0:
                _maybe_play(state, x, cat[5], rung_of, outs)
    end.mode, end.crashed, end.at, end.parts, end.completed = (
        state.mode,
        crashed,
        state.now,
        state.part + 1,
        state.completed,
    )


@njit(cache=True)
def _clear(s: Any) -> None:
    """A record of zeros."""
    s.alive = s.ad = s.cold = s.background = s.part = s.stalls = s.stall_ms = s.stall_from = s.throughput = 0
    s.actions = s.ads = s.dropped = s.completed = s.kill = s.leave = s.apart_from = s.fetch_failed = 0


@njit(cache=True)
def play_many(
    first: int, sessions: Any, cat: Any, net: Any, env: Any, disk: Any, outs: Any, ends: Any, state: Any
) -> int:
    """Play sessions from `first` on until the outputs are nearly full; returns the next one to play."""
    room = min(min(len(outs[0]), len(outs[1])), len(outs[2])) - MAX_ROWS
    i = first
    s = state[0]
    while i < len(sessions) and max(max(s.events, s.intervals), s.requests) <= room:
        play(i, sessions[i], s, cat, net, env, disk, outs, ends[i])
        i += 1
    return i
