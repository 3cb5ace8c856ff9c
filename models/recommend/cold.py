"""Titles without a play: what the factors of a title would be, from what it is about.

Ridge regression from words (genres, names; neighbours.describe) and the year to the factors that ALS gave titles with
plays. More voices join it: likeness to single titles of the history (a sequel), and the plays its description promises.

Where the catalogue brings numbers of its titles (a budget, an age, a place in another catalogue), the plays are
promised by trees, and trees weigh the voices. They learn on lessons: a tenth of the played titles at a time is hidden
from everything and has to be ranked, as titles without plays will be. Without numbers nothing is learned: on genres,
years and names alone the trees did no better than the fixed sum.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Self

import lightgbm
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, diags, hstack

from models.frames import places
from models.recommend.histories import Histories
from models.recommend.ials import Ials
from models.recommend.linear import played
from models.recommend.neighbours import ContentNeighbours
from models.recommend.protocol import single_threaded

YEARS = np.arange(1900.0, 2041.0, 4.0)
"""Centres of the bumps a year is written in, so that near years are alike."""
YEAR_WIDTH = 6.0
BLOCK = 256
"""Profiles scored at a time."""


@dataclass(frozen=True, slots=True)
class Lessons:
    """How the trees learn; chosen on the validation profiles of ML-1M.

    Attributes:
        count: of lessons. share: of the titles hidden in each. profiles: asked in each. least: titles with plays and
            profiles below which the fixed sum ranks.
    """

    count: int = 4
    share: float = 0.1
    profiles: int = 1000
    least: int = 200
    trees: int = 200
    seed: int = 3


class ColdTitles:
    """Scores over the whole catalogue, meant for the titles nobody has played.

    Attributes:
        titles: of the catalogue, sorted. title_factors: what their description promises, shape (titles, factors).
        promised: log plays it promises, shape (titles,). booster: None where nothing was learned.
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
        numbers: pd.DataFrame | None = None,
        lessons: Lessons | None = None,
    ) -> None:
        """See the class.

        Args:
            catalogue: title_id, name (a year in brackets at its end counts), genres.
            ridge: penalty. year: weight of the year beside the words.
            weights: of the factors, of likeness to the history, of the promised plays, where nothing is learned.
            numbers: title_id and columns of numbers, NaN where unknown; titles may be missing.
        """
        self.content = ContentNeighbours(catalogue, neighbours)
        self.near = ContentNeighbours(catalogue, min(10, neighbours))
        self.titles = self.content.titles
        self.ials = ials if ials is not None else Ials(64, epochs=10)
        self.ridge, self.weights = ridge, weights
        self.lessons = lessons if lessons is not None else Lessons()
        own = catalogue.sort_values("title_id", ignore_index=True)
        years = [_year(name) for name in own["name"]]
        self._bumps = year_bumps(years)
        self.about: csr_matrix = hstack([self.content.words, csr_matrix(np.sqrt(year) * self._bumps)], format="csr")
        names = sorted({genre for genres in own["genres"] for genre in genres})
        self._genres = np.array([[genre in genres for genre in names] for genres in own["genres"]], dtype=np.float64)
        self._genres = self._genres.reshape(len(own), len(names))
        self._facts: NDArray[np.float64] | None = None
        if numbers is not None:
            known = numbers.assign(title_id=numbers["title_id"].astype(str)).drop_duplicates("title_id")
            columns = known.set_index("title_id").reindex(self.titles).to_numpy(dtype=np.float64)
            length = np.array([len(name) for name in own["name"]], dtype=np.float64)
            self._facts = np.column_stack([columns, years, length, self._genres.sum(axis=1), self._genres])
        self.title_factors: NDArray[np.float64] = np.zeros((0, 0))
        self.promised: NDArray[np.float64] = np.zeros(len(self.titles))
        self.booster: lightgbm.Booster | None = None

    def fit(self, histories: Histories) -> Self:
        """Learn to weigh the voices where there are numbers and enough to learn from, then train the voices."""
        self.booster = None
        enough = min(histories.matrix.shape) >= self.lessons.least
        if self._facts is not None and enough:
            self._learn(histories)
        self._train(histories)
        return self

    def fold_in(self, histories: Histories, columns: NDArray[np.int64] | None = None) -> NDArray[np.float32]:
        """Scores of any profiles, shape (profiles, columns), over these places of `titles` or all of them."""
        columns = np.arange(len(self.titles)) if columns is None else columns
        if self.booster is not None:
            out = np.empty((len(histories.profiles), len(columns)), dtype=np.float32)
            for first in range(0, len(out), BLOCK):
                table = self._table(histories.rows(slice(first, first + BLOCK)), columns)
                with single_threaded():
                    value = self.booster.predict(table.reshape(-1, table.shape[2]), num_threads=1)
                out[first : first + BLOCK] = np.asarray(value).reshape(table.shape[:2])
            return out
        by_factors = self._by_factors(histories, columns)
        by_content = self.content.fold_in(histories)[:, columns]
        promised = np.tile(self.promised[columns], (len(by_factors), 1))
        by_factors_weight, by_content_weight, promised_weight = self.weights
        total = by_factors_weight * _standard(by_factors) + by_content_weight * _standard(by_content)
        return np.asarray(total + promised_weight * _standard(promised), dtype=np.float32)

    def _by_factors(self, histories: Histories, columns: NDArray[np.int64]) -> NDArray[np.float64]:
        with single_threaded():
            return np.asarray(self.ials.fold_in_factors(histories) @ self.title_factors[columns].T)

    def _train(self, histories: Histories) -> None:
        """Factorise, then regress the factors of played titles on their description."""
        self.content.fit(histories)
        self.near.fit(histories)
        self.ials.fit(histories)
        place = places(self.titles, histories.titles)
        known = place >= 0
        self._place, self._played = place[known], known
        self._plays = np.asarray(histories.matrix.astype(bool).sum(axis=0)).ravel()[known].astype(np.float64)
        log_plays = np.log1p(self._plays)
        goal = np.column_stack([self.ials.title_factors[known], log_plays]).astype(np.float64)
        found = _ridge(self.about[self._place], self.about, goal, self.ridge)
        self.title_factors, self.promised = found[:, :-1], found[:, -1]
        self._by_words = self.promised
        if self._facts is not None and len(self._place) >= self.lessons.least:
            facts = np.column_stack([self._facts, self._by_words])
            data = lightgbm.Dataset(facts[self._place], log_plays)
            rules = _trees("regression", 15, self.lessons.seed) | {"lambda_l2": 5.0, "feature_fraction": 0.5}
            with single_threaded():
                self.promised = np.asarray(lightgbm.train(rules, data, num_boost_round=200).predict(facts))

    def _table(self, histories: Histories, columns: NDArray[np.int64]) -> NDArray[np.float32]:
        """What the voices say, each standardised over `columns`: shape (profiles, columns, features)."""
        own = played(histories)[:, self._played]
        length = np.maximum(histories.lengths(), 1).astype(np.float64)
        voices: list[NDArray[np.floating]] = [
            self._by_factors(histories, columns),
            self.near.fold_in(histories)[:, columns],
            self.content.fold_in(histories)[:, columns],
            self._lift(own, length, self._genres, columns),
            self._lift(own, length, self._bumps, columns),
        ]
        general: list[NDArray[np.float64]] = [
            self.promised,
            _standard(self.promised[columns][None, :])[0],
            self._by_words,
        ]
        wide = [
            np.broadcast_to(value if len(value) == len(columns) else value[columns], voices[0].shape)
            for value in general
        ]
        of_profile = np.broadcast_to(np.log(length)[:, None], voices[0].shape)
        return np.stack([*(_standard(v) for v in voices), *wide, of_profile], axis=-1).astype(np.float32)

    def _lift(
        self, own: csr_matrix, length: NDArray[np.float64], traits: NDArray[np.float64], columns: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """How much more of the columns' traits a history has than all plays have, in logs: (profiles, columns)."""
        share = (own @ traits[self._place]) / length[:, None]
        base = traits[self._place].T @ self._plays / max(float(self._plays.sum()), 1.0)
        lift = np.log((share + 0.1 * base + 1e-6) / (1.1 * base + 1e-6))
        weight = traits[columns] / np.maximum(traits[columns].sum(axis=1, keepdims=True), 1e-9)
        return np.asarray(lift @ weight.T)

    def _learn(self, histories: Histories) -> None:
        rule = self.lessons
        rng = np.random.default_rng(rule.seed)
        group = rng.permutation(len(histories.titles)) % max(round(1 / rule.share), 2)
        tables, found = [], []
        for lesson in range(min(rule.count, int(group.max()) + 1)):
            hidden, shown = np.flatnonzero(group == lesson), np.flatnonzero(group != lesson)
            known = Histories(histories.profiles, histories.titles[shown], histories.matrix[:, shown].tocsr())
            self._train(known)
            asked = np.sort(rng.permutation(len(known.profiles))[: rule.profiles])
            goal = histories.matrix[asked][:, hidden].toarray() > 0
            some = asked[goal.any(axis=1)]
            place = places(self.titles, histories.titles[hidden])
            inside = place >= 0
            tables.append(self._table(known.rows(some), place[inside]).reshape(-1, _FEATURES))
            found.append(goal[goal.any(axis=1)][:, inside].ravel())
        mark = np.concatenate(found)
        if not mark.any():
            return
        data = lightgbm.Dataset(np.concatenate(tables), mark.astype(np.int8))
        with single_threaded():
            rules = _trees("binary", 500, rule.seed) | {"lambda_l2": 20.0, "feature_fraction": 0.6}
            self.booster = lightgbm.train(rules, data, num_boost_round=rule.trees)


_FEATURES = 9


def _trees(objective: str, leaf_rows: int, seed: int) -> dict[str, Any]:
    return {
        "objective": objective,
        "learning_rate": 0.05,
        "num_leaves": 15,
        "min_data_in_leaf": leaf_rows,
        "bagging_fraction": 0.7,
        "bagging_freq": 1,
        "seed": seed,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": 1,
        "verbose": -1,
    }


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
