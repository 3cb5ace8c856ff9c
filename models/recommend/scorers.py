"""The two yardsticks as scorers: ALS of the library `implicit`, and plain popularity."""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

import numpy as np
from implicit.cpu.als import AlternatingLeastSquares
from numpy.typing import NDArray

from models.recommend.histories import Histories
from models.recommend.linear import played
from models.recommend.protocol import single_threaded


class LibraryALS:
    """`implicit`'s ALS (Hu, Koren, Volinsky 2008): the baseline, and a choice where its exact weights are wanted."""

    name = "implicit_als"

    def __init__(
        self,
        factors: int = 128,
        regularization: float = 50.0,
        alpha: float = 6.0,
        iterations: int = 15,
        use_cg: bool = True,
        seed: int = 17,
    ) -> None:
        self.factors, self.regularization, self.alpha = factors, regularization, alpha
        self.iterations, self.use_cg, self.seed = iterations, use_cg, seed
        self.titles: NDArray[np.object_] = np.zeros(0, dtype=object)
        self._model: AlternatingLeastSquares | None = None

    def fit(self, histories: Histories, after: Callable[..., None] | None = None) -> Self:
        """Threads pinned, so that a rerun gives the same bits. `after` is called after each iteration."""
        self.titles = histories.titles
        self._model = None
        if not histories.matrix.nnz:
            return self
        model = AlternatingLeastSquares(
            factors=self.factors,
            regularization=self.regularization,
            alpha=1.0,
            iterations=self.iterations,
            use_cg=self.use_cg,
            num_threads=1,
            random_state=self.seed,
            dtype=np.float32,
        )
        self._model = model
        with single_threaded():
            model.fit((histories.matrix * self.alpha).astype(np.float32), show_progress=False, callback=after)
        return self

    def fold_in(self, histories: Histories) -> NDArray[np.float32]:
        """Scores of any profiles, shape (profiles, titles); zeros from a fit without a pair."""
        matrix = (histories.over(self.titles).matrix * self.alpha).astype(np.float32)
        if self._model is None or not matrix.shape[0]:
            return np.zeros(matrix.shape, dtype=np.float32)
        with single_threaded():
            self._model._YtY = None  # kept from an earlier iteration otherwise
            profiles = self._model.recalculate_user(np.arange(matrix.shape[0]), matrix)
            return np.asarray(profiles @ self._model.item_factors.T)


class Popularity:
    """Profiles that watched a title; the same for everybody."""

    name = "popularity"

    def __init__(self) -> None:
        self.titles: NDArray[np.object_] = np.zeros(0, dtype=object)
        self.plays: NDArray[np.float32] = np.zeros(0, dtype=np.float32)

    def fit(self, histories: Histories) -> Self:
        """Count."""
        self.titles = histories.titles
        self.plays = np.asarray(played(histories).sum(axis=0), dtype=np.float32).ravel()
        return self

    def fold_in(self, histories: Histories) -> NDArray[np.float32]:
        """The counts, shape (profiles, titles)."""
        return np.tile(self.plays, (len(histories.profiles), 1))
