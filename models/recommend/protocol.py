"""What a recommender is: three lines of protocol that every implementation and its contract test share."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Protocol, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from models.frames import places
from models.recommend.histories import Histories
from models.recommend.strong import ranked

BLOCK = 1024
"""Profiles scored at a time: bounds memory at BLOCK x titles doubles."""


class Recommender(Protocol):
    """Learns from interactions, ranks titles for profiles."""

    name: str

    def fit(self, interactions: pd.DataFrame) -> Self:
        """Learn from interactions (see interactions.from_plays); a second fit forgets the first."""
        ...

    def recommend(self, profiles: Sequence[str], k: int, exclude: pd.DataFrame | None = None) -> pd.DataFrame:
        """The best `k` titles of every profile: profile_id, title_id, rank (from 0), score; best first.

        Args:
            exclude: pairs profile_id, title_id never to be returned (what the profile has seen).
        """
        ...


class Scorer(Protocol):
    """A source of candidates: learns from histories, scores every title for any history in one call.

    There is no other way to score a profile: one that was trained on is folded in like a new or a changed one, so that
    serving needs the model and a history, never the training data.
    """

    name: str
    titles: NDArray[np.object_]

    def fit(self, histories: Histories) -> Self:
        """Learn; a second fit forgets the first."""
        ...

    def fold_in(self, histories: Histories) -> NDArray[np.float32]:
        """Finite scores, shape (profiles, titles of the model); titles it does not know are passed over."""
        ...


def single_threaded() -> AbstractContextManager[object]:
    """Pins BLAS and OpenMP to one thread: sums in one order, the same bits on every rerun."""
    pinned: AbstractContextManager[object] = threadpool_limits(limits=1)
    return pinned


def top_k(
    scores: NDArray[np.float64],
    profiles: Sequence[str],
    titles: NDArray[np.object_],
    k: int,
    excluded: NDArray[np.bool_] | None = None,
) -> pd.DataFrame:
    """The `k` best titles of every row of `scores` (profiles x titles); ties go to the smaller title id.

    `titles` must be sorted. Titles scored minus infinity or excluded are never returned.
    """
    masked = np.where(excluded, -np.inf, scores) if excluded is not None else scores
    order = ranked(masked, None, k)
    value = np.take_along_axis(masked, order, axis=1)
    keep = np.isfinite(value)
    row, rank = np.nonzero(keep)
    return pd.DataFrame(
        {
            "profile_id": np.asarray(profiles, dtype=object)[row],
            "title_id": titles[order[keep]],
            "rank": rank.astype(np.int64),
            "score": value[keep],
        }
    )


def excluded_matrix(
    exclude: pd.DataFrame | None, profiles: Sequence[str], titles: NDArray[np.object_]
) -> NDArray[np.bool_] | None:
    """Excluded pairs as a mask, shape (profiles, titles); unknown ids are no harm."""
    if exclude is None:
        return None
    who = places(profiles, exclude["profile_id"])
    what = places(titles, exclude["title_id"])
    mask = np.zeros((len(profiles), len(titles)), dtype=bool)
    known = (who >= 0) & (what >= 0)
    mask[who[known], what[known]] = True
    return mask


def blocks(profiles: Sequence[str]) -> list[Sequence[str]]:
    """`profiles` in pieces of `BLOCK`."""
    return [profiles[i : i + BLOCK] for i in range(0, len(profiles), BLOCK)]
