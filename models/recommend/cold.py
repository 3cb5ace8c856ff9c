"""Titles without a play: what the factors of a title would be, from what it is about.

Ridge regression from words (genres, names; neighbours.describe) and the year to the factors that ALS gave titles with
plays. Two more voices join it: likeness to single titles of the history (a sequel), and the plays its description
promises. All three are standardised over the titles asked for: those without plays are ranked among themselves.
"""

from __future__ import annotations

import re
from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, diags, hstack

from models.frames import places
from models.recommend.histories import Histories
from models.recommend.ials import Ials
from models.recommend.neighbours import ContentNeighbours
from models.recommend.protocol import single_threaded

YEARS = np.arange(1900.0, 2041.0, 4.0)
"""Centres of the bumps a year is written in, so that near years are alike."""
YEAR_WIDTH = 6.0


class ColdTitles:
    """Scores over the whole catalogue, meant for the titles nobody has played.

    Attributes:
        titles: of the catalogue, sorted. title_factors: what their description promises, shape (titles, factors).
        promised: log plays it promises, standardised, shape (titles,).
    """

    name = "cold_titles"

    def __init__(
        self,
        catalogue: pd.DataFrame,
        ials: Ials | None = None,
        ridge: float = 1.0,
        year: float = 2.0,
        weights: tuple[float, float, float] = (1.0, 0.2, 0.2),
        neighbours: int = 300,
    ) -> None:
        """See the class.

        Args:
            catalogue: title_id, name (a year in brackets at its end counts), genres.
            ridge: penalty. year: weight of the year beside the words.
            weights: of the factors, of likeness to the history, of the promised plays.
        """
        self.content = ContentNeighbours(catalogue, neighbours)
        self.titles = self.content.titles
        self.ials = ials if ials is not None else Ials(64, epochs=10)
        self.ridge, self.weights = ridge, weights
        names = catalogue.sort_values("title_id")["name"]
        bumps = np.sqrt(year) * year_bumps([_year(name) for name in names])
        self.about: csr_matrix = hstack([self.content.words, csr_matrix(bumps)], format="csr")
        self.title_factors: NDArray[np.float64] = np.zeros((0, 0))
        self.promised: NDArray[np.float64] = np.zeros(len(self.titles))

    def fit(self, histories: Histories) -> Self:
        """Factorise, then regress the factors of played titles on their description."""
        self.content.fit(histories)
        self.ials.fit(histories)
        place = places(self.titles, histories.titles)
        known = place >= 0
        plays = np.asarray(histories.matrix.astype(bool).sum(axis=0)).ravel()[known]
        goal = np.column_stack([self.ials.title_factors[known], np.log1p(plays)]).astype(np.float64)
        found = _ridge(self.about[place[known]], self.about, goal, self.ridge)
        self.title_factors, self.promised = found[:, :-1], found[:, -1]
        return self

    def fold_in(self, histories: Histories, columns: NDArray[np.int64] | None = None) -> NDArray[np.float32]:
        """Scores of any profiles, shape (profiles, columns), over these places of `titles` or all of them."""
        columns = np.arange(len(self.titles)) if columns is None else columns
        with single_threaded():
            by_factors = self.ials.fold_in_factors(histories) @ self.title_factors[columns].T
        by_content = self.content.fold_in(histories)[:, columns]
        promised = np.tile(self.promised[columns], (len(by_factors), 1))
        by_factors_weight, by_content_weight, promised_weight = self.weights
        total = by_factors_weight * _standard(by_factors) + by_content_weight * _standard(by_content)
        return np.asarray(total + promised_weight * _standard(promised), dtype=np.float32)


def year_bumps(years: list[float]) -> NDArray[np.float64]:
    """Years as overlapping bumps, rows of length 1, zeros for a missing year: shape (n, bumps)."""
    gap = (np.array(years, dtype=np.float64)[:, None] - YEARS) / YEAR_WIDTH
    bump = np.nan_to_num(np.exp(-0.5 * gap**2))
    length = np.linalg.norm(bump, axis=1, keepdims=True)
    return np.divide(bump, length, out=np.zeros_like(bump), where=length > 0)


def _year(name: str) -> float:
    found = re.search(r"\((\d{4})\)\s*$", name)
    return float(found[1]) if found else float("nan")


def _ridge(known: csr_matrix, wanted: csr_matrix, goal: NDArray[np.float64], penalty: float) -> NDArray[np.float64]:
    """Linear prediction of `goal` (n, g) from `known` (n, p) for the rows of `wanted`, with an unpenalised mean."""
    mean = goal.mean(axis=0) if len(goal) else np.zeros(goal.shape[1])
    with single_threaded():
        normal = (known.T @ known + diags(np.full(known.shape[1], penalty))).toarray()
        return np.asarray(mean + wanted @ np.linalg.solve(normal, known.T @ (goal - mean)))


def _standard(values: NDArray[np.floating]) -> NDArray[np.float64]:
    """Each row less its mean, over its standard deviation; zeros where a row is constant."""
    gap = np.asarray(values, dtype=np.float64) - values.mean(axis=1, keepdims=True)
    spread = gap.std(axis=1, keepdims=True)
    return np.divide(gap, spread, out=np.zeros_like(gap), where=spread > 1e-12)
