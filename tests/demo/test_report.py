"""The report: self-contained, with the story's own figures in it, the same bytes for the same story."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta

import pandas as pd
import pytest

from demo import report
from demo.story import FaultWindow, Story
from models.experiment.intervals import Estimate
from schemas.metrics import METRICS, PLAY_METRICS, SESSION_METRICS

LIVE = date(2026, 1, 12)
FAULT = FaultWindow(
    "isp_outage", "cedar-de", datetime(2026, 1, 12, 18, tzinfo=UTC), datetime(2026, 1, 12, 19, tzinfo=UTC)
)
INCIDENT = {
    "incident_id": "20260112T180500Z-cedar-de", "state": "resolved", "signal": "exit_before_start_rate",
    "cohort": "isp=cedar-de", "onset_at": datetime(2026, 1, 12, 18, 1, 20, tzinfo=UTC),
    "opened_at": datetime(2026, 1, 12, 18, 5, tzinfo=UTC), "resolved_at": datetime(2026, 1, 12, 19, 3, 20, tzinfo=UTC),
    "window_s": 3_600, "observed": 18.0, "expected": 2.05, "impacted_sessions": 1_025,
    "example_sessions": ["7-7-a", "7-7-b"], "explanation": "isp cedar-de (97% of the excess)",
    "runbook": "start-failures.md",
}  # fmt: skip


def minutes() -> pd.DataFrame:
    start = pd.Timestamp("2026-01-12", tz="UTC")
    rows = []
    for n in range(0, 1440, 10):
        hurt = 1080 <= n < 1140
        rows.append(("total", "*", start + timedelta(minutes=n), 600_000, 1, 100))
        for isp in ("cedar-de", "birch-us"):
            rows.append(
                ("place", isp, start + timedelta(minutes=n), 0, 9**6 if hurt and isp == FAULT.isp else 1, 10**7)
            )
    names = ["rollup", "isp", "minute_at", "concurrency_num", "rebuffer_ratio_num", "rebuffer_ratio_den"]
    return pd.DataFrame(rows, columns=names)


def viewers(few: int = 25) -> pd.DataFrame:
    """25 profiles of every provider in every window; of birch-us so `few`."""
    start = pd.Timestamp("2026-01-12", tz="UTC")
    rows = [(isp, start + timedelta(minutes=n), 25 if isp == FAULT.isp else few)
            for n in range(0, 1440, 15) for isp in ("cedar-de", "birch-us")]  # fmt: skip
    return pd.DataFrame(rows, columns=["isp", "window", "profiles"])


@pytest.fixture
def story() -> Story:
    some = Estimate(0.05, 0.04, 0.06, 900)
    rates = dict.fromkeys(("page policy", "page holdback", "artwork policy", "artwork holdback"), some)
    reconciled = {"rollup": ["total", "total"], "metric": ["attempts_num", "plays_num"]}
    sums = {"rows_stream": [10, 10], "rows_batch": [10, 10], "rows_missing": [0, 0], "differing": [0, 3]}
    row = {
        "heading": "Because you watched <Rain & Sons>",
        "reason": "you finished it",
        "cells": [
            {"name": "Night Train", "theme": "crime", "probability": 0.41},
            {"name": "Seagulls", "theme": "drama", "probability": None},
        ],
    }
    return Story(
        universe="20260112-120000",
        live_day=LIVE,
        next_day=LIVE + timedelta(days=1),
        fault=FAULT,
        qoe=minutes(),
        viewers=viewers(),
        plays=pd.DataFrame({"percent_complete_num": [637], "percent_complete_den": [1_000]}),
        sessions=pd.DataFrame(
            {
                "missing_rate_num": [25],
                "missing_rate_den": [2_000],
                "duplicate_rate_num": [3],
                "duplicate_rate_den": [80],
                "inferred_end_rate_num": [11],
                "inferred_end_rate_den": [16],
            }
        ),
        funnel={"impressions": 1000, "attempts": 90, "first frame": 81},
        forecast=pd.DataFrame(
            {
                "region": ["DE", "DE"],
                "file_id": ["f", "g"],
                "method": ["history", "release_calendar"],
                "expected_bytes": [1e9, 2e9],
                "asked_bytes": [9e8, 1e9],
            }
        ),
        disk=pd.DataFrame(
            {"cdn_id": ["c1"], "title_id": ["t"], "name": ["Night Train"], "before_bytes": [1e9], "after_bytes": [2e9]}
        ),
        plan=pd.DataFrame(
            {
                "cdn_id": ["c1"],
                "disk_bytes": [10**10],
                "fill_budget_bytes": [10**9],
                "held_bytes": [9 * 10**9],
                "fill_bytes": [10**9],
            }
        ),
        offload={"our plan": 0.55, "LRU": 0.47, "rate oracle": 0.7},
        logged_offload=0.53,
        incidents=[INCIDENT],
        take_rates=rates,
        lifts={"page": some, "artwork": some},
        page={"profile_id": "p1", "model_id": "als@1", "country": "DE", "device": "tv", "rows": [row]},
        reconcile=pd.DataFrame({**reconciled, **sums}),
        counts={"dead_letters": 7, "poison": 7, "attempts_from_pages": 4, "impressions_of_the_live_day": 9},
        timings=[("land", 3.0)],
        peak_memory_bytes=3 * 2**30,
        model={"metric": "ndcg", "value": 0.2, "baseline": 0.1, "promoted": True},
    )


def test_the_page_needs_nothing_from_outside(story: Story) -> None:
    page = report.html(story)
    assert "<script" not in page
    assert not re.findall(r"(?:src|href)=\"(?!#)[^\"]*\"", page.replace("xlink:href", ""))
    assert page.count("<svg") == 6


def test_figures_stand_on_the_page(story: Story) -> None:
    page = report.html(story)
    for text in ("3 differing integers", "55.0 %", "15.0 points", "Night Train", "41 %", "cedar-de"):
        assert text in page, text
    assert "Because you watched &lt;Rain &amp; Sons&gt;" in page


def test_metrics_of_a_day_are_not_sums_of_minutes() -> None:
    day = pd.DataFrame({
        "rollup": ["total", "total", "place"],
        "concurrency_num": [2 * 60_000 * 1_440, 60_000 * 1_440, 7],
        "watched_time_num": [3_600_000, 3_600_000, 7],
        "stall_time_num": [30, 10, 7],
        "stall_time_den": [1, 1, 7],
    })  # fmt: skip
    shown = {name: (value, unit) for name, value, unit, _ in report.metrics_of_the_day(day)}
    assert [shown["concurrency"], shown["watched_time"], shown["stall_time"]] == [("3", ""), ("2.0", "h"), ("20", "ms")]
    assert shown["played_bitrate"] == ("", "")


def test_metrics_of_plays_and_sessions_stand_on_the_page(story: Story) -> None:
    page = report.html(story)
    shown = {"percent_complete": "0.637", "missing_rate": "0.0125", "duplicate_rate": "0.0375",
             "inferred_end_rate": "0.6875"}  # fmt: skip
    for name, value in shown.items():
        assert f"<tr><td><code>{name}</code></td><td>{value} </td>" in page, name
    for metric in (*METRICS, *PLAY_METRICS, *SESSION_METRICS):
        assert page.count(f"<code>{metric.name}</code>") == 1, metric.name


def test_incidents_stand_beside_the_injected_fault(story: Story) -> None:
    page = report.html(story)
    for text in ("isp=cedar-de", "18 where 2.0 were expected in 60 minutes", "onset 18:01:20, raised 18:05:00",
                 "resolved 19:03:20 (62 minutes)", "97% of the excess", "1,025 sessions",
                 "matinee --demo session 7-7-a", "alerts show 20260112T180500Z-cedar-de",
                 "start-failures.md"):  # fmt: skip
        assert text in page, text
    assert ("Incidents raised", "isp=cedar-de") in [line[:2] for line in report.headline(story)]
    story.incidents = []
    assert "They raised nothing" in report.html(story)
    assert ("Incidents raised", "none") in [line[:2] for line in report.headline(story)]


def test_the_same_story_gives_the_same_bytes(story: Story) -> None:
    assert report.html(story) == report.html(story)


def test_the_guilty_isp_is_drawn_in_its_own_colour(story: Story) -> None:
    from demo import pictures

    svg = pictures.qoe_over_the_day(story.qoe, FAULT, story.viewers)
    assert svg.count(pictures.ACCENT) >= 3  # its line, the window, the label


def test_a_provider_is_drawn_where_25_profiles_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    from demo import pictures

    drawn: list[list[float]] = []
    monkeypatch.setattr(pictures, "_svg", lambda figure: drawn.extend(
        [list(line.get_ydata()) for line in figure.axes[1].get_lines()]) or "")  # fmt: skip
    pictures.qoe_over_the_day(minutes(), FAULT, viewers())
    assert [len(line) for line in drawn] == [96, 96] and not any(map(pd.isna, drawn[0] + drawn[1]))
    drawn.clear()
    pictures.qoe_over_the_day(minutes(), FAULT, viewers(24))
    assert len(drawn) == 1, "birch-us is not drawn at all"
    drawn.clear()
    known = viewers()
    known.loc[(known["isp"] == "birch-us") & (known.index < 20), "profiles"] = 24
    pictures.qoe_over_the_day(minutes(), FAULT, known[known.index < 100])
    birch, cedar = sorted(drawn, key=lambda line: sum(map(pd.isna, line)), reverse=True)
    assert [sum(map(pd.isna, line)) for line in (birch, cedar)] == [56, 46], "a window that nobody counted is none"
