"""Titles nobody has played: taste carries over to them by what they are about."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix

from models.recommend.cold import ColdTitles, Lessons, _ridge, year_bumps
from models.recommend.histories import Histories
from models.recommend.ials import Ials


def catalogue(size: int = 40) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "title_id": [f"t{i:02d}" for i in range(size)],
            "name": [f"Film ({1970 + i})" for i in range(size)],
            "genres": [("war",) if i % 2 else ("romance", "drama") for i in range(size)],
        }
    )


def plays() -> Histories:
    """Ten profiles love war, ten romance; titles 30 to 39 have no play."""
    rng = np.random.default_rng(1)
    rows = [(f"p{p:02d}", f"t{i:02d}") for p in range(20) for i in range(30) if i % 2 == p % 2 and rng.random() < 0.6]
    return Histories.from_pairs(pd.DataFrame(rows, columns=["profile_id", "title_id"]))


def test_unplayed_titles_of_the_loved_genre_come_first() -> None:
    data = plays()
    model = ColdTitles(catalogue(), Ials(4)).fit(data)
    columns = np.arange(30, 40)
    for row, scores in enumerate(model.fold_in(data, columns)):
        best = columns[np.argsort(-scores)[:5]]
        assert set(best % 2) == {row % 2}


def test_a_profile_without_history_and_a_fit_without_plays_do_no_harm() -> None:
    data = plays()
    nobody = Histories(np.array(["x"], dtype=object), data.titles, csr_matrix((1, len(data.titles)), dtype=np.float32))
    assert np.isfinite(ColdTitles(catalogue(), Ials(4)).fit(data).fold_in(nobody)).all()


def test_ridge_against_the_normal_equations() -> None:
    rng = np.random.default_rng(2)
    known, wanted, goal = rng.normal(size=(30, 6)), rng.normal(size=(4, 6)), rng.normal(size=(30, 2))
    found = _ridge(csr_matrix(known), csr_matrix(wanted), goal, 0.7)
    centred = goal - goal.mean(axis=0)
    by_hand = wanted @ np.linalg.inv(known.T @ known + 0.7 * np.eye(6)) @ known.T @ centred + goal.mean(axis=0)
    np.testing.assert_allclose(found, by_hand)


def test_near_years_are_alike() -> None:
    rows = year_bumps([1994.0, 1995.0, 1960.0, float("nan")])
    assert rows[0] @ rows[1] > 0.95 > 0.05 > rows[0] @ rows[2]
    assert not rows[3].any() and np.linalg.norm(rows[0]) == pytest.approx(1.0)


def popular_plays(seed: int) -> tuple[pd.DataFrame, pd.DataFrame, Histories]:
    """How often a title is played hangs on a number of its description, at random from title to title."""
    rng = np.random.default_rng(seed)
    size = 120
    fame = rng.random(size)
    own = pd.DataFrame({"title_id": [f"t{i:03d}" for i in range(size)], "name": "Film", "genres": [("drama",)] * size})
    rows = [(f"p{p:03d}", f"t{i:03d}") for p in range(150) for i in range(100) if rng.random() < 0.4 * fame[i] ** 3]
    numbers = pd.DataFrame({"title_id": own["title_id"], "fame": fame})
    return own, numbers, Histories.from_pairs(pd.DataFrame(rows, columns=["profile_id", "title_id"]))


def test_numbers_of_titles_tell_which_will_be_played() -> None:
    own, numbers, data = popular_plays(4)
    rule = Lessons(least=50, profiles=100, trees=60)
    columns = np.arange(100, 120)  # nobody has played these
    with_numbers = ColdTitles(own, Ials(4), numbers=numbers, lessons=rule).fit(data)
    assert with_numbers.booster is not None
    fame = numbers["fame"].to_numpy()[columns]
    informed = np.corrcoef(with_numbers.fold_in(data, columns).mean(axis=0), fame)[0, 1]
    assert informed > 0.7
    shuffled = numbers.assign(fame=np.random.default_rng(9).permutation(numbers["fame"]))
    misled = ColdTitles(own, Ials(4), numbers=shuffled, lessons=rule).fit(data)
    assert np.corrcoef(misled.fold_in(data, columns).mean(axis=0), fame)[0, 1] < 0.5


def test_few_titles_or_no_numbers_learn_nothing_and_a_rerun_is_the_same() -> None:
    own, numbers, data = popular_plays(5)
    assert ColdTitles(own, Ials(4), numbers=numbers).fit(data).booster is None
    rule = Lessons(least=50, profiles=60, trees=20)
    assert ColdTitles(own, Ials(4), lessons=rule).fit(data).booster is None
    one, other = (ColdTitles(own, Ials(4), numbers=numbers, lessons=rule).fit(data).fold_in(data) for _ in range(2))
    assert one.tobytes() == other.tobytes()
