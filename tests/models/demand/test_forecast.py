"""Forecasts against worlds whose rates are known, and the properties a forecast must keep."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest

from models.demand.files import demand_forecast, file_bytes_per_play
from models.demand.titles import CALENDAR, HISTORY, forecast_plays

DAY0 = date(2026, 3, 2)
TARGET = DAY0 + timedelta(days=7)


def titles(count: int, launch: dict[int, date] | None = None) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "title_id": [f"t{i:02d}" for i in range(count)],
            "kind": "film",
            "duration_ms": 6_000_000,
            "launch_date": [(launch or {}).get(i, date(2020, 1, 1)) for i in range(count)],
        }
    )


def plays(rates: np.ndarray, days: int = 7, country: str = "DE", seed: int = 0, start: date = DAY0) -> pd.DataFrame:
    """Poisson plays with rates (titles,) a day."""
    rng = np.random.default_rng(seed)
    rows = [
        (f"t{t:02d}", country, start + timedelta(days=d), f"{country}{d}.{t}.{n}")
        for d in range(days)
        for t, rate in enumerate(rates)
        for n in range(rng.poisson(rate))
    ]
    frame = pd.DataFrame(rows, columns=["title_id", "country", "play_date", "session_id"])
    return frame.assign(started=True)


def test_steady_rates_are_found() -> None:
    truth = np.array([400.0, 200.0, 100.0, 50.0])
    found = forecast_plays(plays(truth), titles(4), TARGET)
    assert np.abs(found["expected_plays"].to_numpy() / truth - 1).max() < 0.15
    assert set(found["method"]) == {HISTORY}


def test_the_pool_helps_a_small_region() -> None:
    """A region of 14 plays ranks titles like the large one beside it, not like its own noise."""
    truth = np.geomspace(300, 3, 30)
    both = pd.concat([plays(truth, country="DE"), plays(truth / 500, country="LU", seed=9)], ignore_index=True)
    found = forecast_plays(both, titles(30), TARGET)
    small = found[found["region"] == "LU"]["expected_plays"].to_numpy()
    assert np.corrcoef(np.log(small), np.log(truth))[0, 1] > 0.9
    alone = forecast_plays(both[both["country"] == "LU"], titles(30), TARGET)["expected_plays"].to_numpy()
    assert np.abs(small - truth / 500).sum() < np.abs(alone - truth / 500).sum()


def test_a_launch_takes_the_level_of_earlier_launches() -> None:
    launches = {0: DAY0 + timedelta(days=2), 1: DAY0 + timedelta(days=3), 2: TARGET, 3: TARGET + timedelta(days=1)}
    base = plays(np.r_[np.zeros(4), np.full(20, 5.0)])
    fresh = pd.concat(
        [
            plays(np.array([60.0]), days=5, start=DAY0 + timedelta(days=2)),
            plays(np.array([0.0, 80.0]), days=4, start=DAY0 + timedelta(days=3), seed=4),
        ]
    )
    found = forecast_plays(pd.concat([base, fresh]), titles(24, launches), TARGET).set_index("title_id")
    assert found.loc["t02", "method"] == CALENDAR
    assert 40 < found.loc["t02", "expected_plays"] < 80
    assert "t03" not in found.index  # not out on the day


def test_the_future_is_refused() -> None:
    with pytest.raises(ValueError, match="leak"):
        forecast_plays(plays(np.array([5.0]), days=9), titles(1), TARGET)


def test_no_plays_no_forecast() -> None:
    assert forecast_plays(plays(np.zeros(2)), titles(2), TARGET).empty


def test_shares_of_files_sum_to_the_title_and_follow_the_log() -> None:
    files = pd.DataFrame(
        {
            "file_id": ["a0", "a1", "b0", "b1", "c0"],
            "title_id": ["t00", "t00", "t01", "t01", "t02"],
            "codec": "avc",
            "rung": [0, 1, 0, 1, 0],
            "bytes": 1000,
        }
    )
    seen = plays(np.array([30.0, 30.0, 0.0]))
    a = seen[seen["title_id"] == "t00"]
    b = seen[seen["title_id"] == "t01"]
    requests = pd.DataFrame(
        {"session_id": [*a["session_id"], *b["session_id"]], "file_id": ["a1"] * len(a) + ["b0"] * len(b), "bytes": 600}
    )
    found = file_bytes_per_play(seen, requests, titles(3), files).set_index("file_id")["bytes_per_play"]
    assert found["a0"] + found["a1"] == pytest.approx(600)
    assert found["a1"] > 20 * found["a0"] and found["b0"] > 20 * found["b1"]
    assert found["c0"] == pytest.approx(600)  # never played: running time times the usual rate, all in its one file
    forecast = demand_forecast(seen, requests, titles(3), files, TARGET)
    assert not forecast.duplicated(["region", "file_id"]).any()
    total = forecast.groupby("title_id")["expected_bytes"].sum()
    assert total["t00"] == pytest.approx(600 * forecast.set_index("file_id").loc["a0", "expected_plays"])


def test_row_order_is_no_matter() -> None:
    files = pd.DataFrame({"file_id": ["a0", "a1"], "title_id": "t00", "codec": "avc", "rung": [0, 1], "bytes": 10})
    seen = plays(np.array([30.0]))
    requests = pd.DataFrame({"session_id": seen["session_id"], "file_id": "a1", "bytes": 7})
    shuffled = seen.sample(frac=1.0, random_state=1)
    one = demand_forecast(seen, requests, titles(1), files, TARGET)
    two = demand_forecast(shuffled, requests.iloc[::-1], titles(1).iloc[::-1], files.iloc[::-1], TARGET)
    pd.testing.assert_frame_equal(one, two, check_exact=True)
