"""Exact probabilities, honest counting, and learning in a small world whose truth is known."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2

from models.artwork.choose import COLUMNS, DRAWS, choose, posterior_draws, probabilities
from models.artwork.statistics import artwork_statistics, decisions, match_effect, theme_fit

DAY = date(2026, 4, 6)
GENRES = ["crime", "drama", "space"]
SETTINGS = {"salt": "art", "holdback": 0.2, "floor": 0.02, "policy": "p1"}


def catalogue(shows: int = 30, seed: int = 1) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Titles and artworks; a show has 3 to 5 images with themes over three genres."""
    rng = np.random.default_rng(seed)
    titles = pd.DataFrame(
        {
            "title_id": [f"s{i:02d}" for i in range(shows)],
            "kind": "film",
            "name": "x",
            "maturity": 0,
            "genres": [[GENRES[i % 3]] for i in range(shows)],
            "launch_date": date(2020, 1, 1),
        }
    )
    rows = []
    for title in titles["title_id"]:
        for image in range(int(rng.integers(3, 6))):
            weights = rng.dirichlet(np.full(3, 0.4))
            rows.append((f"{title}-a{image}", title, GENRES[int(weights.argmax())], weights.tolist(), date(2020, 1, 1)))
    return titles, pd.DataFrame(rows, columns=["artwork_id", "title_id", "theme", "themes", "added_date"])


def pages(profiles: list[str], shows: list[str]) -> pd.DataFrame:
    return pd.DataFrame({"profile_id": profiles, "rows": [[{"title_ids": shows}] for _ in profiles]})


def uniform_log(
    titles: pd.DataFrame, artworks: pd.DataFrame, profiles: int, effect: float, seed: int = 3
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A day of uniformly drawn images; a take follows base * exp(effect * weight of the viewer's genre). And the plays
    of the day before that give each profile its taste."""
    rng = np.random.default_rng(seed)
    images = dict(list(artworks.groupby("title_id")))
    rows = []
    for p in range(profiles):
        for title in rng.choice(titles["title_id"], 12, replace=False):
            own = images[title]
            pick = int(rng.integers(len(own)))
            weight = own["themes"].iloc[pick][p % 3]
            rows.append(
                (f"p{p:04d}", title, own["artwork_id"].iloc[pick], rng.random() < 0.03 * np.exp(effect * weight))
            )
    outcomes = pd.DataFrame(rows, columns=["profile_id", "title_id", "artwork_id", "taken"]).assign(shown_date=DAY)
    plays = pd.DataFrame(
        {
            "profile_id": [f"p{p:04d}" for p in range(profiles)],
            "play_date": DAY - timedelta(days=1),
            "show_id": [f"s{p % 3:02d}" for p in range(profiles)],
            "watched_ms": 60_000,
        }
    )
    return outcomes, plays


@given(st.lists(st.tuples(st.floats(0.5, 50), st.floats(1, 5000)), min_size=1, max_size=12), st.floats(0, 1))
def test_probabilities_sum_to_one_and_keep_the_floor(posterior: list[tuple[float, float]], floor: float) -> None:
    alpha, beta = np.array(posterior).T
    odds = probabilities(posterior_draws([f"a{i}" for i in range(len(alpha))], alpha, beta, "s"), floor)
    assert abs(odds.sum() - 1) < 1e-12
    assert odds.min() >= min(floor, 1 / len(alpha)) - 1e-15


def test_probabilities_are_shares_of_wins() -> None:
    """Held against counting the wins one draw at a time."""
    alpha, beta = np.array([3.0, 5.0, 4.0]), np.array([90.0, 80.0, 70.0])
    draws = posterior_draws(["x", "y", "z"], alpha, beta, "s")
    wins = [sum(draws[i, d] == max(draws[:, d]) for d in range(DRAWS)) / DRAWS for i in range(3)]
    assert probabilities(draws, 0.0).tolist() == pytest.approx(wins)
    assert probabilities(draws, 0.1).tolist() == pytest.approx([0.1 + 0.7 * w for w in wins])
    assert np.abs(draws.mean(axis=1) / (alpha / (alpha + beta)) - 1).max() < 0.4


def test_draws_follow_the_logged_probabilities() -> None:
    """Chi-square over 30 shows and both arms: 24,000 decisions against their own log."""
    titles, artworks = catalogue()
    outcomes, plays = uniform_log(titles, artworks, 400, 2.0)
    stats = artwork_statistics(outcomes, plays, titles, artworks, DAY)
    names = [f"q{i}" for i in range(800)]
    made = choose(
        pages(names, titles["title_id"].tolist()),
        stats,
        artworks,
        pd.Series(dtype=object),
        pd.DataFrame(columns=list(COLUMNS)),
        DAY + timedelta(days=1),
        **SETTINGS,
    )
    assert len(made) == 24_000
    assert np.allclose(
        [
            odds[ids.index(a)]
            for odds, ids, a in made[["probabilities", "artwork_ids", "artwork_id"]].itertuples(index=False)
        ],
        made["probability"],
    )
    statistic, freedom = 0.0, 0
    for _, own in made.groupby(["title_id", "artwork_arm"]):
        expected = np.array(own["probabilities"].iloc[0]) * len(own)
        seen = own["artwork_id"].value_counts().reindex(own["artwork_ids"].iloc[0]).fillna(0).to_numpy()
        statistic += ((seen - expected) ** 2 / expected).sum()
        freedom += len(expected) - 1
    assert chi2.sf(statistic, freedom) > 0.001
    held = made[made["artwork_arm"] == "holdback"]
    assert 0.15 < held["profile_id"].nunique() / 800 < 0.25
    assert all(len(set(odds)) == 1 for odds in held["probabilities"])


def test_a_choice_holds_for_its_epoch_and_not_beyond() -> None:
    titles, artworks = catalogue(6)
    nothing = pd.DataFrame(columns=list(COLUMNS))
    stats = pd.DataFrame({"artwork_id": [], "cell": [], "alpha": [], "beta": []})
    first_day = date(1970, 1, 1) + timedelta(days=7 * 2936)
    page = pages([f"q{i}" for i in range(60)], titles["title_id"].tolist())
    first = choose(page, stats, artworks, pd.Series(dtype=object), nothing, first_day, **SETTINGS)
    learned = pd.DataFrame(
        {"artwork_id": artworks["artwork_id"], "cell": "*", "alpha": 5.0, "beta": np.linspace(10, 500, len(artworks))}
    )
    later = choose(
        page,
        learned,
        artworks,
        pd.Series(dtype=object),
        first,
        first_day + timedelta(days=6),
        **{**SETTINGS, "policy": "p2"},
    )
    assert later["decision_id"].tolist() == first["decision_id"].tolist()
    assert later["artwork_id"].tolist() == first["artwork_id"].tolist()
    assert later["probability"].tolist() == first["probability"].tolist()
    after = choose(
        page,
        learned,
        artworks,
        pd.Series(dtype=object),
        later,
        first_day + timedelta(days=7),
        **{**SETTINGS, "policy": "p2"},
    )
    assert set(after["decision_id"]).isdisjoint(first["decision_id"])


def test_decisions_are_counted_once_however_often_shown() -> None:
    shown = pd.DataFrame(
        {
            "profile_id": ["a", "a", "a", "b"],
            "title_id": "t",
            "artwork_id": ["x", "x", "y", "x"],
            "shown_date": [DAY, DAY + timedelta(days=1), DAY, DAY],
            "taken": [False, True, False, False],
        }
    )
    found = decisions(shown)
    same_epoch = (DAY - date(1970, 1, 1)).days // 7 == (DAY + timedelta(days=1) - date(1970, 1, 1)).days // 7
    assert len(found) == (3 if same_epoch else 4)
    assert int(found["taken"].sum()) == 1


def test_the_match_of_theme_and_taste_is_found() -> None:
    titles, artworks = catalogue(60)
    for effect in (0.0, 2.0):
        outcomes, _ = uniform_log(titles, artworks, 3000, effect)
        cell = outcomes["profile_id"].str[1:].astype(int) % 3
        images = artworks.sort_values(["title_id", "artwork_id"], ignore_index=True)
        place = pd.Index(images["artwork_id"]).get_indexer(outcomes["artwork_id"])
        shown, taken = np.zeros((len(images), 3)), np.zeros((len(images), 3))
        np.add.at(shown, (place, cell), 1.0)
        np.add.at(taken, (place, cell), outcomes["taken"].astype(float))
        assert match_effect(images, theme_fit(images, GENRES), shown, taken) == pytest.approx(effect, abs=0.3)


def test_the_policy_prefers_the_theme_of_the_taste() -> None:
    titles, artworks = catalogue(60)
    outcomes, plays = uniform_log(titles, artworks, 3000, 2.5)
    stats = artwork_statistics(outcomes, plays, titles, artworks, DAY)
    assert (stats["takes"] <= stats["decisions"]).all()
    everybody = stats[stats["cell"] == "*"]
    assert int(everybody["decisions"].sum()) == len(decisions(outcomes))
    names = [f"q{i}" for i in range(300)]
    cells = pd.Series([GENRES[i % 3] for i in range(300)], index=names)
    made = choose(
        pages(names, titles["title_id"].tolist()),
        stats,
        artworks,
        cells,
        pd.DataFrame(columns=list(COLUMNS)),
        DAY + timedelta(days=1),
        **SETTINGS,
    )
    weight = artworks.set_index("artwork_id")["themes"]
    made["fit"] = [
        weight[a][GENRES.index(cells[p])] for a, p in zip(made["artwork_id"], made["profile_id"], strict=True)
    ]
    by_arm = made.groupby("artwork_arm")["fit"].mean()
    assert by_arm["policy"] > by_arm["holdback"] + 0.15


def test_row_order_is_no_matter_and_images_not_yet_added_are_not_chosen() -> None:
    titles, artworks = catalogue(20)
    outcomes, plays = uniform_log(titles, artworks, 200, 2.0)
    one = artwork_statistics(outcomes, plays, titles, artworks, DAY)
    two = artwork_statistics(
        outcomes.sample(frac=1, random_state=1), plays.iloc[::-1], titles.iloc[::-1], artworks.iloc[::-1], DAY
    )
    pd.testing.assert_frame_equal(one, two, check_exact=True)
    late = artworks.assign(
        added_date=[DAY + timedelta(days=9) if a.endswith("a0") else DAY for a in artworks["artwork_id"]]
    )
    made = choose(
        pages(["q"], titles["title_id"].tolist()),
        one,
        late,
        pd.Series(dtype=object),
        pd.DataFrame(columns=list(COLUMNS)),
        DAY + timedelta(days=1),
        **SETTINGS,
    )
    assert not made["artwork_id"].str.endswith("a0").any()


def test_themes_in_two_orders_are_refused() -> None:
    _, artworks = catalogue(4)
    artworks.loc[0, "theme"] = next(g for g in GENRES if g != artworks.loc[0, "theme"])
    with pytest.raises(ValueError, match="in one order"):
        theme_fit(artworks, GENRES)
