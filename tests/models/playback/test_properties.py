"""What must hold for any session, and an oracle that looks at every millisecond."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from models.playback.events import Event
from models.playback.spans import MEASURES, REVISIONS, Folded, Policy, deduplicate, fold, late_events
from schemas.measures import STALL_TIME, START_TIME
from tests.kernel import hostile

SMALL = hostile.SMALL
Row = dict[str, Any]


def _session(seed: int) -> list[Row]:
    rng = random.Random(seed)
    return hostile.topic(rng, [hostile.sent(rng, hostile.session(rng, "s", 0.2), 0.2)], 1_000)


PARTS = {
    "long_wait_exits": "exits_before_start",
    "start_failures_business": "start_failures",
    "playback_failures_business": "playback_failures",
    "cir_stalls": "stalls",
    "cir_stall_ms": "stall_ms",
    "gaps_verified": "gaps",
    "repaired_stalls": "stalls",
    "bitrate_known_ms": "media_ms",
}
sessions = st.integers(0, 2**32).map(_session)


@given(sessions, st.randoms(use_true_random=False))
@settings(max_examples=150, deadline=None)
def test_order_of_arrival_does_not_matter(rows: list[Row], rng: random.Random) -> None:
    shuffled = rng.sample(rows, len(rows))
    assert all(fold(shuffled, SMALL, revision) == fold(rows, SMALL, revision) for revision in REVISIONS)


@given(sessions)
@settings(max_examples=150, deadline=None)
def test_spans_tile_their_segment(rows: list[Row]) -> None:
    folded = fold(rows, SMALL, "final")
    for session in folded.sessions:
        spans = [span for span in folded.spans if span["segment"] == session["segment"]]
        assert [span["span"] for span in spans] == list(range(len(spans)))
        for span in spans:
            assert session["start_at"] <= span["start_at"] <= span["end_at"] <= session["end_at"]
            assert span["minute_at"] <= span["start_at"] and span["end_at"] <= span["minute_at"] + 60_000
            assert (
                span["start_at"] < span["end_at"]
                or any(span[name] for name in MEASURES)
                or span["state"] in ("ended", "failed", "quit")
            )
        for span, following in itertools.pairwise(spans):
            assert span["end_at"] <= following["start_at"]


def _ad_frames(rows: list[Row], offset_ms: int) -> list[int]:
    """When an ad was said to play: also for no time, of which no span tells."""
    events = sorted(deduplicate(map(Event.of, rows))[0], key=lambda event: event.seq)
    told = itertools.accumulate(events, lambda before, event: event.after(before))
    at = itertools.accumulate((event.device_at + offset_ms for event in events), max)
    return [moment for event, moment in zip(told, at, strict=True) if event.ad and event.state == "p"]


@given(sessions)
@example(_session(638740))  # an ad plays for no time, then content is wanted
@settings(max_examples=150, deadline=None)
def test_sums(rows: list[Row]) -> None:
    folded = fold(rows, SMALL, "final")
    frames = _ad_frames(rows, folded.sessions[0]["clock_offset_ms"])
    by_segment: dict[int, Counter[str]] = {session["segment"]: Counter() for session in folded.sessions}
    for span in folded.spans:
        by_segment[span["segment"]].update({name: span[name] for name in MEASURES})
        length = span["end_at"] - span["start_at"]
        lived = 0 if span["state"] in ("preloading", "ended", "failed", "quit") else length
        # A stall in a beginning that was lost has no span of its own: its time comes on top of the revealing event's.
        assert span["alive_ms"] == lived or span["alive_ms"] == lived + span["repaired_stall_ms"]
        assert span["watched_ms"] == span["starting_ms"] + span["play_ms"] + span["stall_ms"] + span["seek_ms"]
        assert span["watched_ms"] <= span["alive_ms"] + max(span["repaired_stall_ms"], 0)
    for session in folded.sessions:
        assert all(by_segment[session["segment"]][name] == session[name] for name in MEASURES)
        recovered = session["start_failures_recovered"], session["playback_failures_recovered"]
        begun = session["attempts"] + recovered[0]
        assert session["plays"] <= begun <= 1
        assert session["exits_before_start"] + session["start_failures"] + session["plays"] == begun
        # A segment that goes on after a recovered failure has no play of its own, but may fail or be left.
        assert session["playback_failures"] <= session["plays"] + recovered[1]
        assert session["cir_exits"] <= session["plays"] + recovered[1]
        # Nothing of content was on screen that could switch, or stall but in a gap.
        unseen = not (session["plays"] or recovered[1])
        assert not (unseen and any(session[name] for name in ("startup_switches", "switches_up", "switches_down")))
        assert not (unseen and session["stalls"] > session["repaired_stalls"])
        # An ad that plays before the attempt counts (after a failure, after an end) showed the first frame of any kind.
        mine = (span for span in folded.spans if span["segment"] == session["segment"])
        until = next((span["start_at"] for span in mine if span["attempts"]), session["start_at"])
        shown = any(session["start_at"] <= at <= until for at in frames)
        assert session["starts_measured"] <= session["any_starts_measured"] or shown
        assert session["starts_measured"] <= session["plays"]
        for part, whole in PARTS.items():
            assert session[part] <= session[whole], part
        for histogram, whole in ((START_TIME, "starts_measured"), (STALL_TIME, "smoothness_scored")):
            assert sum(session[name] for name in histogram.columns) == session[whole]
        assert 0 <= session["smoothness_score_milli"] <= 100_000 and 0 <= session["startup_score_milli"] <= 100_000


@given(sessions)
@settings(max_examples=150, deadline=None)
def test_every_event_is_counted_once(rows: list[Row]) -> None:
    kept, duplicates = deduplicate(map(Event.of, rows))
    late = late_events(kept, SMALL.lateness_ms)
    for revision, counted in (("live", len(kept) - len(late)), ("final", len(kept))):
        folded = fold(rows, SMALL, revision)  # type: ignore[arg-type]
        assert sum(session["events"] for session in folded.sessions) == counted
        assert folded.sessions[0]["duplicates"] == duplicates and folded.sessions[0]["late"] == len(late)
        numbers = max(event.seq for event in kept) + 1
        assert sum(session["missing"] for session in folded.sessions) == numbers - counted


def test_late_by_definition() -> None:
    rng = random.Random(5)
    for _ in range(300):
        kept, _ = deduplicate(map(Event.of, _session(rng.getrandbits(32))))
        expected = {e.seq for e in kept if any(e.received_at > f.received_at + 24_000 for f in kept if f.seq > e.seq)}
        assert late_events(kept, 24_000) == expected


HOLD = Policy(lateness_ms=10**6, hold_ms=50, pause_limit_ms=10**6, session_cap_ms=10**6)
EDGE = hostile.MIDNIGHT


@st.composite
def tiny(draw: st.DrawFn) -> list[Row]:
    """A dozen events within half a second around midnight; no loss, one title."""
    at, rows = EDGE - 200, []
    for seq in range(draw(st.integers(1, 12))):
        rows.append(
            hostile._who("s")
            | {
                "seq": seq,
                "device_at": at,
                "received_at": at,
                "post_device_at": at,
                "state": draw(st.sampled_from("spppprrrakwd")),
                "bitrate_kbps": draw(st.sampled_from((None, 1000, 2000))),
                "background": draw(st.integers(0, 9)) == 0,
                "ad": draw(st.integers(0, 9)) == 0,
                "title_id": "t",
                "cdn_id": "c",
                "impression_id": None,
                "page_id": None,
                "playhead_ms": None,
                "kafka_partition": 0,
                "kafka_offset": seq,
            }
        )
        at += draw(st.integers(0, 60))
    if draw(st.booleans()):
        rows[-1] |= {"state": draw(st.sampled_from("efq"))}
    return rows


DURATIONS = (
    "alive_ms", "starting_ms", "play_ms", "stall_ms", "seek_ms", "pause_ms", "ad_ms", "background_ms", "watched_ms",
    "media_ms", "bitrate_kbps_ms", "bitrate_known_ms",
)  # fmt: skip


def _ticks(rows: list[Row]) -> Counter[tuple[int, str]]:
    """Durations by minute and measure, one millisecond at a time: who was the newest event, was it still believed?"""
    found: Counter[tuple[int, str]] = Counter()
    for tick in range(rows[0]["device_at"], rows[-1]["device_at"]):
        i = max(n for n, row in enumerate(rows) if row["device_at"] <= tick)
        if rows[i + 1]["device_at"] - rows[i]["device_at"] > 50:
            continue
        start = max([n + 1 for n in range(i) if rows[n + 1]["device_at"] - rows[n]["device_at"] > 50], default=0)
        seen = any(row["state"] == "p" and not row["ad"] for row in rows[start : i + 1])
        row, state = rows[i], rows[i]["state"]
        frames = [n for n in range(start, i + 1) if rows[n]["state"] == "p" and not rows[n]["ad"]]
        seeks = [n for n in range(start, i + 1) if rows[n]["state"] == "k" and frames and n > frames[0]]
        if state == "r" and seeks and seeks[-1] > frames[-1]:
            state = "k"
        if state == "d":
            continue
        names = (
            ["alive_ms"] + ["pause_ms"] * (state == "a") + ["ad_ms"] * row["ad"] + ["background_ms"] * row["background"]
        )
        if state in "sprk" and not row["ad"] and not row["background"]:
            kind = {"s": "starting_ms", "p": "play_ms", "r": "stall_ms", "k": "seek_ms"}[state]
            names += ["watched_ms", kind if seen or state == "p" else "starting_ms"]
        for name in names:
            found[tick // 60_000, name] += 1
        if "play_ms" in names:
            found[tick // 60_000, "media_ms"] += 1
        if "play_ms" in names and row["bitrate_kbps"] is not None:
            found[tick // 60_000, "bitrate_known_ms"] += 1
            found[tick // 60_000, "bitrate_kbps_ms"] += row["bitrate_kbps"]
    return found


def _durations(folded: Folded) -> Counter[tuple[int, str]]:
    found: Counter[tuple[int, str]] = Counter()
    for span in folded.spans:
        for name in DURATIONS:
            found[span["minute_at"] // 60_000, name] += span[name]
    return found


@given(tiny())
@settings(max_examples=300, deadline=None)
def test_every_millisecond(rows: list[Row]) -> None:
    assert +_durations(fold(rows, HOLD, "final")) == +_ticks(rows)


@given(tiny(), st.integers(-(10**9), 10**9))
@settings(max_examples=100, deadline=None)
def test_only_the_offset_shows_the_device_clock(rows: list[Row], skew: int) -> None:
    skewed = [
        row | {"device_at": row["device_at"] + skew, "post_device_at": row["post_device_at"] + skew} for row in rows
    ]
    plain, other = fold(rows, HOLD, "live"), fold(skewed, HOLD, "live")
    assert plain.spans == other.spans
    assert [s | {"clock_offset_ms": 0} for s in plain.sessions] == [s | {"clock_offset_ms": 0} for s in other.sessions]
