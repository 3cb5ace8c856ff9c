"""The states of a player, and which measures the time spent in each adds to."""

from __future__ import annotations

from models.playback.events import Event

STATES = {
    "s": "starting",
    "p": "playing",
    "k": "seeking",
    "r": "rebuffering",
    "a": "paused",
    "w": "unknown",
    "d": "preloading",
    "e": "ended",
    "f": "failed",
    "q": "quit",
}
TERMINAL = frozenset({"ended", "failed", "quit"})
NOT_ALIVE = TERMINAL | {"preloading"}

WATCHED = {"starting": "starting_ms", "playing": "play_ms", "rebuffering": "stall_ms", "seeking": "seek_ms"}
"""Measure of each state in which the viewer waits for or sees content; counted without ad, in foreground."""


def durations(state: str, event: Event, ms: int, connection: bool) -> dict[str, int]:
    """Which measures `ms` milliseconds (not negative) of a state add to; `connection`: a stall would be CIR."""
    if state in NOT_ALIVE:
        return {}
    found = {"alive_ms": ms}
    if state == "paused":
        found["pause_ms"] = ms
    if event.ad:
        found["ad_ms"] = ms
    if event.background:
        found["background_ms"] = ms
    if state in WATCHED and not event.ad and not event.background:
        found |= {"watched_ms": ms, WATCHED[state]: ms}
        if state == "rebuffering" and connection:
            found["cir_stall_ms"] = ms
        if state == "playing":
            media = found["media_ms"] = ms * event.rate_milli // 1000
            if event.bitrate_kbps is not None:
                found |= {"bitrate_kbps_ms": event.bitrate_kbps * media, "bitrate_known_ms": media}
    return found
