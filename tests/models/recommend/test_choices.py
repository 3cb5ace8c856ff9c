"""Choices: planted truths are found, place and playback do not bend them."""

from __future__ import annotations

from datetime import date

import numpy as np
import pandas as pd
import pytest

from models.recommend.blend import conditional_logit
from models.recommend.choices import Choices, in_rows, rows_read
from models.recommend.ials import Ials
from models.recommend.linear import Edlae
from models.recommend.parts import NAMES, Parts
from tests.models.recommend.test_recommenders import catalogue, checkerboard


def outcomes(*cells: tuple[str, str, int, int, bool]) -> pd.DataFrame:
    """(impression, show, row, col, taken) of one visit of p00."""
    frame = pd.DataFrame(cells, columns=["impression_id", "title_id", "row", "col", "taken"])
    at = pd.Timestamp("2026-01-02T18:00:00Z") + pd.to_timedelta(frame["row"] * 2, unit="s")
    return frame.assign(profile_id="p00", page_id="g", shown_at=at, shown_date=date(2026, 1, 2))


def plays(**censored: bool) -> pd.DataFrame:
    rows = {"impression_id": [*censored, None], "censored": [*censored.values(), True]}
    return pd.DataFrame(rows).assign(play_date=date(2026, 1, 2))


VISIT = outcomes(
    ("a", "t01", 0, 0, False), ("b", "t03", 0, 1, True), ("c", "t05", 1, 0, False), ("d", "t07", 1, 1, False)
)  # fmt: skip


def test_rows_are_choices_and_a_play_cut_short_was_chosen() -> None:
    read = rows_read(VISIT, plays(b=False, d=True))
    assert read["choice"].tolist() == [0, 0, 1, 1]
    assert read["taken"].tolist() == [False, True, False, True]
    ignored = rows_read(VISIT, plays(b=False, d=True).assign(censored=False))
    assert ignored["taken"].tolist() == [False, True, False, False]


def test_a_row_taken_after_midnight_is_of_the_day_of_the_play() -> None:
    """Otherwise a model of the days before would know a take of the day that judges it."""
    late = plays(b=False).assign(play_date=[date(2026, 1, 3), date(2026, 1, 9)])
    first, day = rows_read(VISIT, plays(b=False))["day"].tolist(), rows_read(VISIT, late)["day"].tolist()
    assert len(set(first)) == 1 and day == [first[0] + 1, first[0] + 1, first[0], first[0]]


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
