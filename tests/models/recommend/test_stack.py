"""The ranker over scorers: learns who to trust from profiles the sources never saw."""

from __future__ import annotations

from typing import Self

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from models.recommend.histories import Histories
from models.recommend.ials import Ials
from models.recommend.linear import Edlae, played
from models.recommend.neighbours import CoWatched
from models.recommend.protocol import Scorer
from models.recommend.recipe import PRIOR, SOURCES, blend
from models.recommend.scorers import Popularity
from models.recommend.stack import Learning, Stack, _hide
from models.recommend.strong import Held, judge
from tests.models.recommend.test_scorers import ScorerContract

SMALL = Learning(folds=3, candidates=60, trees=40, leaf_rows=20, least=100)


def tastes(profiles: int = 500, titles: int = 120, groups: int = 6, seed: int = 1) -> Histories:
    """Profiles of a group watch its titles, some of them far more often than others."""
    rng = np.random.default_rng(seed)
    who, what = rng.integers(0, groups, profiles), rng.integers(0, groups, titles)
    popular = rng.gamma(0.8, 1.0, titles)
    chance = popular * np.where(who[:, None] == what[None, :], 0.35, 0.03) * rng.uniform(0.4, 1.6, (profiles, 1))
    ids = [np.array([f"{side}{i:04d}" for i in range(n)], dtype=object) for side, n in (("p", profiles), ("t", titles))]
    return Histories(ids[0], ids[1], csr_matrix((rng.random((profiles, titles)) < chance).astype(np.float32)))


def held(histories: Histories, seed: int = 2) -> Held:
    hidden = _hide(histories.matrix, 0.3, np.random.default_rng(seed))
    rows = np.flatnonzero(np.diff(hidden.indptr))
    shown = (histories.matrix - hidden).tocsr()[rows]
    shown.eliminate_zeros()
    return Held(Histories(histories.profiles[rows], histories.titles, shown), hidden[rows])


class TestStackContract(ScorerContract):
    def make(self) -> Stack:
        return Stack({"edlae": Edlae, "ials": lambda: Ials(8)}, {"edlae": (0.5, 0.0), "ials": (0.5, 0.0)}, SMALL)


class Noise:
    """A source that knows nothing."""

    name = "noise"

    def fit(self, histories: Histories) -> Self:
        self.titles = histories.titles
        return self

    def fold_in(self, histories: Histories) -> np.ndarray:
        rng = np.random.default_rng(int(histories.matrix.nnz))
        return rng.normal(size=(len(histories.profiles), len(self.titles))).astype(np.float32)


class Memory:
    """A source that knows its training profiles by heart, of others nothing: a leak stacking must not fall for."""

    name = "memory"

    def fit(self, histories: Histories) -> Self:
        self.titles = histories.titles
        self.rows = played(histories)
        return self

    def fold_in(self, histories: Histories) -> np.ndarray:
        mine = played(histories)
        common = (mine @ self.rows.T).toarray()
        known = common >= np.maximum(mine.sum(axis=1), 1.0)
        return np.asarray(csr_matrix(known.astype(np.float32)) @ self.rows.toarray(), dtype=np.float32)


def learned(sources: dict[str, type[Scorer]], prior: dict[str, tuple[float, float]]) -> tuple[float, float]:
    """NDCG@100 on new profiles: (of the ranker, of the fixed weights)."""
    data = tastes()
    train, test = data.rows(np.arange(400)), held(data.rows(np.arange(400, 500)))
    model = Stack(sources, prior, SMALL).fit(train)
    assert model.booster is not None
    with_ranker = judge(model.fold_in(test.fold_in), test)["ndcg@100"].mean()
    model.booster, model.weights, model.short_weights = None, model.prior, model.prior
    return float(with_ranker), float(judge(model.fold_in(test.fold_in), test)["ndcg@100"].mean())


def test_it_learns_to_distrust_a_source_that_knows_nothing() -> None:
    ranker, fixed = learned({"edlae": Edlae, "noise": Noise}, {"edlae": (0.2, 0.0), "noise": (0.8, 0.0)})
    assert ranker > fixed + 0.05


def test_planted_leak_a_source_that_remembers_its_training_profiles_gains_no_trust() -> None:
    ranker, fixed = learned({"edlae": Edlae, "memory": Memory}, {"edlae": (1.0, 0.0), "memory": (0.0, 0.0)})
    assert ranker > fixed - 0.02


def test_thin_data_rank_by_the_fixed_weights() -> None:
    data = tastes(profiles=40)
    model = Stack({"a": Edlae, "b": Popularity}, {"a": (1.0, 0.0), "b": (0.0, 0.0)}, SMALL).fit(data)
    assert model.booster is None
    few = data.rows(np.arange(5))
    own = Edlae().fit(data).fold_in(few)
    for mine, theirs, row in zip(model.fold_in(few), own, few.matrix.toarray(), strict=True):
        free = row == 0
        np.testing.assert_array_equal(
            np.argsort(mine[free], kind="stable")[-5:], np.argsort(theirs[free], kind="stable")[-5:]
        )


def test_what_was_seen_takes_no_candidates_place() -> None:
    data = tastes()
    model = Stack({"a": Popularity}, {"a": (1.0, 0.0)}, Learning(folds=2, candidates=10, trees=5, least=100)).fit(data)
    seen = csr_matrix((1, 120))
    top = np.argsort(-np.asarray(data.matrix.sum(axis=0)).ravel(), kind="stable")[:30]
    seen = csr_matrix((np.ones(30, np.float32), (np.zeros(30, int), top)), shape=(1, 120))
    nobody = Histories(np.array(["x"], dtype=object), data.titles, csr_matrix((1, 120), dtype=np.float32))
    scores = model.fold_in_masked(nobody, seen)[0]
    free = np.setdiff1d(np.arange(120), top)
    assert (scores[free] >= 0).sum() == 10


def test_a_history_of_one_title_is_ranked_by_the_single_source_alone() -> None:
    data = tastes()
    make = {"edlae": Edlae, "co": CoWatched}
    model = Stack(make, {"edlae": (1.0, 0.0), "co": (0.0, 0.0)}, SMALL, single="co").fit(data)
    one = csr_matrix((np.ones(1, np.float32), ([0], [4])), shape=(1, 120))
    single = Histories(np.array(["x"], dtype=object), data.titles, one)
    own = CoWatched().fit(data).fold_in(single)[0]
    free = np.delete(np.arange(120), 4)
    best = free[np.argsort(-own[free], kind="stable")[:10]]
    assert free[np.argsort(-model.fold_in(single)[0][free], kind="stable")[:10]].tolist() == best.tolist()
    with pytest.raises(ValueError, match="single is 'none'"):
        Stack(make, {"edlae": (1.0, 0.0), "co": (0.0, 0.0)}, single="none")


def test_an_empty_history_is_ranked_by_the_source_named_for_it() -> None:
    data = tastes()
    make = {"edlae": Edlae, "plays": Popularity}
    model = Stack(make, {"edlae": (1.0, 0.0), "plays": (0.0, 0.0)}, SMALL, empty="plays").fit(data)
    nobody = Histories(np.array(["x"], dtype=object), data.titles, csr_matrix((1, 120), dtype=np.float32))
    plays = np.asarray(data.matrix.sum(axis=0)).ravel()
    found = plays[np.argsort(-model.fold_in(nobody)[0], kind="stable")]
    assert (np.diff(found) <= 0).all()
    assert blend().alone == {1: "co_watched", 0: "popularity"}
    with pytest.raises(ValueError, match="empty is 'none'"):
        Stack(make, {"edlae": (1.0, 0.0), "plays": (0.0, 0.0)}, empty="none")


def test_sources_and_weights_must_name_the_same() -> None:
    with pytest.raises(ValueError, match="differ in b"):
        Stack({"a": Edlae}, {"a": (1.0, 0.0), "b": (1.0, 0.0)})
    assert set(PRIOR) == set(SOURCES) and blend().features[: len(SOURCES)] == list(SOURCES)
