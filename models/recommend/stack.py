"""The ranker over scorers: weights, then LambdaMART, learned from profiles that none of the sources has seen.

Stacking learns nothing true from scores of the profiles a source was trained on: they are too good. So profiles are
split into folds; the sources are trained without a fold, fold in a part of its histories, and the ranker learns to
find the rest. Histories of a few titles are cut on purpose, so that one model serves short and long ones. The sources
are then trained on everybody. Where there are too few profiles to learn from, fixed weights rank.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import lightgbm
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.sparse import csr_matrix

from models.recommend.histories import Histories
from models.recommend.protocol import Scorer, single_threaded

Floats = NDArray[np.float32]
BLOCK = 512
"""Profiles scored at a time: BLOCK x titles x sources single-precision numbers."""
FLOOR = -3.0
"""Standard scores below are all alike."""
PULL = 1.0
"""Of the prior weights on the learned ones, in lists."""


@dataclass(frozen=True, slots=True)
class Learning:
    """How the ranker learns; the values were chosen on the validation profiles of ML-1M and are frozen.

    Attributes:
        folds: of profiles. target: share of a history to be found. candidates: titles ranked of each profile.
        short: chance that a profile is shown a second time, with 0 to `short_length` titles of its history.
        least: profiles with 5 titles or more, below which nothing is learned. most: of them used for learning.
        trees: at most. found: titles to be found in the lists for each tree, so that few lists are not learned by
            heart: on ML-1M thinned to a median of 4 titles, 120 trees lose a twentieth of the NDCG@100 that 5 have.
    """

    folds: int = 4
    target: float = 0.2
    candidates: int = 300
    short: float = 0.35
    short_length: int = 8
    least: int = 200
    most: int = 5000
    trees: int = 120
    found: int = 400
    rate: float = 0.06
    leaves: int = 24
    leaf_rows: int = 200


class Stack:
    """A weighted sum of standard scores, the weights leaning on the length of the history; trees correct its top.

    Attributes:
        sources: fitted scorers by name. weights: shape (2, sources); the second row counts as much as the history is
            short, 1 / (1 + titles / 4). short_weights: the same for histories of at most `short_length` titles,
            learned apart, so that short ones do not bend the weights of long ones.
        booster: LightGBM's model, None where there was too little to learn from. features: its columns.
    """

    name = "stack"

    def __init__(
        self,
        sources: Mapping[str, Callable[[], Scorer]],
        prior: Mapping[str, tuple[float, float]],
        learning: Learning | None = None,
        seed: int = 5,
        single: str | None = None,
        empty: str | None = None,
    ) -> None:
        """See the class.

        Args:
            sources: makers of scorers by name.
            prior: weights of each source (always, and more for short histories) before anything is learned.
            single: source that alone ranks for a history of one title; None leaves those to the weights too.
            empty: the same for a history without a title.
        """
        unknown = set(prior) ^ set(sources)
        if unknown:
            raise ValueError(f"sources and prior weights differ in {', '.join(sorted(unknown))}; each needs the other")
        for role, name in (("single", single), ("empty", empty)):
            if name is not None and name not in sources:
                raise ValueError(f"{role} is {name!r}; there are {', '.join(sources)}")
        self.make = dict(sources)
        self.alone = {length: name for length, name in ((1, single), (0, empty)) if name is not None}
        self.prior = np.array([prior[name] for name in self.make], dtype=np.float32).T
        self.weights = self.prior
        self.short_weights = self.prior
        self.learning = learning if learning is not None else Learning()
        self.seed = seed
        self.titles: NDArray[np.object_] = np.zeros(0, dtype=object)
        self.sources: dict[str, Scorer] = {}
        self.booster: lightgbm.Booster | None = None
        self._log_plays: Floats = np.zeros(0, dtype=np.float32)

    @property
    def features(self) -> list[str]:
        """Columns of the ranker, in order."""
        return [*self.make, "log_plays", "weighted", "disagreement", "log_length", "history_log_plays"]

    def fit(self, histories: Histories) -> Self:
        """Learn the ranker across folds, then train the sources on all histories."""
        self.titles = histories.titles
        self.booster, self.weights, self.short_weights = None, self.prior, self.prior
        if int((histories.lengths() >= 5).sum()) >= self.learning.least:
            self._learn(histories)
        self._train(histories)
        return self

    def fold_in(self, histories: Histories) -> Floats:
        """Scores of any profiles; titles that are no candidates rank after those that are, by the fixed weights."""
        histories = histories.over(self.titles)
        out = np.zeros((len(histories.profiles), len(self.titles)), dtype=np.float32)
        for first in range(0, len(out), BLOCK):
            part = histories.rows(slice(first, first + BLOCK))
            out[first : first + BLOCK] = self._rank(part, part.matrix)
        return out

    def fold_in_masked(self, histories: Histories, seen: csr_matrix) -> Floats:
        """The same when more has been seen than is folded in: what was seen takes no candidate's place."""
        return self._rank(histories.over(self.titles), seen)

    def _train(self, histories: Histories) -> None:
        self.sources = {name: make().fit(histories) for name, make in self.make.items()}
        self._log_plays = np.log1p(np.diff(histories.matrix.tocsc().indptr)).astype(np.float32)

    def _rank(self, histories: Histories, seen: csr_matrix) -> Floats:
        z = self._standard(histories, seen)
        out = self._sums(z, histories.lengths())
        if self.booster is None or not len(out):
            return self._by_one_source(histories.lengths(), z, out)
        column, table = self._table(histories, z, out, seen)
        with single_threaded():
            value = np.asarray(self.booster.predict(table, num_threads=1)).reshape(column.shape)
        value = value + np.take_along_axis(out, column, axis=1)
        out -= out.max() + 1.0
        np.put_along_axis(out, column, (value - value.min()).astype(np.float32), axis=1)
        return self._by_one_source(histories.lengths(), z, out)

    def _by_one_source(self, lengths: NDArray[np.int64], z: Floats, out: Floats) -> Floats:
        """Where one source alone is best (see `single` and `empty`), its standard scores, in the place of `out`."""
        for length, name in self.alone.items():
            rows = np.flatnonzero(lengths == length)
            out[rows] = z[rows, :, list(self.make).index(name)]
        return out

    def _sums(self, z: Floats, lengths: NDArray[np.int64]) -> Floats:
        """Weighted sums; histories of at most `short_length` titles have weights of their own."""
        short = (lengths <= self.learning.short_length)[:, None]
        by_short = weighted(z, lengths, self.short_weights)
        return np.where(short, by_short, weighted(z, lengths, self.weights)).astype(np.float32)

    def _standard(self, histories: Histories, seen: csr_matrix) -> Floats:
        """Standard scores over the titles not seen, at least FLOOR: shape (profiles, titles, sources)."""
        return standard_scores([source.fold_in(histories) for source in self.sources.values()], seen)

    def _table(
        self, histories: Histories, z: Floats, sums: Floats, seen: csr_matrix
    ) -> tuple[NDArray[np.int64], Floats]:
        """Columns of the candidates, shape (profiles, c), and their features, shape (profiles * c, features)."""
        masked = sums.copy()
        masked[np.repeat(np.arange(len(sums)), np.diff(seen.indptr)), seen.indices] = -np.inf
        c = min(self.learning.candidates, sums.shape[1])
        column = np.argsort(-masked, axis=1, kind="stable")[:, :c]
        near = np.take_along_axis(z, column[:, :, None], axis=1)
        length = histories.lengths()
        popular = np.asarray(histories.matrix.astype(bool) @ self._log_plays) / np.maximum(length, 1)
        of_profile = np.stack([np.log1p(length), popular], axis=-1).astype(np.float32)
        table = np.concatenate(
            [
                near,
                self._log_plays[column][:, :, None],
                np.take_along_axis(sums, column, axis=1)[:, :, None],
                near.std(axis=2, keepdims=True),
                np.broadcast_to(of_profile[:, None, :], (*column.shape, 2)),
            ],
            axis=2,
        )
        return column, table.reshape(-1, table.shape[2])

    def _learn(self, histories: Histories) -> None:
        """Weights first, then trees on what they leave to be done."""
        tables, found, lengths = self._examples(histories)
        if not len(found):
            return
        count = len(self.make)
        short = lengths <= self.learning.short_length
        common = listwise_weights(tables[:, :, :count], found, lengths, self.prior)
        learned = [
            listwise_weights(tables[of][:, :, :count], found[of], lengths[of], common) if of.any() else common
            for of in (~short, short)
        ]
        self.weights, self.short_weights = learned
        sums = self._sums(tables[:, :, :count], lengths)
        tables[:, :, self.features.index("weighted")] = sums
        self.booster = _lambdamart(tables, found, sums, self.learning, self.seed)

    def _examples(self, histories: Histories) -> tuple[Floats, NDArray[np.bool_], NDArray[np.int64]]:
        """Lists of profiles that their sources never saw, each with something to be found.

        Returns:
            features, shape (lists, candidates, features); found, (lists, candidates); length of history, (lists,).
        """
        rule = self.learning
        rng = np.random.default_rng(self.seed)
        usable = np.flatnonzero(histories.lengths() >= 5)
        used = np.sort(rng.permutation(usable)[: rule.most])
        fold = rng.integers(0, rule.folds, len(used))
        tables, found, lengths = [], [], []
        for k in range(rule.folds):
            out = used[fold == k]
            keep = np.ones(len(histories.profiles), dtype=bool)
            keep[out] = False
            self._train(histories.rows(np.flatnonzero(keep)))
            whole = histories.matrix[out]
            hidden = _hide(whole, rule.target, rng)
            shown = (whole - whole.multiply(hidden)).tocsr()
            shown.eliminate_zeros()
            few = rng.random(len(out)) < rule.short
            some = some_of(shown[few], rng.integers(0, rule.short_length + 1, int(few.sum())), rng)
            for history, target, seen in ((shown, hidden, shown), (some, hidden[few], shown[few])):
                for first in range(0, history.shape[0], BLOCK):
                    cut = slice(first, first + BLOCK)
                    part = Histories(np.arange(history[cut].shape[0]).astype(object), self.titles, history[cut])
                    z = self._standard(part, seen[cut])
                    column, table = self._table(part, z, weighted(z, part.lengths(), self.prior), seen[cut])
                    mark = np.take_along_axis(target[cut].toarray() > 0, column, axis=1)
                    some_found = mark.any(axis=1)
                    tables.append(table.reshape(*column.shape, -1)[some_found])
                    found.append(mark[some_found])
                    lengths.append(part.lengths()[some_found])
        return np.concatenate(tables), np.concatenate(found), np.concatenate(lengths)


def standard_scores(scores: Sequence[NDArray[np.floating]], seen: csr_matrix) -> Floats:
    """Scores (profiles, titles) of sources, standardised over what was not seen: shape (profiles, titles, sources)."""
    out = np.empty((*seen.shape, len(scores)), dtype=np.float32)
    free = np.ones(seen.shape, dtype=np.float32)
    free[np.repeat(np.arange(seen.shape[0]), np.diff(seen.indptr)), seen.indices] = 0.0
    count = np.maximum(free.sum(axis=1, keepdims=True), 1.0)
    for i, one in enumerate(scores):
        score = np.asarray(one, dtype=np.float32)
        mean = (score * free).sum(axis=1, keepdims=True) / count
        gap = (score - mean) * free
        spread = np.sqrt((gap * gap).sum(axis=1, keepdims=True) / count)
        out[:, :, i] = np.maximum(np.divide(gap, spread, out=np.zeros_like(gap), where=spread > 0), FLOOR)
    out[free == 0.0] = FLOOR
    return out


def weighted(z: Floats, lengths: NDArray[np.int64], weights: Floats) -> Floats:
    """Sums of standard scores (profiles, titles, sources), shape (profiles, titles); see Stack.weights."""
    return np.asarray(z @ weights[0] + _shortness(lengths)[:, None] * (z @ weights[1]), dtype=np.float32)


def _shortness(lengths: NDArray[np.int64]) -> Floats:
    return (1.0 / (1.0 + lengths / 4.0)).astype(np.float32)


def listwise_weights(
    z: Floats, found: NDArray[np.bool_], lengths: NDArray[np.int64], prior: Floats, pull: float = PULL
) -> Floats:
    """Weights of greatest multinomial likelihood of what was found, lists counting by the root of their finds."""
    finds = found.sum(axis=1)
    importance = (1.0 / np.sqrt(finds)).astype(np.float32)
    short = _shortness(lengths)
    count = z.shape[2]

    def loss(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        logit = weighted(z, lengths, flat.reshape(2, count).astype(np.float32))
        logit -= logit.max(axis=1, keepdims=True)
        share = np.exp(logit)
        total = share.sum(axis=1, keepdims=True)
        likelihood = ((logit - np.log(total)) * found).sum(axis=1)
        residual = (share / total * finds[:, None] - found) * importance[:, None]
        slope = np.matmul(residual[:, None, :].astype(np.float32), z)[:, 0, :]
        gap = flat - prior.ravel()
        gradient = np.concatenate([slope.sum(axis=0), (slope * short[:, None]).sum(axis=0)]) + pull * gap
        return float(-(likelihood * importance).sum() + pull / 2 * gap @ gap), gradient.astype(np.float64)

    with single_threaded():
        best = minimize(loss, prior.ravel().astype(np.float64), jac=True, method="L-BFGS-B", options={"maxiter": 60})
    return best.x.reshape(2, count).astype(np.float32)


def _hide(matrix: csr_matrix, share: float, rng: np.random.Generator) -> csr_matrix:
    """A random `share` of each row, at least one, as ones."""
    row = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    size = np.diff(matrix.indptr)[row]
    place = _random_place(row, rng)
    hidden = place < np.maximum(1, np.floor(share * size))
    return csr_matrix((np.ones(hidden.sum(), np.float32), (row[hidden], matrix.indices[hidden])), shape=matrix.shape)


def some_of(matrix: csr_matrix, most: int | NDArray[np.int64], rng: np.random.Generator) -> csr_matrix:
    """At most `most` random entries of each row."""
    row = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    kept = _random_place(row, rng) < np.broadcast_to(most, matrix.shape[0])[row]
    return csr_matrix((matrix.data[kept], (row[kept], matrix.indices[kept])), shape=matrix.shape)


def _random_place(row: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """A random order within each row: 0, 1, ... `row` is sorted."""
    order = np.lexsort((rng.random(len(row)), row))
    place = np.empty(len(row), dtype=np.int64)
    start = np.searchsorted(row, row, side="left")
    place[order] = np.arange(len(row)) - start[order]
    return place


def _lambdamart(tables: Floats, found: NDArray[np.bool_], sums: Floats, rule: Learning, seed: int) -> lightgbm.Booster:
    """Trees that start from the weighted sums; their values are added to them."""
    parameters = {
        "objective": "lambdarank",
        "lambdarank_truncation_level": 100,
        "learning_rate": rule.rate,
        "num_leaves": rule.leaves,
        "min_data_in_leaf": rule.leaf_rows,
        "feature_fraction": 0.7,
        "bagging_fraction": 0.8,
        "bagging_freq": 1,
        "lambda_l2": 20.0,
        "seed": seed,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": 1,
        "verbose": -1,
    }
    data = lightgbm.Dataset(
        tables.reshape(-1, tables.shape[2]),
        found.ravel().astype(np.int8),
        group=np.full(len(found), found.shape[1]),
        init_score=sums.ravel().astype(np.float64),
    )
    trees = min(rule.trees, max(1, int(found.sum()) // rule.found))
    return lightgbm.train(parameters, data, num_boost_round=trees)
