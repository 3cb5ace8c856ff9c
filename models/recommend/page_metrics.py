"""Pages judged in two dimensions: N2DCG of what was to be found, genre KL to the history, what is on the page.

N2DCG as in the multi-carousel evaluation of Ferrari Dacrema et al. (2021): gain 1 / log2(row + col), rows and columns
from 1, a repeated title counts once, the ideal page has the targets in its best cells.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

SMOOTHING = 0.01
"""Share of the history's genres mixed into the page's, so that a genre not shown is no infinity (Steck 2018)."""


def gains(rows: int, columns: int) -> NDArray[np.float64]:
    """1 / log2(row + col), shape (rows, columns): the view probability where none was learned."""
    return np.asarray(1.0 / np.log2(np.arange(1, rows + 1)[:, None] + np.arange(1, columns + 1)[None, :]))


def n2dcg(pages: NDArray[np.integer], target: csr_matrix) -> NDArray[np.float64]:
    """N2DCG of each page, shape (pages,).

    Args:
        pages: shape (pages, R, C), titles by column of `target`, -1 where empty.

    Raises:
        ValueError: a page has no target.
    """
    flat = pages.reshape(len(pages), -1)
    once = _once(flat)
    wanted = target.astype(bool).toarray()
    targets = wanted.sum(axis=1)
    if len(targets) and targets.min() == 0:
        raise ValueError(f"{int((targets == 0).sum())} profiles have no target; leave them out before judging")
    gain = gains(*pages.shape[1:]).ravel()
    hit = np.take_along_axis(wanted, np.maximum(flat, 0), axis=1) & once
    ideal = np.cumsum(-np.sort(-gain))
    return np.asarray((hit * gain).sum(axis=1) / ideal[np.minimum(targets, len(gain)) - 1])


def hits(pages: NDArray[np.integer], target: csr_matrix) -> NDArray[np.float64]:
    """Share of the targets shown, of at most as many as there are cells: shape (pages,)."""
    flat = pages.reshape(len(pages), -1)
    wanted = target.astype(bool).toarray()
    found = (np.take_along_axis(wanted, np.maximum(flat, 0), axis=1) & _once(flat)).sum(axis=1)
    return np.asarray(found / np.minimum(wanted.sum(axis=1), flat.shape[1]))


def distinct(pages: NDArray[np.integer]) -> NDArray[np.int64]:
    """Different titles of each page."""
    return np.asarray(_once(pages.reshape(len(pages), -1)).sum(axis=1))


def genre_kl(
    pages: NDArray[np.integer], genres: NDArray[np.float64], history: NDArray[np.float64]
) -> NDArray[np.float64]:
    """KL(history || page) over genres in nats, shape (pages,); a title counts once wherever it stands.

    Args:
        genres: shape (titles, g), shares that sum to 1. history: shape (pages, g), shares of each history.
    """
    flat = pages.reshape(len(pages), -1)
    shown = (genres[np.maximum(flat, 0)] * _once(flat)[:, :, None]).sum(axis=1)
    total = shown.sum(axis=1, keepdims=True)
    q = np.divide(shown, total, out=np.zeros_like(shown), where=total > 0)
    q = (1.0 - SMOOTHING) * q + SMOOTHING * history
    ratio = np.log(np.divide(history, q, out=np.ones_like(q), where=(history > 0) & (q > 0)))
    return np.asarray((history * ratio).sum(axis=1))


def _once(flat: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Where a title stands for the first time, shape as given."""
    order = np.argsort(flat, axis=1, kind="stable")
    sorted_ = np.take_along_axis(flat, order, axis=1)
    new = np.ones(flat.shape, dtype=bool)
    new[:, 1:] = sorted_[:, 1:] != sorted_[:, :-1]
    out = np.zeros(flat.shape, dtype=bool)
    np.put_along_axis(out, order, new & (sorted_ >= 0), axis=1)
    return out
