"""Rolling origins on a global clock: everything before an origin trains, the window after it judges (arXiv 2010.11060).

The ranker here learns the same way: its lists come from the last windows before the origin, scored by sources that end
where each window begins. It starts from decayed popularity, the floor on real clocks, and needs evidence to leave it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Self

import lightgbm
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from models.frames import places
from models.recommend.histories import Histories
from models.recommend.ials import Ials
from models.recommend.linear import Edlae
from models.recommend.neighbours import CoWatched
from models.recommend.protocol import Scorer, single_threaded
from models.recommend.stack import listwise_weights, standard_scores, weighted

DAY_S = 86_400.0
HALF_LIVES_D = (2.0, 7.0, 30.0)
"""Of decayed popularity; the middle one is the floor and the ranker's start."""
Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Window:
    """Interactions before `origin` (s since 1970), new pairs after it; coverage: share of them of known titles."""

    before: pd.DataFrame
    test: pd.DataFrame
    origin: int
    coverage: float


def windows(interactions: pd.DataFrame, origins: int, share: float = 0.08) -> list[Window]:
    """The last `origins` windows of `share` of the rows each, one after the other.

    Args:
        interactions: profile_id, title_id, at (s since 1970, never missing).
    """
    if interactions["at"].isna().any():
        raise ValueError(f"{int(interactions['at'].isna().sum())} interactions have no time; a clock needs one each")
    if origins * share >= 1:
        raise ValueError(f"{origins} windows of {share:.0%} leave nothing to train on")
    ordered = interactions.sort_values(["at", "profile_id", "title_id"], kind="mergesort", ignore_index=True)
    at = ordered["at"].to_numpy(dtype=np.int64)
    cuts = [int(at[int(len(at) * (1 - share * k))]) for k in range(origins, 0, -1)] + [int(at[-1]) + 1]
    return [_window(ordered, at, one, other) for one, other in pairwise(cuts)]


def _window(ordered: pd.DataFrame, at: NDArray[np.int64], origin: int, until: int) -> Window:
    before = ordered[at < origin]
    test = ordered[(at >= origin) & (at < until)][["profile_id", "title_id"]].drop_duplicates()
    seen = pd.MultiIndex.from_frame(before[["profile_id", "title_id"]])
    test = test[~pd.MultiIndex.from_frame(test).isin(seen)].reset_index(drop=True)
    known = set(before["title_id"])
    return Window(before, test, origin, float(test["title_id"].isin(known).mean()) if len(test) else 1.0)


def ndcg_at_10(
    scores: NDArray[np.floating], profiles: list[str], titles: NDArray[np.object_], window: Window
) -> pd.Series:
    """By profile: of all new pairs of the window, titles unknown to training included as misses.

    Args:
        scores: shape (profiles, titles); minus infinity is never listed.
    """
    order = np.argsort(-scores, axis=1, kind="stable")[:, :10]
    wanted = set(zip(window.test["profile_id"], window.test["title_id"], strict=True))
    hit = np.array([[(p, titles[j]) in wanted for j in row] for p, row in zip(profiles, order, strict=True)])
    gain = 1.0 / np.log2(np.arange(order.shape[1]) + 2.0)
    targets = window.test.groupby("profile_id").size().reindex(profiles).to_numpy()
    ideal = np.cumsum(1.0 / np.log2(np.arange(10) + 2.0))[np.minimum(targets, 10) - 1]
    return pd.Series((hit * gain).sum(axis=1) / ideal, index=profiles)


def decayed(before: pd.DataFrame, titles: NDArray[np.object_], origin: int, half_life_d: float) -> NDArray[np.float64]:
    """Plays halved every `half_life_d` days before `origin`, shape (titles,)."""
    age = (origin - before["at"].to_numpy(dtype=np.int64)) / DAY_S
    if len(age) and age.min() < 0:
        raise ValueError(f"an interaction lies {-age.min():.1f} days after the origin; that would be a leak")
    weight = np.power(0.5, age / half_life_d)
    return np.bincount(places(titles, before["title_id"]), weights=weight, minlength=len(titles)).astype(np.float64)


class ClockRanker:
    """Weights and, with enough lists, LambdaMART over collaborative scores, popularity at three paces and its slope.

    Attributes:
        weights: shape (2, columns), see stack.weighted. booster: None with fewer than `least` lists.
        leave: how far the weights went from decayed popularity (0) to what was learned (1).
    """

    name = "clock_ranker"

    def __init__(
        self,
        lessons: int = 3,
        share: float = 0.08,
        pull: float = 30.0,
        least: int = 400,
        trees: int = 40,
        seed: int = 7,
    ) -> None:
        """`lessons`: windows before the origin to learn from. `pull`: of the start (decayed popularity), in lists."""
        self.lessons, self.share, self.pull, self.least, self.trees, self.seed = (
            lessons,
            share,
            pull,
            least,
            trees,
            seed,
        )
        self.sources: dict[str, Callable[[], Scorer]] = {"ials": lambda: Ials(64), "edlae": Edlae, "co": CoWatched}
        self.weights: Floats = np.zeros((2, 0), dtype=np.float32)
        self.prior = self.weights
        self.leave = 0.0
        self.booster: lightgbm.Booster | None = None

    @property
    def columns(self) -> list[str]:
        """What is weighed: the sources, log decayed popularity at each half-life, of all time, its slope, newness."""
        paces = [f"popular_{pace:g}d" for pace in HALF_LIVES_D]
        return [*self.sources, *paces, "popular", "slope", "newness"]

    def fit(self, before: pd.DataFrame, origin: int) -> Self:
        """Learn from windows that end at `origin`, then train the sources on everything before it.

        What was learned from the earlier windows must win on the last one by more than its standard error, whole or
        in part (`leave`); otherwise decayed popularity ranks.
        """
        self.prior = np.zeros((2, len(self.columns)), dtype=np.float32)
        self.prior[0, self.columns.index(f"popular_{HALF_LIVES_D[1]:g}d")] = 1.0
        lists: list[tuple[Floats, NDArray[np.bool_], NDArray[np.int64]]] = []
        self.leave = 0.0
        for number, lesson in enumerate(windows(before, self.lessons, self.share), 1):
            self._train(lesson.before, lesson.origin)
            if number == self.lessons and lists:
                self._learn(lists, 1.0)
                self.leave = self._worth_leaving(lesson)
            profiles = sorted(set(lesson.test["profile_id"]))
            z, lengths, seen = self._columns(profiles)
            found = Histories.from_pairs(lesson.test, profiles, self.titles).matrix.toarray() > 0
            some = found.any(axis=1)
            lists.append(self._short_list(z[some], seen[some], found[some], self.prior, lengths[some]))
        self._learn(lists, self.leave)
        self._train(before, origin)
        return self

    def _learn(self, lists: list[tuple[Floats, NDArray[np.bool_], NDArray[np.int64]]], leave: float) -> None:
        """Weights `leave` of the way from the start to the learned ones; trees only for the whole way."""
        self.weights, self.booster = self.prior, None
        z, found, lengths = (np.concatenate([part[i] for part in lists]) for i in range(3))
        if not leave or not len(z):
            return
        learned = listwise_weights(z, found, lengths, self.prior, self.pull)
        self.weights = (self.prior + leave * (learned - self.prior)).astype(np.float32)
        if leave == 1.0 and len(z) >= self.least:
            self.booster = self._trees(z, found, lengths)

    def _worth_leaving(self, lesson: Window) -> float:
        """The part of the way that did best on a window not learned from; 0 unless it clearly beat the start."""
        profiles = sorted(set(lesson.test["profile_id"]))
        learned, booster = self.weights, self.booster
        worth = {}
        for leave in (0.0, 0.25, 0.5, 1.0):
            self.weights = (self.prior + leave * (learned - self.prior)).astype(np.float32)
            self.booster = booster if leave == 1.0 else None
            worth[leave] = ndcg_at_10(self.scores(profiles), profiles, self.titles, lesson).to_numpy()
        best = max(worth, key=lambda leave: float(worth[leave].mean()))
        gain = worth[best] - worth[0.0]
        return best if gain.mean() > gain.std(ddof=1) / np.sqrt(len(gain)) > 0 else 0.0

    def scores(self, profiles: list[str]) -> NDArray[np.float64]:
        """Shape (profiles, titles before the origin); minus infinity where the profile has seen the title."""
        z, lengths, seen = self._columns(profiles)
        out = weighted(z, lengths, self.weights).astype(np.float64)
        if self.booster is not None and len(out):
            table = self._table(z, out.astype(np.float32), lengths)
            with single_threaded():
                out += np.asarray(self.booster.predict(table, num_threads=1)).reshape(out.shape)
        out[seen] = -np.inf
        return out

    def _train(self, before: pd.DataFrame, origin: int) -> None:
        self.histories = Histories.from_pairs(before[["profile_id", "title_id"]].drop_duplicates())
        self.titles = self.histories.titles
        self.fitted = {name: make().fit(self.histories) for name, make in self.sources.items()}
        paces = [np.log1p(decayed(before, self.titles, origin, pace)) for pace in HALF_LIVES_D]
        first = before.groupby("title_id")["at"].min().reindex(self.titles).to_numpy(dtype=np.float64)
        every = np.log1p(np.diff(self.histories.matrix.tocsc().indptr))
        newness = np.exp(-(origin - first) / DAY_S / 30.0)
        self.general = np.column_stack([*paces, every, paces[0] - paces[2], newness])

    def _columns(self, profiles: list[str]) -> tuple[Floats, NDArray[np.int64], NDArray[np.bool_]]:
        """(standard scores (profiles, titles, columns), lengths, what was seen (profiles, titles))."""
        place = places(self.histories.profiles, profiles)
        matrix = self.histories.matrix[np.maximum(place, 0)].multiply((place >= 0)[:, None]).tocsr()
        matrix.eliminate_zeros()
        mine = Histories(np.asarray(profiles, dtype=object), self.titles, matrix.astype(np.float32))
        shape = (len(profiles), len(self.titles))
        scores = [model.fold_in(mine) for model in self.fitted.values()]
        scores += [np.broadcast_to(column.astype(np.float32), shape) for column in self.general.T]
        return standard_scores(scores, matrix), mine.lengths(), matrix.toarray() > 0

    def _short_list(
        self, z: Floats, seen: NDArray[np.bool_], found: NDArray[np.bool_], prior: Floats, lengths: NDArray[np.int64]
    ) -> tuple[Floats, NDArray[np.bool_], NDArray[np.int64]]:
        """The 300 candidates nearest the top by popularity and by taste, of lists with something to be found."""
        c = min(300, z.shape[1])
        taste = z[:, :, : len(self.sources)].mean(axis=2)
        value = np.where(seen, -np.inf, weighted(z, lengths, prior) + taste)
        column = np.argsort(-value, axis=1, kind="stable")[:, :c]
        near = np.take_along_axis(z, column[:, :, None], axis=1)
        mark = np.take_along_axis(found & ~seen, column, axis=1)
        if c < 300:  # windows with few titles are filled up, or lists of windows could not be stacked
            pad = 300 - c
            near = np.pad(near, ((0, 0), (0, pad), (0, 0)), constant_values=-30.0)
            mark = np.pad(mark, ((0, 0), (0, pad)))
        some = mark.any(axis=1)
        return near[some], mark[some], lengths[some]

    def _table(self, z: Floats, sums: Floats, lengths: NDArray[np.int64]) -> Floats:
        length = np.broadcast_to(np.log1p(lengths).astype(np.float32)[:, None, None], (*sums.shape, 1))
        return np.concatenate([z, sums[:, :, None], length], axis=2).reshape(-1, z.shape[2] + 2)

    def _trees(self, z: Floats, found: NDArray[np.bool_], lengths: NDArray[np.int64]) -> lightgbm.Booster:
        sums = weighted(z, lengths, self.weights)
        data = lightgbm.Dataset(
            self._table(z, sums, lengths),
            found.ravel().astype(np.int8),
            group=np.full(len(found), found.shape[1]),
            init_score=sums.ravel().astype(np.float64),
        )
        parameters = {
            "objective": "lambdarank",
            "lambdarank_truncation_level": 20,
            "learning_rate": 0.05,
            "num_leaves": 12,
            "min_data_in_leaf": 200,
            "lambda_l2": 20.0,
            "seed": self.seed,
            "deterministic": True,
            "force_row_wise": True,
            "num_threads": 1,
            "verbose": -1,
        }
        return lightgbm.train(parameters, data, num_boost_round=self.trees)


def popular_scores(window: Window, titles: NDArray[np.object_], seen: csr_matrix) -> NDArray[np.float64]:
    """The floor: 7-day decayed popularity, what each profile has seen at minus infinity."""
    counts = decayed(window.before, titles, window.origin, HALF_LIVES_D[1])
    return np.where(seen.toarray() > 0, -np.inf, counts[None, :])
