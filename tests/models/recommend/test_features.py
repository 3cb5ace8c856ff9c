"""Features against sums made by hand, and no look into the future."""

from __future__ import annotations

from datetime import date, timedelta

import pandas as pd
import pytest

from models.recommend.features import profile_features, title_features
from models.recommend.taste import EVERYBODY, TasteByDay

DAY = date(2026, 5, 10)
TITLES = pd.DataFrame(
    {
        "title_id": ["f", "s", "s1"],
        "kind": ["film", "series", "episode"],
        "name": "n",
        "maturity": 0,
        "genres": [["crime", "drama"], ["comedy"], ["comedy"]],
        "launch_date": DAY - timedelta(days=3),
    }
)
PLAYS = pd.DataFrame(
    [
        ("a", "f", 0, 60_000, True, True),
        ("a", "s", 6, 90_000, True, False),
        ("a", "f", 8, 10_000, True, True),
        ("b", "s", 1, 5_000, False, False),
    ],
    columns=["profile_id", "show_id", "age", "watched_ms", "quality_play", "completed"],
).assign(play_date=lambda t: [DAY - timedelta(days=n) for n in t["age"]], started=True)
SESSIONS = pd.DataFrame(
    {
        "session_id": ["x", "x", "y"],
        "segment": 0,
        "revision": ["live", "final", "final"],
        "profile_id": ["a", "a", "b"],
        "close_date": DAY,
        "stall_ms": [50, 10, 0],
        "play_ms": [90, 90, 0],
    }
)
PROFILES = pd.DataFrame({"profile_id": ["c", "a", "b"]})


def test_profiles_by_hand() -> None:
    found = profile_features(PLAYS, SESSIONS, TITLES, PROFILES, DAY, 2).set_index("profile_id")
    assert found.index.tolist() == ["a", "b", "c"]
    a, b, c = found.loc["a"], found.loc["b"], found.loc["c"]
    assert (a["plays_7d"], a["plays_28d"], a["watched_ms_7d"], a["shows_28d"], a["days_since_play"]) == (
        2,
        3,
        150_000,
        2,
        0,
    )
    assert a["top_genre"] == "comedy"  # 90 s against two thirds of 70 s of crime
    assert a["rebuffer_ratio_7d"] == pytest.approx(0.1)  # the final revision of session x
    assert (b["plays_7d"], b["watched_ms_7d"], b["top_genre"], b["rebuffer_ratio_7d"]) == (0, 5_000, "comedy", None)
    assert c["top_genre"] is None and pd.isna(c["days_since_play"]) and pd.isna(b["days_since_play"])
    assert a["event_at"] == pd.Timestamp("2026-05-11", tz="UTC") and a["available_at"] == pd.Timestamp(
        "2026-05-11T02:00Z"
    )


def test_shows_by_hand() -> None:
    outcomes = pd.DataFrame(
        {
            "title_id": ["f", "f", "s"],
            "taken": [True, False, False],
            "shown_date": [DAY, DAY - timedelta(days=6), DAY - timedelta(days=7)],
        }
    )
    found = title_features(PLAYS, outcomes, TITLES, DAY, 2).set_index("title_id")
    assert found.index.tolist() == ["f", "s"]
    assert found.loc[
        "f", ["plays_1d", "plays_7d", "plays_28d", "profiles_7d", "impressions_7d", "takes_7d", "age_days"]
    ].tolist() == [1, 1, 2, 1, 2, 1, 3]
    assert found.loc["f", "completion_28d"] == 1.0 and found.loc["s", "completion_28d"] == 0.0
    assert found.loc["s", "impressions_7d"] == 0


def test_a_later_play_is_refused() -> None:
    late = PLAYS.assign(play_date=DAY + timedelta(days=1))
    with pytest.raises(ValueError, match="1 days after"):
        profile_features(late, SESSIONS, TITLES, PROFILES, DAY, 2)


def test_a_cell_is_what_was_known_before_the_day() -> None:
    from models.days import epoch_day

    taste = TasteByDay(PLAYS, TITLES)
    days = pd.Series([epoch_day(DAY - timedelta(days=n)) for n in (9, 7, 5)]).to_numpy()
    assert taste.cells(pd.Series(["a", "a", "a"]), days).tolist() == [EVERYBODY, "crime", "comedy"]
    assert taste.cells(pd.Series(["nobody"]), days[:1]).tolist() == [EVERYBODY]
