"""What each profile makes of each genre, from what it chose and from what it was shown and left.

A profile takes show s as a Poisson process of mean m_s exp(theta . g_s): m_s is what everybody would do in its place
(of a search, the show's share of all searches; of a cell that was read, the take rate of its place times the show's
appeal), g_s the show's genres, theta the profile's likings, normal around 0 before anything is known. The mode of
theta is found by Newton steps. Only sums over shows of equal genres are needed, so that size does not grow with the
catalogue.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

STEPS = 6
BLOCK = 4096
"""Profiles at a time."""
MOST = 3.0
"""Largest liking, a factor of 20: Newton steps from little evidence stay in reach."""


def likings(
    took: NDArray[np.float64],
    searches: NDArray[np.float64],
    share: NDArray[np.float64],
    shown: csr_matrix,
    genres: NDArray[np.float64],
    precision: float,
) -> NDArray[np.float64]:
    """Modes of theta, shape (profiles, g).

    Args:
        took: sums of the genres of all that a profile took, shape (profiles, g). searches: how many of these were
            searched for, shape (profiles,). share: of each show among all searches, shape (titles,).
        shown: takes expected of the cells a profile read, by show, shape (profiles, titles).
        genres: shape (titles, g). precision: of the prior, one over its variance.
    """
    kinds, kind = np.unique(genres, axis=0, return_inverse=True)
    into = csr_matrix((np.ones(len(kind)), (np.arange(len(kind)), kind.ravel())), shape=(len(kind), len(kinds)))
    base = np.asarray(share @ into).ravel()
    out = np.zeros((len(took), genres.shape[1]))
    prior = precision * np.eye(genres.shape[1])
    outer = (kinds[:, :, None] * kinds[:, None, :]).reshape(len(kinds), -1)
    for first in range(0, len(took), BLOCK):
        cut = slice(first, first + BLOCK)
        cells = np.asarray((shown[cut] @ into).todense())
        theta = out[cut]
        for _ in range(STEPS):
            lift = np.exp(theta @ kinds.T)
            found = base * lift
            found *= (searches[cut] / np.maximum(found.sum(axis=1), 1e-12))[:, None]
            mean = cells * lift + found
            slope = took[cut] - mean @ kinds - precision * theta
            curve = (mean @ outer).reshape(len(theta), *prior.shape) + prior
            theta = np.clip(theta + np.linalg.solve(curve, slope[:, :, None])[:, :, 0], -MOST, MOST)
        out[cut] = theta
    return out
