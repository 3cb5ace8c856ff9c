"""Rolling origins: the clock is kept, misses count, and the ranker leaves popularity only for something better."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from models.recommend.rolling import DAY_S, ClockRanker, Window, decayed, ndcg_at_10, windows


def clock(seed: int = 1, taste: float = 0.9, days: int = 60) -> pd.DataFrame:
    """60 profiles of 3 tastes come back every few days; each title is in fashion for some days."""
    rng = np.random.default_rng(seed)
    rows = []
    for day in range(days):
        for profile in rng.permutation(60)[:30]:
            fashion = np.exp(-0.5 * ((np.arange(90) - 1.5 * day) / 12.0) ** 2) + 0.02
            kind = np.where(np.arange(90) % 3 == profile % 3, taste, 1 - taste)
            for title in rng.choice(90, 2, replace=False, p=fashion * kind / (fashion * kind).sum()):
                rows.append((f"p{profile:02d}", f"t{title:02d}", int(day * DAY_S + rng.integers(0, DAY_S))))
    frame = pd.DataFrame(rows, columns=["profile_id", "title_id", "at"])
    return frame.drop_duplicates(["profile_id", "title_id"], ignore_index=True)


def test_windows_follow_one_another_and_never_look_ahead() -> None:
    data = clock()
    found = windows(data, 4, 0.1)
    for window in found:
        assert window.before["at"].max() < window.origin
        assert window.test.merge(window.before, on=["profile_id", "title_id"]).empty
    assert [w.origin for w in found] == sorted(w.origin for w in found)
    assert sum(len(w.test) for w in found) == (data["at"] >= found[0].origin).sum()
    shuffled = windows(data.sample(frac=1, random_state=3), 4, 0.1)
    assert [w.test.values.tolist() for w in shuffled] == [w.test.values.tolist() for w in found]


def test_planted_leak_an_interaction_after_the_origin_is_refused() -> None:
    data = clock()
    with pytest.raises(ValueError, match="would be a leak"):
        decayed(data, np.unique(data["title_id"]), int(data["at"].max()) - 10, 7.0)


def test_planted_leak_the_future_changes_no_score() -> None:
    data = clock()
    window = windows(data, 1, 0.2)[0]
    one = ClockRanker(lessons=2).fit(window.before, window.origin)
    later = data.copy()
    later.loc[later["at"] >= window.origin, "title_id"] = "t00"
    other = ClockRanker(lessons=2).fit(windows(later, 1, 0.2)[0].before, window.origin)
    profiles = ["p00", "p01", "never seen"]
    assert one.scores(profiles).tobytes() == other.scores(profiles).tobytes()


def test_unknown_titles_are_misses_and_seen_ones_are_not_listed() -> None:
    test = pd.DataFrame({"profile_id": ["a", "a"], "title_id": ["x", "unknown"]})
    window = Window(pd.DataFrame(), test, 0, 0.5)
    titles = np.array(["x", "y"], dtype=object)
    value = ndcg_at_10(np.array([[1.0, 2.0]]), ["a"], titles, window)
    assert value["a"] == pytest.approx((1 / math.log2(3)) / (1 + 1 / math.log2(3)))


def test_it_leaves_popularity_where_taste_rules() -> None:
    window = windows(clock(taste=0.97), 1, 0.15)[0]
    model = ClockRanker(lessons=3, share=0.12).fit(window.before, window.origin)
    profiles = sorted(set(window.test["profile_id"]))
    own = ndcg_at_10(model.scores(profiles), profiles, model.titles, window).mean()
    model.weights, model.booster = model.prior, None
    assert model.leave > 0
    assert own > ndcg_at_10(model.scores(profiles), profiles, model.titles, window).mean() + 0.03


def test_times_are_needed() -> None:
    with pytest.raises(ValueError, match="have no time"):
        windows(clock().assign(at=pd.NA), 2)
    with pytest.raises(ValueError, match="nothing to train on"):
        windows(clock(), 20)
