"""Ridge regression between profiles: an autoencoder of infinite width in closed form (Sachdeva et al. 2022,
arXiv 2206.02626).

Two histories are as alike as the neural tangent kernel of one hidden layer of ReLU says: with c the cosine between
them and t = arccos c, k = (sqrt(1 - c^2) + c (pi - t)) / pi + c (pi - t) / pi. The model is k(new, trained) times
(K + l I)^-1 X. It knows profiles where EDLAE and ALS know titles, so it adds to a blend what they do not have.
"""

from __future__ import annotations

from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.sparse import csr_matrix, diags

from models.recommend.histories import Histories
from models.recommend.linear import played
from models.recommend.protocol import single_threaded

Floats = NDArray[np.float32]


class ProfileKernel:
    """Scores from like profiles; at most `most` of them are kept, drawn once from `seed`.

    Attributes:
        known: the kept histories at length 1, shape (kept, titles). dual: (K + l I)^-1 X, same shape, dense.
    """

    name = "profile_kernel"

    def __init__(self, regularization: float = 7.0, most: int = 6000, seed: int = 11) -> None:
        """`regularization`: l as a multiple of the kernel's mean diagonal (2)."""
        if regularization <= 0 or most < 1:
            raise ValueError(f"regularization {regularization} and most {most} must be above 0")
        self.regularization, self.most, self.seed = regularization, most, seed
        self.titles: NDArray[np.object_] = np.zeros(0, dtype=object)
        self.known = csr_matrix((0, 0), dtype=np.float32)
        self.dual: Floats = np.zeros((0, 0), dtype=np.float32)

    def fit(self, histories: Histories) -> Self:
        """One Cholesky factorisation of profiles x profiles."""
        self.titles = histories.titles
        pairs = played(histories)
        kept = np.flatnonzero(np.diff(pairs.indptr))
        if len(kept) > self.most:
            kept = np.sort(np.random.default_rng(self.seed).permutation(kept)[: self.most])
        pairs = pairs[kept]
        self.known = _unit(pairs)
        if not len(kept):
            self.dual = np.zeros(pairs.shape, dtype=np.float32)
            return self
        with single_threaded():
            gram = tangent_kernel(self.known, self.known)
            gram[np.diag_indices(len(gram))] += np.float32(self.regularization) * gram.diagonal().mean()
            factor = cho_factor(gram, lower=True, overwrite_a=True, check_finite=False)
            self.dual = np.asarray(cho_solve(factor, pairs.toarray(), overwrite_b=True, check_finite=False))
        return self

    def fold_in(self, histories: Histories) -> Floats:
        """Scores of any profiles, shape (profiles, titles)."""
        mine = _unit(played(histories.over(self.titles)))
        with single_threaded():
            return np.asarray(tangent_kernel(mine, self.known) @ self.dual)


def tangent_kernel(one: csr_matrix, other: csr_matrix) -> Floats:
    """Neural tangent kernel of one hidden layer between rows of length 1 and above 0: shape (rows, rows of other)."""
    cosine = np.clip((one @ other.T).toarray(), 0.0, 1.0).astype(np.float32)
    rest = (np.float32(np.pi) - np.arccos(cosine)) / np.float32(np.pi)
    return np.asarray(np.sqrt(1.0 - cosine * cosine) / np.float32(np.pi) + 2.0 * cosine * rest, dtype=np.float32)


def _unit(pairs: csr_matrix) -> csr_matrix:
    length = np.sqrt(np.asarray(pairs.multiply(pairs).sum(axis=1)).ravel())
    return (diags((1.0 / np.maximum(length, 1e-12)).astype(np.float32)) @ pairs).tocsr()
