"""Who watched what, as a sparse matrix that knows its ids: the input of every candidate model."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from models.frames import places


@dataclass(frozen=True, slots=True)
class Histories:
    """Histories of profiles over a fixed order of titles. Never a bare matrix: a flipped or shifted one cannot pass.

    Attributes:
        profiles, titles: ids of rows and columns; unique.
        matrix: shape (profiles, titles), weight of each pair, above 0; column indices sorted.
    """

    profiles: NDArray[np.object_]
    titles: NDArray[np.object_]
    matrix: csr_matrix

    def __post_init__(self) -> None:
        shape = (len(self.profiles), len(self.titles))
        if self.matrix.shape != shape:
            raise ValueError(f"matrix has shape {self.matrix.shape}, ids say {shape} (profiles, titles)")
        if self.matrix.nnz and not (np.isfinite(self.matrix.data).all() and self.matrix.data.min() > 0):
            raise ValueError("a weight is not a finite number above 0; leave pairs without evidence out")

    @classmethod
    def from_pairs(
        cls, pairs: pd.DataFrame, profiles: Iterable[str] | None = None, titles: Iterable[str] | None = None
    ) -> Self:
        """From rows profile_id, title_id and, if there, weight (else 1); repeated pairs add up in a fixed order.

        Args:
            profiles, titles: ids of rows and columns, the sorted ids of `pairs` by default. Pairs outside are dropped:
                a model cannot know a title it was not trained on.
        """
        rows = _ids(pairs["profile_id"]) if profiles is None else np.asarray(list(profiles), dtype=object)
        columns = _ids(pairs["title_id"]) if titles is None else np.asarray(list(titles), dtype=object)
        who = places(rows, pairs["profile_id"].astype(str))
        what = places(columns, pairs["title_id"].astype(str))
        weight = pairs["weight"].to_numpy(dtype=np.float64) if "weight" in pairs else np.ones(len(pairs))
        known = (who >= 0) & (what >= 0)
        order = np.flatnonzero(known)[np.lexsort((weight[known], what[known], who[known]))]
        matrix = csr_matrix((weight[order], (who[order], what[order])), shape=(len(rows), len(columns)))
        matrix.sum_duplicates()
        matrix.sort_indices()
        return cls(rows, columns, matrix.astype(np.float32))

    def lengths(self) -> NDArray[np.int64]:
        """Titles in each history, shape (profiles,)."""
        return np.diff(self.matrix.indptr).astype(np.int64)

    def over(self, titles: NDArray[np.object_]) -> Histories:
        """The same profiles over another order of titles; titles that are not in it are dropped."""
        if titles is self.titles or np.array_equal(titles, self.titles):
            return self
        pairs = self.matrix.tocoo()
        column = places(titles, self.titles)[pairs.col]
        known = column >= 0
        matrix = csr_matrix(
            (pairs.data[known], (pairs.row[known], column[known])), shape=(len(self.profiles), len(titles))
        )
        matrix.sort_indices()
        return Histories(self.profiles, titles, matrix)

    def rows(self, which: NDArray[np.int64] | slice) -> Histories:
        """Some of the profiles, in the order asked for."""
        return Histories(self.profiles[which], self.titles, self.matrix[which])


def _ids(column: pd.Series) -> NDArray[np.object_]:
    return np.unique(column.to_numpy(dtype=object).astype(str)).astype(object)
