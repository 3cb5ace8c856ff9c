"""The demo's figures against sums done by hand."""

from __future__ import annotations

import pandas as pd
import pytest

from demo import score


def outcomes() -> pd.DataFrame:
    rows = []
    for number in range(40):
        arm = "policy" if number % 4 else "holdback"
        for cell in range(10):
            rows.append(
                {
                    "profile_id": f"p{number}",
                    "page_arm": arm,
                    "artwork_arm": "policy" if number % 2 else "holdback",
                    "taken": cell < (3 if arm == "policy" else 1),
                }
            )
    return pd.DataFrame(rows)


def test_take_rates_and_lift() -> None:
    rates, lifts = score.take_rates(outcomes())
    assert rates["page policy"].value == pytest.approx(0.3)
    assert rates["page holdback"].value == pytest.approx(0.1)
    assert rates["page policy"].units == 30
    assert lifts["page"].value == pytest.approx(0.2)
    assert lifts["page"].low == pytest.approx(0.2)  # every profile of an arm is alike: no width
    # artwork holdback: numbers 0, 2, 4, ... of which every other is in the page holdback
    assert rates["artwork holdback"].value == pytest.approx((0.1 + 0.3) / 2)
    assert rates["artwork policy"].value == pytest.approx(0.3)


def test_edge_share_and_bytes_by_region() -> None:
    requests = pd.DataFrame(
        {
            "cdn_id": ["a", "a", "b"],
            "file_id": ["f", "f", "f"],
            "tier": ["edge", "origin", "edge"],
            "bytes": [30, 50, 20],
        }
    )
    clusters = pd.DataFrame({"cdn_id": ["a", "b"], "country": ["DE", "BR"]})
    assert score.edge_share(requests) == 0.5
    asked = score.asked_bytes(requests, clusters).set_index("region")["asked_bytes"]
    assert asked.to_dict() == {"DE": 80, "BR": 20}


def test_a_file_that_was_not_forecast_is_shown_as_such() -> None:
    forecast = pd.DataFrame({"region": ["DE"], "file_id": ["f"], "method": ["history"], "expected_bytes": [5.0]})
    asked = pd.DataFrame({"region": ["DE", "DE"], "file_id": ["f", "g"], "asked_bytes": [7, 9]})
    both = score.forecast_against_asked(forecast, asked).set_index("file_id")
    assert both.loc["g", "method"] == "not forecast"
    assert both.loc["g", "expected_bytes"] == 0.0
    assert both.loc["f", "asked_bytes"] == 7


def test_disk_before_counts_what_is_kept_or_dropped() -> None:
    files = [
        {"file_id": name, "rank": rank, "bytes": size, "expected_bytes": 1.0, "action": action}
        for rank, (name, size, action) in enumerate([("new", 5, "add"), ("old", 7, "keep"), ("gone", 11, "drop")])
    ]
    plan = pd.DataFrame({"cdn_id": ["a"], "files": [files]})
    of = pd.DataFrame({"file_id": ["new", "old", "gone"], "title_id": ["t", "t", "u"]})
    titles = pd.DataFrame({"title_id": ["t", "u"], "name": ["T", "U"]})
    disk = score.disk_by_title(plan, of, titles).set_index("name")
    assert disk.loc["T", ["before_bytes", "after_bytes"]].tolist() == [7, 12]
    assert disk.loc["U", ["before_bytes", "after_bytes"]].tolist() == [11, 0]


def test_viewers_of_a_window_are_distinct_profiles_with_a_session_in_it() -> None:
    at = lambda text: pd.Timestamp(f"2026-01-12 {text}", tz="UTC")  # noqa: E731
    sessions = pd.DataFrame([
        ("a", "p1", at("10:01"), at("10:02")), ("a", "p1", at("10:03"), at("10:31")),
        ("a", "p2", at("10:14"), at("10:15")), ("b", "p2", at("10:44"), at("10:44:59.999")),
    ], columns=["isp", "profile_id", "start_at", "end_at"])  # fmt: skip
    found = score.viewers(sessions)
    counted = {(row.isp, f"{row.window:%H:%M}"): row.profiles for row in found.itertuples()}
    assert counted == {("a", "10:00"): 2, ("a", "10:15"): 2, ("a", "10:30"): 1, ("b", "10:30"): 1}
    assert score.viewers(sessions.iloc[:0]).empty
