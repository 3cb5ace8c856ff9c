"""What happened in one session, told from its rows: stretches of one state, and the raw events beside them.

A stretch is a run of spans that differ in nothing but the minute border between them. Its notes say what the fold
counted there and why: the cause of a stall, what the player's own counters repaired, what nobody observed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from models.playback.events import Event, deduplicate, late_events
from models.playback.spans import Policy, Revision, Stall, fold

SAME = ("segment", "state", "ad", "background", "bitrate_kbps", "cdn_id", "unobserved")
"""Columns in which the spans of one stretch agree."""

REPAIRS = ("gaps", "repaired_stalls", "repaired_stall_ms")
"""Columns of what the player's counters repaired; a span that has one begins a stretch."""

MOMENTS = {
    "attempts": "attempt",
    "plays": "first content frame",
    "exits_before_start": "left before the first frame",
    "start_failures": "failed before the first frame",
    "start_failures_business": "of class business",
    "start_failures_recovered": "recovered by a retry",
    "playback_failures": "failed while playing",
    "playback_failures_business": "of class business",
    "playback_failures_recovered": "recovered by a retry",
    "cir_exits": "left because of a stall",
    "switches_up": "bitrate up",
    "switches_down": "bitrate down",
}
"""Counts of a span that are told in words, where the span has them."""

CAUSES_KEPT = "cir_stalls"
"""Column of the spans that says whether a stall is the connection's; older lakes lack it."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """One state for a while. Times in UTC milliseconds of the corrected clock; `row` holds the summed span columns."""

    start_at: int
    end_at: int
    row: dict[str, Any]
    notes: tuple[str, ...] = ()

    @property
    def duration_ms(self) -> int:
        return self.end_at - self.start_at


@dataclass(frozen=True, slots=True)
class Report:
    """One raw event: `at` is its device time on the corrected clock; `flags` say what the fold thought of it."""

    at: int
    row: dict[str, Any]
    flags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Story:
    """A session: its segments (rows of `session`, may be empty), stretches in time, reports in the player's order."""

    sessions: tuple[dict[str, Any], ...]
    stretches: tuple[Stretch, ...]
    reports: tuple[Report, ...]


def tell(
    sessions: Sequence[Mapping[str, Any]],
    spans: Sequence[Mapping[str, Any]],
    events: Sequence[Mapping[str, Any]],
    policy: Policy,
    revision: Revision,
) -> Story:
    """The story of one session. What a stall came after is no column of its rows: its events are folded for that.

    Args:
        sessions: Rows of record `session`, one a segment, of one revision.
        spans: Rows of record `span` of the same revision.
        events: Rows of `playback_event` with their position in the topic, repeats included.
        policy: The fold's, by which the rows were made.
        revision: The rows'.

    All times are integers, UTC milliseconds.
    """
    offset = int(sessions[0]["clock_offset_ms"]) if sessions else 0
    stalls = fold(events, policy, revision).stalls
    return Story(
        tuple(dict(row) for row in sorted(sessions, key=lambda row: row["segment"])),
        tuple(replace(one, notes=tuple(_notes(one, stalls))) for one in _stretches(spans)),
        _reports(events, offset, policy.lateness_ms),
    )


def _stretches(spans: Sequence[Mapping[str, Any]]) -> list[Stretch]:
    told: list[Stretch] = []
    for span in sorted(spans, key=lambda row: (row["segment"], row["span"])):
        row, start, end = dict(span), int(span["start_at"]), int(span["end_at"])
        last = told[-1] if told else None
        repaired = any(row.get(name) for name in REPAIRS)
        if last is not None and last.end_at == start and not repaired and _alike(last.row, row):
            told[-1] = replace(last, end_at=end, row=_summed(last.row, row))
        else:
            told.append(Stretch(start, end, row))
    return told


def _alike(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return all(one[name] == other[name] for name in SAME)


def _summed(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Measures added; what is no measure stays the first's."""
    measured = [name for name, value in one.items() if isinstance(value, int) and not isinstance(value, bool)]
    kept = {*SAME, "span", "start_at", "end_at", "minute_at", "start_date"}
    return one | {name: one[name] + other[name] for name in measured if name not in kept}


def _notes(stretch: Stretch, stalls: Sequence[Stall]) -> list[str]:
    row, notes = stretch.row, []
    for name, words in MOMENTS.items():
        if row.get(name):
            notes.append(words + (f" x{row[name]}" if row[name] > 1 else ""))
    if row.get("starts_measured"):
        notes.append(f"start took {row['start_delay_ms']:,} ms")
    elif row.get("plays"):
        notes.append("start not measured: its begin was not seen, or an event before it is missing")
    if row["state"] == "rebuffering":
        notes.append(_cause(stretch, stalls))
    if row.get("gaps"):
        verified = row.get("gaps_verified", 0)
        notes.append(f"gap: {row['gaps']}, of which the player's counters tell {verified}")
    elif row.get("gaps_verified", 0) < 0:
        notes.append("an ad ends here whose begin was lost: a gap before is not verified after all")
    if row.get("repaired_stalls") or row.get("repaired_stall_ms"):
        count, ms = row.get("repaired_stalls", 0), row.get("repaired_stall_ms", 0)
        notes.append(f"repaired from the player's counters: stalls {count:+}, stalled {ms:+,} ms; place unknown")
    if row["unobserved"]:
        notes.append("not observed throughout: an event is missing")
    return notes


def _cause(stretch: Stretch, stalls: Sequence[Stall]) -> str:
    """Why it stalled, by the metric law: `stalls` are those that the fold counted."""
    row = stretch.row
    if row["ad"] or row["background"]:
        return f"not counted as a stall: {'an ad is on screen' if row['ad'] else 'in background'}"
    if not row.get("stalls") and not row.get("stall_ms"):
        return "not counted as a stall: before the first frame"
    if CAUSES_KEPT not in row:
        return "stall, cause not kept: these spans were written before causes were; job 'sessionize' again"
    if row[CAUSES_KEPT] or row.get("cir_stall_ms"):
        return "stall caused by the connection"
    begun = [one for one in stalls if one.segment == row["segment"] and one.at <= stretch.start_at]
    if not begun or not begun[-1].after:
        return "stall not caused by the connection"
    article = "an" if begun[-1].after == "ad" else "a"
    return f"stall after {article} {begun[-1].after}, {begun[-1].ago_ms:,} ms before: not the connection's"


def _reports(rows: Sequence[Mapping[str, Any]], offset: int, lateness_ms: int) -> tuple[Report, ...]:
    events = {Event.of(row): dict(row) for row in rows}
    counted, _ = deduplicate(events)
    late = late_events(counted, lateness_ms)
    kept = {event.position for event in counted}
    told, before = [], -1
    for event in sorted(events, key=lambda one: (one.seq, one.position)):
        flags = []
        if event.position not in kept:
            flags.append("repeat, not counted")
        else:
            if event.seq > before + 1:
                lost = event.seq - before - 1
                flags.append(f"{lost} {'number' if lost == 1 else 'numbers'} missing before")
            if event.seq in late:
                flags.append("late: not in revision live")
            before = event.seq
        told.append(Report(event.device_at + offset, events[event], tuple(flags)))
    return tuple(told)
