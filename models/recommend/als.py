"""Implicit alternating least squares (Hu, Koren, Volinsky 2008) around the library `implicit`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np
import pandas as pd
from implicit.cpu.als import AlternatingLeastSquares
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from models.frames import places
from models.recommend.protocol import blocks, excluded_matrix, single_threaded, top_k


class ImplicitALS:
    """Factors of profiles and titles; threads pinned and rows sorted, so that a rerun gives the same bits.

    Attributes:
        profiles, titles: sorted ids of the training data.
        profile_factors, title_factors: shapes (profiles, factors) and (titles, factors).
    """

    name = "implicit_als"

    def __init__(
        self, factors: int = 16, regularization: float = 20.0, alpha: float = 6.0, iterations: int = 12, seed: int = 17
    ) -> None:
        self.factors = factors
        self.regularization = regularization
        self.alpha = alpha
        self.iterations = iterations
        self.seed = seed
        self.profiles: NDArray[np.object_] = np.zeros(0, dtype=object)
        self.titles: NDArray[np.object_] = np.zeros(0, dtype=object)
        self.profile_factors: NDArray[np.float64] = np.zeros((0, factors))
        self.title_factors: NDArray[np.float64] = np.zeros((0, factors))

    def fit(self, interactions: pd.DataFrame) -> Self:
        """Factorise; repeated plays of a pair add up, with diminishing weight (log)."""
        self.profiles, who = _codes(interactions["profile_id"])
        self.titles, what = _codes(interactions["title_id"])
        if not len(interactions):
            self.profile_factors = self.title_factors = np.zeros((0, self.factors))
            return self
        shape = (len(self.profiles), len(self.titles))
        matrix = csr_matrix((interactions["weight"].to_numpy(dtype=np.float64), (who, what)), shape=shape)
        matrix.sum_duplicates()
        matrix.sort_indices()
        matrix.data = (self.alpha * np.log1p(matrix.data)).astype(np.float32)
        with single_threaded():
            model = AlternatingLeastSquares(
                factors=self.factors,
                regularization=self.regularization,
                alpha=1.0,
                iterations=self.iterations,
                use_cg=False,
                num_threads=1,
                random_state=self.seed,
                dtype=np.float32,
            )
            model.fit(matrix.astype(np.float32), show_progress=False)
        self.profile_factors = np.asarray(model.user_factors, dtype=np.float64)
        self.title_factors = np.asarray(model.item_factors, dtype=np.float64)
        return self

    def scores(self, profiles: Sequence[str]) -> NDArray[np.float64]:
        """Dot products, shape (profiles, titles of the training data); rows of unknown profiles are zero."""
        place = places(self.profiles, profiles)
        with single_threaded():
            found = (
                self.profile_factors[np.maximum(place, 0)] @ self.title_factors.T
                if len(self.profiles)
                else np.zeros((len(place), len(self.titles)))
            )
        return np.where(place[:, None] >= 0, found, 0.0)

    def recommend(self, profiles: Sequence[str], k: int, exclude: pd.DataFrame | None = None) -> pd.DataFrame:
        """See `Recommender.recommend`; an unknown profile gets nothing: it has no factor (a blend must serve it)."""
        known = [p for p in profiles if p in set(self.profiles)]
        pieces = [
            top_k(self.scores(block), block, self.titles, k, excluded_matrix(exclude, block, self.titles))
            for block in blocks(known)
        ]
        return pd.concat(pieces, ignore_index=True) if pieces else top_k(np.zeros((0, 0)), [], self.titles, k)


def _codes(column: pd.Series) -> tuple[NDArray[np.object_], NDArray[np.int64]]:
    values, code = np.unique(column.to_numpy(dtype=object).astype(str), return_inverse=True)
    return values.astype(object), code.astype(np.int64)
