"""Linear item-item models in closed form: EASE (Steck 2019, arXiv 1905.03375) and EDLAE (Steck 2020).

EASE solves min |X - XB|^2 + l |B|^2 with zero diagonal; EDLAE adds drop-out, which in closed form is a penalty that
grows with a title's own weight: G_ii += l + q / (1 - q) * G_ii. With the Gram matrix G = X'X (penalty added),
B = I - P / diag(P), P = G^-1.

Two powers change what counts. `length_power` p divides a profile by its length to the p, so that a few who watched
everything do not write the model; `play_power` q divides a title by its plays to the q before, and multiplies after, so
that B relates shares rather than counts. Both 0 give the published models.
"""

from __future__ import annotations

from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack
from scipy.sparse import csr_matrix
from scipy.sparse.linalg import svds

from models.recommend.histories import Histories
from models.recommend.protocol import single_threaded


class Edlae:
    """B in single precision, one dense titles x titles array, made in place: 20,000 titles take 1.6 GB.

    Attributes:
        weights: B, shape (titles, titles); a history times B is its score.
    """

    name = "edlae"

    def __init__(
        self,
        regularization: float = 4.0,
        dropout: float = 0.35,
        length_power: float = 0.25,
        play_power: float = 0.15,
    ) -> None:
        """`regularization`: l as a multiple of the mean of G's diagonal: one value suits small and large data."""
        if regularization <= 0 or not 0 <= dropout < 1:
            raise ValueError(f"regularization {regularization} must be above 0, dropout {dropout} in [0, 1)")
        self.regularization = regularization
        self.dropout = dropout
        self.length_power = length_power
        self.play_power = play_power
        self.titles: NDArray[np.object_] = np.zeros(0, dtype=object)
        self.weights: NDArray[np.float32] = np.zeros((0, 0), dtype=np.float32)

    def fit(self, histories: Histories) -> Self:
        """One Cholesky inverse; pairs count 1 whatever their weight.

        Raises:
            ValueError: the Gram matrix with its penalty is not positive definite in single precision.
        """
        self.titles = histories.titles
        pairs = played(histories)
        if not pairs.nnz:
            self.weights = np.zeros((len(self.titles), len(self.titles)), dtype=np.float32)
            return self
        length = np.maximum(np.diff(pairs.indptr), 1)
        plays = np.maximum(np.bincount(pairs.indices, minlength=pairs.shape[1]), 1).astype(np.float32)
        share = (length / length.mean()) ** -self.length_power
        scale = plays**self.play_power
        pairs.data = (np.repeat(share, np.diff(pairs.indptr)) / scale[pairs.indices]).astype(np.float32)
        with single_threaded():
            gram = gram_matrix(pairs)
            own = np.diag(gram).copy()
            gram[np.diag_indices(len(gram))] += (
                self.regularization * own.mean() + self.dropout / (1.0 - self.dropout) * own
            )
            self.weights = _item_weights(gram, scale)
        return self

    def fold_in(self, histories: Histories) -> NDArray[np.float32]:
        """Scores of any profiles, shape (profiles, titles)."""
        return played(histories.over(self.titles)) @ self.weights

    def towers(self, rank: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """B as left right' of at most `rank`, its truncated SVD: what a store of vectors can serve.

        Returns:
            left, right: shapes (titles, r). A history times left is the profile's vector.
        """
        size = len(self.titles)
        with single_threaded():
            if rank >= size or size <= _DENSE_SVD:
                u, s, vt = np.linalg.svd(self.weights.astype(np.float64), full_matrices=False)
                u, s, vt = u[:, :rank], s[:rank], vt[:rank]
            else:
                u, s, vt = svds(self.weights, k=rank, v0=np.ones(size, dtype=np.float32))
        return (u * s).astype(np.float32), vt.T.astype(np.float32)


def played(histories: Histories) -> csr_matrix:
    """Histories as sparse ones."""
    matrix = histories.matrix.astype(np.float32, copy=True)
    matrix.data[:] = 1.0
    return matrix


_DENSE_SVD = 400
"""Titles up to which the whole SVD is quicker than the first vectors of it."""
_PANEL = 512
"""Rows worked on at a time, so that no second titles x titles array is ever made."""


def _item_weights(gram: NDArray[np.float32], scale: NDArray[np.float32]) -> NDArray[np.float32]:
    """B of the module with entry (i, j) times scale_j / scale_i, in the place of `gram`, which is lost."""
    size = len(gram)
    # gram is symmetric and in C order; its transpose is the same matrix in Fortran order, so LAPACK works in place.
    _, info = lapack.spotrf(gram.T, lower=1, overwrite_a=1, clean=0)
    if info == 0:
        _, info = lapack.spotri(gram.T, lower=1, overwrite_c=1)
    if info:
        raise ValueError(f"the Gram matrix of {size} titles is not positive definite at {info}; raise regularization")
    _mirror(gram)
    column = (-scale / np.diag(gram)).astype(np.float32)
    for first in range(0, size, _PANEL):
        gram[first : first + _PANEL] *= column[None, :]
        gram[first : first + _PANEL] /= scale[first : first + _PANEL, None]
    np.fill_diagonal(gram, 0.0)
    return gram


def gram_matrix(pairs: csr_matrix) -> NDArray[np.float32]:
    """X'X in panels of rows, shape (titles, titles)."""
    size = pairs.shape[1]
    gram = np.zeros((size, size), dtype=np.float32)
    turned = pairs.T.tocsr()
    for first in range(0, size, _PANEL):
        gram[first : first + _PANEL] = (turned[first : first + _PANEL] @ pairs).toarray()
    return gram


def _mirror(gram: NDArray[np.float32]) -> None:
    """Copy the triangle LAPACK wrote (lower in Fortran order is upper in C order) onto the other, in panels."""
    size = len(gram)
    for first in range(0, size, _PANEL):
        last = min(first + _PANEL, size)
        gram[last:, first:last] = gram[first:last, last:].T
        block = gram[first:last, first:last]
        block[:] = np.triu(block) + np.triu(block, 1).T
