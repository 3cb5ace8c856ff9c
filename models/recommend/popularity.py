"""Decayed popularity: the floor every recommender must beat, and what serves when none does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.recommend.interactions import decay
from models.recommend.protocol import blocks, excluded_matrix, top_k

HALF_LIFE_DAYS = 7.0


def decayed_counts(
    interactions: pd.DataFrame, today: int, half_life_days: float = HALF_LIFE_DAYS
) -> tuple[NDArray[np.object_], NDArray[np.float64]]:
    """Plays of every title, each halved every `half_life_days`: (sorted title ids, counts)."""
    titles, code = np.unique(interactions["title_id"].to_numpy(dtype=object).astype(str), return_inverse=True)
    weight = decay(interactions["day"].to_numpy(dtype=np.int64), today, half_life_days)
    return titles.astype(object), np.bincount(code, weights=weight, minlength=len(titles)).astype(np.float64)


class DecayedPopularity:
    """Ranks titles by plays, a play counting half after `half_life_days`; the same list for everybody."""

    name = "decayed_popularity"

    def __init__(self, half_life_days: float = HALF_LIFE_DAYS) -> None:
        if half_life_days <= 0:
            raise ValueError(f"half_life_days is {half_life_days}, must be positive")
        self.half_life_days = half_life_days
        self.titles: NDArray[np.object_] = np.zeros(0, dtype=object)
        self.counts: NDArray[np.float64] = np.zeros(0)

    def fit(self, interactions: pd.DataFrame) -> Self:
        """Count; today is the last day of the interactions."""
        today = int(interactions["day"].max()) if len(interactions) else 0
        self.titles, self.counts = decayed_counts(interactions, today, self.half_life_days)
        return self

    def recommend(self, profiles: Sequence[str], k: int, exclude: pd.DataFrame | None = None) -> pd.DataFrame:
        """See `Recommender.recommend`; a profile never seen before gets the same list."""
        pieces = [
            top_k(
                np.broadcast_to(self.counts, (len(block), len(self.counts))),
                block,
                self.titles,
                k,
                excluded_matrix(exclude, block, self.titles),
            )
            for block in blocks(profiles)
        ]
        return pd.concat(pieces, ignore_index=True) if pieces else top_k(np.zeros((0, 0)), [], self.titles, k)
