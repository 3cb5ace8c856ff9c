"""The span fold: one session's events to spans and sessions. The readable reference of `kernel/`.

Every metric is a sum over spans, so this page decides what a stall, an attempt or a minute of watching is.

The law (each engine implements it; tests hold them together row by row)
 1. *Set.* Per session order by `seq`; of equal `seq` the lowest (partition, offset) counts, the others are duplicates.
    An event is late if received more than `lateness_ms` after the earliest received event with a higher `seq`. Revision
    `live` leaves late events out (their numbers are then missing), `final` takes them in.
 2. *Clock.* One offset per session: `received_at - post_device_at` of the record lowest in the topic. An event's time
    is `device_at + offset`, and never before its predecessor's.
 3. *State.* s starting, p playing, k seeking, r rebuffering, a paused, w unknown, d preloading, e ended, f failed,
    q quit; before the first content frame r and k are starting. The first content frame is the first p without ad.
 4. *Hold.* A state holds from its event to the next one, also over missing numbers (the span is then `unobserved`), if
    that is at most `hold_ms` away; else nothing after the event is counted.
 5. *Segments.* Between consecutive events the first of these that applies closes the segment:
    received more than `hold_ms + lateness_ms` apart: timeout (a stream cannot wait longer); the second is e, f or q:
    ended, failed, quit; the title changes: content_change; paused for longer than `pause_limit_ms`: pause_limit;
    more than `hold_ms` apart: timeout; `session_cap_ms` since the segment began: length_cap. The end of the set is a
    timeout. Timeout, pause_limit and length_cap are `inferred`. A segment ends at its last proven moment: the closing
    event, if within the hold (always for e, f, q; at the limit for pause_limit and length_cap), else the event before.
 6. *A closed segment* takes in (counts, nothing more) further e, f, q, and paused events after pause_limit; any other
    event opens the next segment.
 7. *Moments.* Attempt: the first starting or playing event of a segment. Play: its first content frame. The start delay
    is the time from attempt to play without ads and pauses, measured only if the attempt was a starting event and no
    number is missing in the segment so far. Stall: once per run of rebuffering, when first on screen (no ad,
    foreground). Switch: bitrate differs from the last known one of playing content in foreground. Failure: f after the
    attempt, before or after the play. Exit before start: any other end of an attempt without play. A moment is carried
    by the span that begins there, or by one of length 0.
 8. *Spans* are cut at minute borders and joined while state, background, ad, bitrate, unobserved and dimensions stay,
    unless a moment begins; a span of length 0 exists only to carry a moment or an e, f, q.
 9. *Kept*. What an event says nothing of (its column `kept`) is as in the newest event a segment has applied before it.
Sources: CTA-2066 for names and arithmetic, Milner et al., CIDR 2023, for integrals over a timeline of states.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from models.playback.events import DIMENSIONS, Event, clock_offset_ms, deduplicate, late_events

__all__ = ["MEASURES", "REVISIONS", "Event", "Folded", "Policy", "deduplicate", "fold", "late_events"]

Revision = Literal["live", "final"]
REVISIONS: tuple[Revision, ...] = ("live", "final")
MINUTE_MS, DAY_MS = 60_000, 86_400_000

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
INFERRED = frozenset({"timeout", "pause_limit", "length_cap"})

WATCHED = {"starting": "starting_ms", "playing": "play_ms", "rebuffering": "stall_ms", "seeking": "seek_ms"}
"""Measure of each state in which the viewer waits for or sees content; counted without ad, in foreground."""

MEASURES = (
    "alive_ms",
    "starting_ms",
    "play_ms",
    "stall_ms",
    "seek_ms",
    "pause_ms",
    "ad_ms",
    "background_ms",
    "watched_ms",
    "bitrate_kbps_ms",
    "bitrate_known_ms",
    "start_delay_ms",
    "attempts",
    "plays",
    "starts_measured",
    "exits_before_start",
    "start_failures",
    "playback_failures",
    "stalls",
    "switches_up",
    "switches_down",
)
"""The additive measures of records span and session, in their order."""


SPAN_COLUMNS = (
    "session_id",
    "segment",
    "span",
    "revision",
    "start_at",
    "end_at",
    "minute_at",
    "start_date",
    "state",
    "background",
    "ad",
    "bitrate_kbps",
    "unobserved",
    *DIMENSIONS,
    *MEASURES,
)
SESSION_COLUMNS = (
    "session_id",
    "segment",
    "revision",
    "close_date",
    *DIMENSIONS,
    "impression_id",
    "page_id",
    "start_at",
    "end_at",
    "state",
    "end_reason",
    "inferred",
    "clock_offset_ms",
    "events",
    "duplicates",
    "late",
    "missing",
    "max_playhead_ms",
    *MEASURES,
)


@dataclass(frozen=True, slots=True)
class Policy:
    """The fold's times in milliseconds (`settings.fold`)."""

    lateness_ms: int = 120_000
    hold_ms: int = 75_000
    pause_limit_ms: int = 1_800_000
    session_cap_ms: int = 86_400_000


@dataclass(frozen=True, slots=True)
class Folded:
    """Rows with the columns of records `span` and `session`; times in UTC milliseconds, dates in days since 1970."""

    spans: list[dict[str, Any]]
    sessions: list[dict[str, Any]]


@dataclass(slots=True)
class _Segment:
    """One segment while it is being folded; `state`, `last` and `at` are those of its newest event."""

    number: int
    start_at: int
    missing: int
    last: Event
    at: int
    state: str = ""
    end_at: int = 0
    end_reason: str = ""
    events: int = 0
    attempt_at: int | None = None
    attempt_seen: bool = False
    excluded_ms: int = 0
    played: bool = False
    stall_counted: bool = False
    play_kbps: int | None = None
    paused_at: int | None = None
    max_playhead_ms: int | None = None
    impression_id: str | None = None
    page_id: str | None = None
    moment: dict[str, int] = field(default_factory=dict)
    sums: dict[str, int] = field(default_factory=lambda: dict.fromkeys(MEASURES, 0))
    spans: list[dict[str, Any]] = field(default_factory=list)


def fold(events: Iterable[Event | Mapping[str, Any]], policy: Policy, revision: Revision) -> Folded:
    """Fold all events of one session, in any order, by the law above.

    Raises:
        ValueError: events of more than one session.
    """
    every = [event if isinstance(event, Event) else Event.of(event) for event in events]
    if len({event.session_id for event in every}) > 1:
        raise ValueError(
            f"fold takes the events of one session, found {len({e.session_id for e in every})}: group by session_id"
        )
    if not every:
        return Folded([], [])
    counted, duplicates = deduplicate(every)
    late = late_events(counted, policy.lateness_ms)
    if revision == "live":
        counted = [event for event in counted if event.seq not in late]
    offset = clock_offset_ms(every)
    segments = _segments(counted, offset, policy)
    spans = [
        _span_row(span, number, segment, revision) for segment in segments for number, span in enumerate(segment.spans)
    ]
    sessions = [_session_row(segment, revision, offset) for segment in segments]
    sessions[0]["duplicates"], sessions[0]["late"] = duplicates, len(late)
    return Folded(spans, sessions)


def _segments(events: list[Event], offset: int, policy: Policy) -> list[_Segment]:
    segments: list[_Segment] = []
    at, before = -(1 << 62), -1
    for event in events:
        at, missing, before = max(at, event.device_at + offset), event.seq - before - 1, event.seq
        current = segments[-1] if segments else None
        if current is not None and event.kept:
            event = event.after(current.last)
        if current is not None and not current.end_reason:
            reason, end_at = _closing(current, event, at, policy)
            if reason != "timeout":
                _hold(current, end_at, missing > 0)
            if not reason or reason in TERMINAL:
                current.missing += missing
                _apply(current, event, at)
            if reason:
                _close(current, reason, at if reason in TERMINAL else end_at)
            if current.last is event:
                continue
        if current is not None and _takes_in(current, event):
            current.events += 1
            current.missing += missing
            continue
        current = _Segment(len(segments), at, missing, event, at)
        segments.append(current)
        _apply(current, event, at)
        if current.state in TERMINAL:
            _close(current, current.state, at)
    if segments and not segments[-1].end_reason:
        _close(segments[-1], "timeout", segments[-1].at)
    return segments


def _closing(segment: _Segment, event: Event, at: int, policy: Policy) -> tuple[str, int]:
    """Why `event` at time `at` closes the segment ('' if not) and until when the segment's state held."""
    held = at - segment.at <= policy.hold_ms
    until = at if held else segment.at
    if event.received_at - segment.last.received_at > policy.hold_ms + policy.lateness_ms:
        return "timeout", segment.at
    if STATES[event.state] in TERMINAL:
        return STATES[event.state], until
    if event.title_id != segment.last.title_id:
        return "content_change", until
    if segment.paused_at is not None and at - segment.paused_at > policy.pause_limit_ms:
        return "pause_limit", min(until, segment.paused_at + policy.pause_limit_ms)
    if not held:
        return "timeout", until
    if at - segment.start_at > policy.session_cap_ms:
        return "length_cap", min(until, segment.start_at + policy.session_cap_ms)
    return "", until


def _takes_in(closed: _Segment, event: Event) -> bool:
    state = STATES[event.state]
    return state in TERMINAL or (closed.end_reason == "pause_limit" and state == "paused")


def _apply(segment: _Segment, event: Event, at: int) -> None:
    """Make `event` the segment's newest: its state begins at `at`, with the moments that fall there."""
    before, state = segment.state, STATES[event.state]
    if not segment.played and state in ("rebuffering", "seeking"):
        state = "starting"
    segment.last, segment.at, segment.state, segment.moment = event, at, state, {}
    segment.events += 1
    segment.impression_id = event.impression_id if segment.impression_id is None else segment.impression_id
    segment.page_id = event.page_id if segment.page_id is None else segment.page_id
    if event.playhead_ms is not None:
        segment.max_playhead_ms = max(event.playhead_ms, segment.max_playhead_ms or 0)
    if state != "paused":
        segment.paused_at = None
    elif segment.paused_at is None:
        segment.paused_at = at
    _starts(segment, event, at)
    if state != "rebuffering" or before != "rebuffering":
        segment.stall_counted = False
    if event.ad or event.background:
        return
    if state == "rebuffering" and not segment.stall_counted:
        segment.stall_counted, segment.moment["stalls"] = True, 1
    if state == "playing" and event.bitrate_kbps is not None:
        if segment.play_kbps is not None and event.bitrate_kbps != segment.play_kbps:
            segment.moment["switches_up" if event.bitrate_kbps > segment.play_kbps else "switches_down"] = 1
        segment.play_kbps = event.bitrate_kbps


def _starts(segment: _Segment, event: Event, at: int) -> None:
    """Attempt and play."""
    if segment.attempt_at is None and segment.state in ("starting", "playing"):
        segment.attempt_at, segment.attempt_seen = at, segment.state == "starting"
        segment.moment["attempts"] = 1
    if segment.state == "playing" and not event.ad and not segment.played and segment.attempt_at is not None:
        segment.played, segment.moment["plays"] = True, 1
        if segment.attempt_seen and segment.missing == 0:
            segment.moment["starts_measured"] = 1
            segment.moment["start_delay_ms"] = at - segment.attempt_at - segment.excluded_ms


def _hold(segment: _Segment, until: int, unobserved: bool) -> None:
    """Let the newest event's state hold until `until`, cut at minute borders."""
    if segment.attempt_at is not None and not segment.played and (segment.last.ad or segment.state == "paused"):
        segment.excluded_ms += until - segment.at
    start = segment.at
    if start == until and segment.moment:
        _piece(segment, start, until, unobserved)
    while start < until:
        end = min(until, start - start % MINUTE_MS + MINUTE_MS)
        _piece(segment, start, end, unobserved)
        start = end


def _close(segment: _Segment, reason: str, end_at: int) -> None:
    if segment.attempt_at is not None and reason == "failed":
        segment.moment["playback_failures" if segment.played else "start_failures"] = 1
    elif segment.attempt_at is not None and not segment.played:
        segment.moment["exits_before_start"] = 1
    segment.end_reason, segment.end_at = reason, end_at
    if segment.moment or reason in TERMINAL:
        _piece(segment, end_at, end_at, False)


def _piece(segment: _Segment, start: int, end: int, unobserved: bool) -> None:
    """Add [start, end), which lies in one minute, as a span of its own or to the one before; takes the moment away."""
    event, moment = segment.last, segment.moment
    measures = dict.fromkeys(MEASURES, 0) | _durations(segment.state, event, end - start) | moment
    segment.moment = {}
    for name, value in measures.items():
        segment.sums[name] += value
    key: dict[str, Any] = {
        "minute_at": start - start % MINUTE_MS,
        "state": segment.state,
        "background": event.background,
        "ad": event.ad,
        "bitrate_kbps": event.bitrate_kbps,
        "unobserved": unobserved,
    }
    key |= dict(zip(DIMENSIONS, event.dimensions, strict=True))
    last = segment.spans[-1] if segment.spans else None
    if last is not None and not moment and start < end and last["end_at"] == start and key.items() <= last.items():
        last["end_at"] = end
        for name, value in measures.items():
            last[name] += value
    else:
        segment.spans.append(key | {"start_at": start, "end_at": end} | measures)


def _durations(state: str, event: Event, ms: int) -> dict[str, int]:
    """Which measures `ms` milliseconds of a state add to."""
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
        if state == "playing" and event.bitrate_kbps is not None:
            found |= {"bitrate_kbps_ms": event.bitrate_kbps * ms, "bitrate_known_ms": ms}
    return found


def _span_row(span: dict[str, Any], number: int, segment: _Segment, revision: Revision) -> dict[str, Any]:
    row = {
        "session_id": segment.last.session_id,
        "segment": segment.number,
        "span": number,
        "revision": revision,
        "start_date": span["start_at"] // DAY_MS,
    } | span
    return {name: row[name] for name in SPAN_COLUMNS}


def _session_row(segment: _Segment, revision: Revision, offset: int) -> dict[str, Any]:
    row: dict[str, Any] = {
        "session_id": segment.last.session_id,
        "revision": revision,
        "close_date": segment.end_at // DAY_MS,
        "segment": segment.number,
        "clock_offset_ms": offset,
        "duplicates": 0,
        "late": 0,
        "inferred": segment.end_reason in INFERRED,
    }
    row |= dict(zip(DIMENSIONS, segment.last.dimensions, strict=True)) | segment.sums
    return {name: row[name] if name in row else getattr(segment, name) for name in SESSION_COLUMNS}
