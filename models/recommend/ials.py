"""Implicit-feedback ALS with frequency-scaled regularization (Rendle et al. 2022, arXiv 2110.14037).

    sum of w (1 - x.y)^2 over played pairs + a (x.y)^2 over all pairs + l (w_row + a columns) |x_row|^2 over rows

(the same for titles): a is `unobserved`, l is `regularization`, w a weight, w_row the sum of a row of weights.

Two solvers of the same objective. `exact` makes and factors each row's normal matrix (BLAS, LAPACK). `cg` takes a few
steps of conjugate gradients from where the row stood. It works in the basis in which the Gram matrix a Y'Y is diagonal
(factors may be rotated together without changing a score): the part of the normal matrix that all rows share costs d
instead of d^2 a step, and is at the same time the preconditioner.
"""

from __future__ import annotations

from typing import Literal, Self

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.linalg import blas, lapack
from scipy.sparse import csr_matrix

from models.recommend.histories import Histories
from models.recommend.protocol import single_threaded

Floats = NDArray[np.float32]
FOLD_IN_STEPS = 24
"""Steps of conjugate gradients for a profile that starts from nothing; reaches the exact solution to 1e-4."""


class Ials:
    """Factors of titles; profiles are solved for from their history, in training and after it alike.

    Attributes:
        titles: ids of `title_factors`' rows. title_factors: shape (titles, factors), rotated so that their Gram matrix
            is diagonal. gram: that diagonal, shape (factors,).
    """

    name = "ials"

    def __init__(
        self,
        factors: int = 128,
        regularization: float = 0.01,
        unobserved: float = 0.17,
        epochs: int = 12,
        solver: Literal["cg", "exact"] = "cg",
        steps: int = 3,
        seed: int = 17,
    ) -> None:
        if factors < 1 or regularization <= 0 or unobserved <= 0 or epochs < 1 or steps < 1:
            raise ValueError(
                f"factors {factors}, regularization {regularization}, unobserved {unobserved}, epochs {epochs}, "
                f"steps {steps}: each must be above 0"
            )
        if solver not in ("cg", "exact"):
            raise ValueError(f"solver is {solver!r}; there are 'cg' and 'exact'")
        self.factors = factors
        self.regularization = regularization
        self.unobserved = unobserved
        self.epochs = epochs
        self.solver = solver
        self.steps = steps
        self.seed = seed
        self.titles: NDArray[np.object_] = np.zeros(0, dtype=object)
        self.title_factors: Floats = np.zeros((0, factors), dtype=np.float32)
        self.gram: Floats = np.zeros(factors, dtype=np.float32)
        self.profile_factors: Floats = np.zeros((0, factors), dtype=np.float32)

    def fit(self, histories: Histories) -> Self:
        """Alternate; the same histories and seed give the same bits on the same machine."""
        self.start(histories)
        for _ in range(self.epochs):
            self.epoch(histories)
        return self

    def start(self, histories: Histories) -> None:
        """Random factors of length about .1 for titles, zeros for profiles, which are solved for first."""
        profiles, titles = histories.matrix.shape
        self.titles = histories.titles
        self.profile_factors = np.zeros((profiles, self.factors), dtype=np.float32)
        self.title_factors = first_factors(titles, self.factors, self.seed)
        self._turned = histories.matrix.T.tocsr()
        self._turned.sort_indices()

    def epoch(self, histories: Histories) -> None:
        """Profiles given titles, then titles given profiles."""
        with single_threaded():
            if self.solver == "exact":
                self._exact(histories.matrix, self.title_factors, self.profile_factors)
                self._exact(self._turned, self.profile_factors, self.title_factors)
            else:
                self._cg(histories.matrix, True)
                self._cg(self._turned, False)
            self._rotate()

    def fold_in(self, histories: Histories) -> Floats:
        """Scores of any profiles from their histories alone, shape (profiles, titles)."""
        with single_threaded():
            return np.asarray(self.fold_in_factors(histories) @ self.title_factors.T)

    def fold_in_factors(self, histories: Histories) -> Floats:
        """Factors of any profiles given the titles', shape (profiles, factors); an empty history has zeros."""
        matrix = histories.over(self.titles).matrix
        out = np.zeros((matrix.shape[0], self.factors), dtype=np.float32)
        with single_threaded():
            if self.solver == "exact":
                self._exact(matrix, self.title_factors, out)
            else:
                _conjugate_gradients(
                    matrix.indptr,
                    matrix.indices,
                    matrix.data.astype(np.float32),
                    self.title_factors,
                    out,
                    (self.unobserved * self.gram).astype(np.float32),
                    self._penalty(matrix),
                    FOLD_IN_STEPS,
                )
        return out

    def _penalty(self, matrix: csr_matrix) -> Floats:
        """Each row's L2 weight, shape (rows,)."""
        return penalty(matrix, matrix.shape[1], self.regularization, self.unobserved)

    def _rotate(self) -> None:
        """Turn both sides so that the titles' Gram matrix is diagonal."""
        self.gram, basis = _basis(self.title_factors)
        self.title_factors = self.title_factors @ basis
        self.profile_factors = self.profile_factors @ basis

    def _cg(self, matrix: csr_matrix, of_profiles: bool) -> None:
        given, solved = self.title_factors, self.profile_factors
        if not of_profiles:
            given, solved = solved, given
        gram, basis = _basis(given)
        given, solved = np.ascontiguousarray(given @ basis), np.ascontiguousarray(solved @ basis)
        _conjugate_gradients(
            matrix.indptr,
            matrix.indices,
            matrix.data.astype(np.float32),
            given,
            solved,
            (self.unobserved * gram).astype(np.float32),
            self._penalty(matrix),
            self.steps,
        )
        self.title_factors, self.profile_factors = (given, solved) if of_profiles else (solved, given)

    def _exact(self, matrix: csr_matrix, given: Floats, solved: Floats) -> None:
        shared = np.asfortranarray(np.float32(self.unobserved) * (given.T @ given))
        penalty = self._penalty(matrix)
        diagonal = np.arange(self.factors)
        work = np.empty_like(shared, order="F")
        for row in range(matrix.shape[0]):
            cut = slice(matrix.indptr[row], matrix.indptr[row + 1])
            played, weight = given[matrix.indices[cut]], matrix.data[cut]
            if not len(weight):
                solved[row] = 0.0
                continue
            work[:] = shared
            work[diagonal, diagonal] += penalty[row]
            scaled = played if (weight == 1.0).all() else played * np.sqrt(weight)[:, None]
            blas.ssyrk(1.0, scaled.T, 1.0, work, lower=1, overwrite_c=1)
            _, solution, info = lapack.sposv(work, weight @ played, lower=1, overwrite_a=1, overwrite_b=1)
            if info:
                raise ValueError(f"row {row} has no solution (LAPACK info {info}); raise regularization")
            solved[row] = solution.ravel()


def first_factors(titles: int, factors: int, seed: int) -> Floats:
    """Where training starts, titles in the order of their ids: shape (titles, factors), rows of length about .1."""
    normal = np.random.default_rng(seed).standard_normal((titles, factors))
    return (0.1 / np.sqrt(factors) * normal).astype(np.float32)


def penalty(matrix: csr_matrix, columns: int, regularization: float, unobserved: float) -> Floats:
    """L2 weight of each row of `matrix`, which may hold some of the `columns` only: shape (rows,)."""
    weight = np.asarray(matrix.sum(axis=1)).ravel()
    return (regularization * (weight + unobserved * columns)).astype(np.float32)


def gram_of(factors: Floats) -> NDArray[np.float64]:
    """factors' factors in double precision, shape (d, d); those of blocks of rows add up to that of all."""
    return np.asarray(factors.T.astype(np.float64) @ factors.astype(np.float64))


def solve_block(
    matrix: csr_matrix,
    given: Floats,
    solved: Floats,
    gram: NDArray[np.float64],
    columns: int,
    regularization: float,
    unobserved: float,
    steps: int,
) -> Floats:
    """One side's half-epoch for a block of its rows, as `Ials` does it for all of them at once.

    Args:
        matrix: weights, shape (rows of the block, columns that are at hand). given: factors of these columns.
        solved: where the rows stand, shape (rows, d). gram: `gram_of` all columns' factors, at hand or not.
        columns: number of all of them.

    Returns:
        the rows' new factors, shape (rows, d), in the basis that `given` came in.
    """
    with single_threaded():
        value, basis = _eigen(gram)
        out = np.ascontiguousarray(solved @ basis)
        _conjugate_gradients(
            matrix.indptr,
            matrix.indices,
            matrix.data.astype(np.float32),
            np.ascontiguousarray(given @ basis),
            out,
            (unobserved * value).astype(np.float32),
            penalty(matrix, columns, regularization, unobserved),
            steps,
        )
        return np.asarray(out @ basis.T, dtype=np.float32)


def _basis(factors: Floats) -> tuple[Floats, Floats]:
    """Eigenvalues and eigenvectors of factors' factors: shapes (d,), (d, d)."""
    return _eigen(gram_of(factors))


def _eigen(gram: NDArray[np.float64]) -> tuple[Floats, Floats]:
    value, vector = np.linalg.eigh(gram)
    return np.maximum(value, 0.0).astype(np.float32), vector.astype(np.float32)


@njit(cache=True, fastmath=True, nogil=True)
def _conjugate_gradients(
    indptr: NDArray[np.int32],
    indices: NDArray[np.int32],
    weight: Floats,
    given: Floats,
    solved: Floats,
    shared: Floats,
    penalty: Floats,
    steps: int,
) -> None:
    """Improve each row x of `solved` towards (diag(shared) + penalty I + sum w y y') x = sum w y, in place.

    Args:
        given: y, shape (columns, d), in the basis in which what all rows share is diagonal. shared: shape (d,).
        penalty: shape (rows,).
    """
    d = given.shape[1]
    residual = np.empty(d, dtype=np.float32)
    direction = np.empty(d, dtype=np.float32)
    image = np.empty(d, dtype=np.float32)
    inverse = np.empty(d, dtype=np.float32)
    for row in range(len(indptr) - 1):
        x = solved[row]
        first, last = indptr[row], indptr[row + 1]
        if first == last:
            x[:] = 0.0
            continue
        for k in range(d):
            diagonal = shared[k] + penalty[row]
            inverse[k] = np.float32(1.0) / diagonal
            residual[k] = -diagonal * x[k]
        for j in range(first, last):
            y = given[indices[j]]
            dot = np.float32(0.0)
            for k in range(d):
                dot += y[k] * x[k]
            scale = weight[j] * (np.float32(1.0) - dot)
            for k in range(d):
                residual[k] += scale * y[k]
        size = np.float32(0.0)
        for k in range(d):
            direction[k] = inverse[k] * residual[k]
            size += residual[k] * direction[k]
        begun = size
        for _ in range(steps):
            if size <= np.float32(1e-12) * begun or size <= np.float32(1e-20):
                break
            for k in range(d):
                image[k] = (shared[k] + penalty[row]) * direction[k]
            for j in range(first, last):
                y = given[indices[j]]
                dot = np.float32(0.0)
                for k in range(d):
                    dot += y[k] * direction[k]
                scale = weight[j] * dot
                for k in range(d):
                    image[k] += scale * y[k]
            curve = np.float32(0.0)
            for k in range(d):
                curve += direction[k] * image[k]
            pace = size / curve
            bigger = np.float32(0.0)
            for k in range(d):
                x[k] += pace * direction[k]
                residual[k] -= pace * image[k]
                bigger += residual[k] * residual[k] * inverse[k]
            turn = bigger / size
            size = bigger
            for k in range(d):
                direction[k] = inverse[k] * residual[k] + turn * direction[k]
