"""The timeline is what the events say, to the millisecond, folded by the reference that knows nothing of the world."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

from models.playback import spans
from models.playback.spans import Policy, fold
from models.world import Day, World, faults
from tests.models.world.conftest import SMALL, busiest

SUMS = {
    "start_delay_ms": "start_delay_ms",
    "stall_ms": "stall_ms",
    "stalls": "stalls",
    "play_ms": "play_ms",
    "seek_ms": "seek_ms",
    "ad_ms": "ad_ms",
}
"""Column of the world's truth, measure of the fold."""
OWN_COUNTERS = ["stall_count", "stall_total_ms", "start_delay_ms"]


def folded(day: Day) -> pd.DataFrame:
    """Sums of every session by the reference fold, from the events alone and without the player's own counters."""
    events = day.events.assign(**dict.fromkeys(OWN_COUNTERS))
    for column in ("device_at", "received_at", "post_device_at"):
        events[column] = events[column].astype("int64")
    for column in ("bitrate_kbps", "error_code", "playback_rate", "playhead_ms"):
        events[column] = events[column].astype(object).where(events[column].notna(), None)
    events["kafka_partition"], events["kafka_offset"] = 0, range(len(events))
    rows: list[dict[str, Any]] = []
    for session_id, group in events.groupby("session_id", sort=False):
        sessions = fold(group.to_dict("records"), Policy(), "final").sessions
        rows.append(
            {"session_id": session_id, "segments": len(sessions), "missing": sum(s["missing"] for s in sessions)}
            | {m: sum(s[m] for s in sessions) for m in {*SUMS.values(), "plays", "attempts"}}
        )
    return pd.DataFrame(rows)


def compare(day: Day) -> pd.DataFrame:
    """Truth and measurement side by side."""
    return day.truth["sessions"].merge(folded(day), on="session_id", how="left", suffixes=("", "_found"))


def test_what_is_measured_is_what_happened(clean: tuple[World, Day]) -> None:
    both = compare(clean[1])
    exact = both[both["exact"]]
    assert len(exact) > 80
    for column in SUMS:
        assert (exact[column] == exact[f"{column}_found"]).all(), column
    assert exact["stalls"].sum() > 0
    assert exact["start_delay_ms"].sum() > 0


def test_a_broken_fold_is_found(clean: tuple[World, Day], monkeypatch: pytest.MonkeyPatch) -> None:
    """Seeking taken for rebuffering, an ad for content: the comparison above must fail."""
    monkeypatch.setitem(spans.STATES, "k", "rebuffering")
    both = compare(clean[1])
    exact = both[both["exact"]]
    assert (exact["stall_ms"] != exact["stall_ms_found"]).any()
    assert (exact["seek_ms"] != exact["seek_ms_found"]).any()


def test_sessions_called_exact_are_measured_exactly_under_every_fault() -> None:
    world = World.create(replace(SMALL, seed=23))
    named = (
        faults.isp_outage(busiest(world), start=0, minutes=1_440, factor=0.04),
        faults.bad_release(start=300),
        faults.late_burst(start=900, minutes=120),
        faults.duplicate_storm(start=600, minutes=300),
        faults.clock_skew(share=0.3),
    )
    both = compare(world.live(0, faults=named))
    exact = both[both["exact"]]
    assert len(exact) > 60
    for column in SUMS:
        assert (exact[column] == exact[f"{column}_found"]).all(), column
