"""What the viewer does to a session: wants it, watches ads, pauses, seeks, leaves the app, comes back."""

from __future__ import annotations

from typing import Any

from numba import njit

from models.world.catalogue import CHUNK_MS
from models.world.machine import (
    ACTION_MS,
    AD_END,
    AD_START,
    BACKGROUND,
    BREAK_END,
    BREAK_START,
    D_ACTION,
    D_AD,
    D_AD_MS,
    D_AWAY,
    D_FAIL,
    D_KILL,
    D_KIND,
    D_LEAVE,
    D_PATIENCE,
    D_PAUSE,
    D_SEEK,
    D_STALL,
    INF,
    NO_ERROR,
    PATIENCE_MS,
    PAUSED,
    PLAYING,
    PS,
    QUIT,
    SEEK,
    SEEK_MS,
    SEEKING,
    STALL_PATIENCE_MS,
    STARTING,
    change,
    emit,
    log_request,
    over,
    ready,
)
from models.world.rng import draw, exponential


@njit(cache=True)
def first_frame(s: Any, kbps: Any, rung_of: Any, outs: Any) -> None:
    """Content plays for the first time; the wait leaves out ads."""
    s.started, s.quirk_at = 1, INF
    s.delay = s.now - s.attempt_at - s.apart
    change(s, outs[1], PLAYING, 0, s.background, kbps[s.files + rung_of[0]])


@njit(cache=True)
def act(s: Any, x: Any, outs: Any, rung_of: Any) -> None:
    """The viewer does something: leaves the app, hides the tab, pauses or seeks."""
    n = s.actions
    s.actions += 1
    s.action_at = s.played + 1 + int(exponential(x.seed, D_ACTION, s.actions, ACTION_MS))
    kind = draw(x.seed, D_KIND, n)
    if x.mobile == 1 and kind < 0.35:
        change(s, outs[1], s.mode, 0, 1, s.shown)
        emit(s, outs[0], BACKGROUND, NO_ERROR)
        _pause(s, x, outs, n, 0.12)
    elif x.web == 1 and kind < 0.25 and s.background == 0:
        change(s, outs[1], s.mode, 0, 1, s.shown)
        s.away_until = s.now + 2_000 + int(exponential(x.seed, D_AWAY, n, 70_000.0))
        emit(s, outs[0], BACKGROUND, NO_ERROR)
    elif kind < 0.65:
        _pause(s, x, outs, n, 0.03)
    else:
        _seek(s, x, outs, n, rung_of)


@njit(cache=True)
def _pause(s: Any, x: Any, outs: Any, n: int, kill: float) -> None:
    """Paused for minutes; with probability `kill` the app dies without a word, sometimes the viewer leaves."""
    z = draw(x.seed, D_PAUSE, n)
    length = int(6_000.0 + 45_000.0 * (1.0 / (1.0 - z) ** 0.75 - 1.0))
    # A rating is one viewing: no pause of it is so long that it would end one and begin another.
    s.resume_at = s.now + min(length, 2_400_000 if x.wanted < 0 else 1_500_000)
    s.kill = 1 if draw(x.seed, D_KILL, n) < kill else 0
    s.leave = 1 if draw(x.seed, D_LEAVE, n) < 0.1 else 0
    change(s, outs[1], PAUSED, 0, s.background, s.shown)
    emit(s, outs[0], PS, NO_ERROR)


@njit(cache=True)
def resume(s: Any, x: Any, outs: Any) -> None:
    """End of a pause: the app is gone, the viewer leaves, or playing goes on."""
    s.resume_at = INF
    if s.kill == 1:
        s.crash_at = s.now
        return
    if s.leave == 1:
        over(s, x, outs, QUIT)
        emit(s, outs[0], PS, NO_ERROR)
        return
    if s.background == 1 and s.away_until == INF:
        change(s, outs[1], s.mode, 0, 0, s.shown)
        emit(s, outs[0], BACKGROUND, NO_ERROR)
    change(s, outs[1], PLAYING, 0, s.background, s.shown)
    emit(s, outs[0], PS, NO_ERROR)


@njit(cache=True)
def _seek(s: Any, x: Any, outs: Any, n: int, rung_of: Any) -> None:
    """Jump forward one to five minutes or back half a minute, to the start of a chunk; the buffer may be left."""
    z = draw(x.seed, D_SEEK, n)
    jump = -30_000 if z < 0.35 else int(60_000.0 + (z - 0.35) / 0.65 * 240_000.0)
    last = (s.duration - 1) // CHUNK_MS * CHUNK_MS
    to = min(max((s.pos + jump) // CHUNK_MS * CHUNK_MS, 0), last)
    if not s.pos <= to < s.end:
        if s.fetching == 1:
            log_request(s, outs[2], s.fetch_bytes * (s.now - s.fetch_from) // max(s.fetch_at - s.fetch_from, 1))
            s.fetching = 0
        s.end = to
    s.pos = to
    s.seek_ready = s.now + SEEK_MS
    s.patience_at = s.now + 1_500 + int(exponential(x.seed, D_STALL, 1_000 + n, STALL_PATIENCE_MS * (0.5 + x.like)))
    change(s, outs[1], SEEKING, 0, s.background, s.shown)
    emit(s, outs[0], SEEK, NO_ERROR)


@njit(cache=True)
def ad_moment(s: Any, x: Any, kbps: Any, rung_of: Any, outs: Any) -> None:
    """An ad begins or ends; before the first frame (`ad_until` below 0: still to begin) or in the middle."""
    if s.ad_until < 0 or s.ad_until == INF:
        s.ad_until = s.now + 15_000 + 5_000 * int(4.0 * draw(x.seed, D_AD_MS, s.ads))
        s.ads += 1
        s.apart_from = s.now
        change(s, outs[1], PLAYING, 1, s.background, s.shown)
        emit(s, outs[0], BREAK_START, NO_ERROR)
        emit(s, outs[0], AD_START, NO_ERROR)
        return
    s.ad_until = INF
    if s.started == 0:
        s.apart += s.now - s.apart_from
        if ready(s, x.start_buffer):
            first_frame(s, kbps, rung_of, outs)
        else:
            change(s, outs[1], STARTING, 0, s.background, s.shown)
            s.patience_at = s.now + 2_000 + int(exponential(x.seed, D_PATIENCE, 100, PATIENCE_MS * (0.5 + x.like)))
    else:
        s.ad_at = s.pos + 480_000 + int(600_000.0 * draw(x.seed, D_AD, 1_000 * s.part + s.ads))
        change(s, outs[1], PLAYING, 0, s.background, s.shown)
    emit(s, outs[0], AD_END, NO_ERROR)
    emit(s, outs[0], BREAK_END, NO_ERROR)


@njit(cache=True)
def attempt(s: Any, x: Any, outs: Any) -> None:
    """The viewer wants the content."""
    change(s, outs[1], STARTING, 0, s.background, -1)
    s.attempt_at = s.now
    emit(s, outs[0], PS, NO_ERROR)
    if x.web == 1:
        s.quirk_at = max(s.now, s.setup_at)
    if x.ads == 1 and draw(x.seed, D_AD, 500) < 0.5:
        s.ad_until = -(max(s.now, s.setup_at) + 300)


@njit(cache=True)
def leave_preload(s: Any, x: Any, outs: Any) -> None:
    """The preview becomes an attempt, or the viewer moves on."""
    s.attempt_from_preload = INF
    if x.preload_leaves == 1:
        over(s, x, outs, QUIT)
        emit(s, outs[0], PS, NO_ERROR)
        return
    s.patience_at = s.now + 2_000 + int(exponential(x.seed, D_PATIENCE, 0, PATIENCE_MS * (0.5 + x.like)))
    if draw(x.seed, D_FAIL, 0) < x.fail:
        s.fail_at = s.now
    attempt(s, x, outs)


@njit(cache=True)
def quirk(s: Any, outs: Any) -> None:
    """What dash.js does: `r` is reported before the first frame; in truth the session is still starting."""
    if s.mode == STARTING:
        s.cold = 1
        emit(s, outs[0], PS, NO_ERROR)
