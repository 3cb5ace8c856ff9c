"""Choices, what pages told, and likings: planted truths are found, place and playback do not bend them."""

from __future__ import annotations

from datetime import date

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix

from models.recommend.appeal import appeal
from models.recommend.blend import conditional_logit
from models.recommend.choices import Choices, in_rows, rows_read
from models.recommend.ials import Ials
from models.recommend.likings import likings
from models.recommend.linear import Edlae
from models.recommend.parts import NAMES, Parts
from tests.models.recommend.test_recommenders import catalogue, checkerboard


def outcomes(*cells: tuple[str, str, int, int, bool]) -> pd.DataFrame:
    """(impression, show, row, col, taken) of one visit of p00."""
    frame = pd.DataFrame(cells, columns=["impression_id", "title_id", "row", "col", "taken"])
    at = pd.Timestamp("2026-01-02T18:00:00Z") + pd.to_timedelta(frame["row"] * 2, unit="s")
    return frame.assign(profile_id="p00", page_id="g", shown_at=at, shown_date=date(2026, 1, 2))


def plays(**censored: bool) -> pd.DataFrame:
    return pd.DataFrame({"impression_id": [*censored, None], "censored": [*censored.values(), True]})


VISIT = outcomes(
    ("a", "t01", 0, 0, False), ("b", "t03", 0, 1, True), ("c", "t05", 1, 0, False), ("d", "t07", 1, 1, False)
)  # fmt: skip


def test_rows_are_choices_and_a_play_cut_short_was_chosen() -> None:
    read = rows_read(VISIT, plays(b=False, d=True))
    assert read["choice"].tolist() == [0, 0, 1, 1]
    assert read["taken"].tolist() == [False, True, False, True]
    ignored = rows_read(VISIT, plays(b=False, d=True).assign(censored=False))
    assert ignored["taken"].tolist() == [False, True, False, False]


def test_a_take_that_was_removed_from_history_is_forgotten() -> None:
    assert rows_read(VISIT, plays(d=False))["title_id"].tolist() == ["t01", "t05", "t07"]


def test_the_chosen_cell_comes_first_and_nothing_is_an_alternative() -> None:
    past = checkerboard()
    parts = Parts.fit(past, catalogue(40), Ials(4), Edlae(), 6)
    made = in_rows(parts, past, rows_read(VISIT, plays(b=False)), np.random.default_rng(1))
    assert made.values.shape == (2, 3, len(NAMES) + 4) and made.valid.all()
    controls = made.values[:, :, len(NAMES) + 1 :]
    assert controls[0, 0].tolist() == [1.0, 0.0, 1.0]  # t03, row 0, column 1
    assert not made.values[0, 2].any() and not made.values[1, 0].any()  # nothing: second choice of one, first of two
    blind = in_rows(parts, past, rows_read(VISIT, plays(b=False)), np.random.default_rng(1), by_place=False)
    assert not blind.values[:, :, len(NAMES) + 2 :].any()


def test_place_as_a_control_recovers_what_a_page_confounds() -> None:
    """Liked things stand first and first places help: without the control the liking is overstated."""
    rng = np.random.default_rng(8)
    liked = np.sort(rng.normal(size=(20000, 5)), axis=1)[:, ::-1]
    place = np.broadcast_to(np.arange(5.0), liked.shape)
    utility = 0.6 * liked - 0.4 * place - 1.0 + rng.gumbel(size=liked.shape)
    nothing = rng.gumbel(size=(20000, 1))
    winner = np.concatenate([nothing, utility], axis=1).argmax(axis=1)
    values = np.zeros((20000, 6, 3))
    values[:, 1:] = np.stack([liked, np.ones_like(liked), place], axis=-1)
    row = np.arange(20000)
    values[row, 0], values[row, winner] = values[row, winner], values[row, 0].copy()
    valid = np.ones(values.shape[:2], dtype=bool)
    honest = conditional_logit([Choices(values, valid)], np.zeros(3), 0.1)
    naive = conditional_logit([Choices(values[:, :, :2], valid)], np.zeros(2), 0.1)
    assert honest[0] == pytest.approx(0.6, abs=0.06) and honest[2] == pytest.approx(-0.4, abs=0.06)
    assert naive[0] > 0.8


def test_a_show_is_not_liked_for_its_place() -> None:
    """Two equal shows, one always first: takes differ threefold by place alone."""
    rng = np.random.default_rng(2)
    n = 4000
    first = pd.DataFrame({"title_id": "x", "row": 0, "col": 0, "taken": rng.random(n) < 0.15})
    mixed = [
        pd.DataFrame({"title_id": t, "row": 0, "col": c, "taken": rng.random(n) < (0.15, 0.05)[c]})
        for t, c in (("z", 0), ("z", 1), ("y", 1))
    ]
    read = pd.concat([first, *mixed], ignore_index=True).assign(profile_id="p", day=1)
    titles = np.array(["x", "y", "z"], dtype=object)
    home = pd.Series({"p": "DE"})
    by_place = appeal(read, titles, np.array(["p"], dtype=object), home)
    assert np.abs(by_place.title).max() < 0.2 and by_place.country.shape == (3, 1)
    blind = appeal(read, titles, np.array(["p"], dtype=object), home, by_place=False)
    assert blind.title[0] - blind.title[1] > 0.9
    assert by_place.expected.sum() == pytest.approx(read["taken"].sum(), rel=0.02)


def test_what_is_liked_does_not_hide_behind_the_place_it_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """Show x is liked twice as much and nearly always first; places differ threefold. Rates by place alone would give
    the place what is the show's."""
    rng = np.random.default_rng(4)
    like, rate = {"x": 2.0, "y": 1.0}, (0.15, 0.05)
    cells = [("x", 0, 19_000), ("x", 1, 1_000), ("y", 0, 1_000), ("y", 1, 19_000)]
    shown = [
        pd.DataFrame({"title_id": t, "row": 0, "col": c, "taken": rng.random(n) < like[t] * rate[c]})
        for t, c, n in cells
    ]
    read = pd.concat(shown).assign(profile_id="p", day=1)
    titles, home = np.array(["x", "y"], dtype=object), pd.Series({"p": "DE"})
    gaps = []
    for rounds in (1, 100):
        monkeypatch.setattr("models.recommend.appeal.ROUNDS", rounds)
        found = appeal(read, titles, np.array(["p"], dtype=object), home).title
        gaps.append(found[0] - found[1])
    assert gaps[0] < 0.3 and gaps[1] == pytest.approx(np.log(2.0), abs=0.1)


def test_likings_find_planted_ones_from_searches_and_from_cells() -> None:
    rng = np.random.default_rng(3)
    genres = np.eye(4)[rng.integers(0, 4, 60)]
    share = rng.dirichlet(np.ones(60))
    theta = rng.normal(0.0, 1.0, (50, 4))
    chance = share * np.exp(theta @ genres.T)
    chance /= chance.sum(axis=1, keepdims=True)
    searched = np.array([rng.multinomial(400, row) for row in chance]).astype(float)
    none = csr_matrix((50, 60))
    found = likings(searched @ genres, np.full(50, 400.0), share, none, genres, 0.1)
    centred = [one - one.mean(axis=1, keepdims=True) for one in (found, theta)]
    assert np.abs(centred[0] - centred[1]).mean() < 0.25
    shown = csr_matrix(np.full((50, 60), 1.5))
    taken = rng.poisson(1.5 * np.exp(theta @ genres.T)).astype(float)
    by_cells = likings(taken @ genres, np.zeros(50), share, shown, genres, 0.1)
    assert np.abs(by_cells - theta).mean() < 0.25
    left = likings(np.zeros((50, 4)), np.zeros(50), share, shown, genres, 0.5)
    assert left.max() < -1.0, "shown and left is a dislike"
    assert not likings(np.zeros((2, 4)), np.zeros(2), share, csr_matrix((2, 60)), genres, 0.5).any()
