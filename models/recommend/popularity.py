"""Decayed popularity: the floor every recommender must beat, and what serves when none does; by context, for those of
whom nothing else is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.frames import places
from models.recommend.interactions import decay
from models.recommend.protocol import blocks, excluded_matrix, top_k
from models.recommend.ratios import log_ratios

HALF_LIFE_DAYS = 7.0
CONTEXT = ("country", "device")
BEGUN_HALF_LIFE_DAYS = 28.0


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


def log_plays(
    interactions: pd.DataFrame, titles: Sequence[str] | NDArray[np.object_], today: int
) -> NDArray[np.float64]:
    """Log of decayed plays plus one, shape (titles,), in their order; interactions none after `today` - 1."""
    known, counts = decayed_counts(interactions, today - 1)
    place = places(known, titles)
    return np.log1p(np.where(place >= 0, counts[np.maximum(place, 0)], 0.0) if len(known) else np.zeros(len(titles)))


@dataclass(frozen=True, slots=True, eq=False)
class Contextual:
    """What is begun where somebody is: by everybody, times what the country and the device each make of a show.

    Beginnings count, not plays: of whom nothing is known begins something, and a series is played once an episode. They
    are forgotten slowly, as a hit that all others have begun still is one to a newcomer. Beginnings of one country on
    one device are few, so the two are told apart as in a log-linear model without interaction: each ratio is what was
    begun there over what would be if all shared one taste (ratios.py).

    Attributes:
        everywhere: log of decayed beginnings plus one, shape (shows,).
        ratio: by kind of context and its value, log ratios of shape (shows,).
    """

    everywhere: NDArray[np.float64]
    ratio: dict[str, dict[str, NDArray[np.float64]]]

    @classmethod
    def of(cls, interactions: pd.DataFrame, titles: Sequence[str] | NDArray[np.object_], today: int) -> Self:
        """Count.

        Args:
            interactions: from_plays, none after `today` - 1.
            titles: ids of the shows, in the order of the results.
        """
        order = ["profile_id", "title_id", "day"]
        begun = interactions.sort_values(order, kind="mergesort").drop_duplicates(order[:2])
        show = places(titles, begun["title_id"])
        begun, show = begun[show >= 0], show[show >= 0]
        weight = decay(begun["day"].to_numpy(dtype=np.int64), today - 1, BEGUN_HALF_LIFE_DAYS)
        counts = np.bincount(show, weight, len(titles)).astype(np.float64)
        ratio = {}
        for kind in CONTEXT:
            values = sorted(set(begun[kind]))
            told = beside_all(places(values, begun[kind]), show, weight, len(values), len(titles))
            ratio[kind] = dict(zip(values, told, strict=True))
        return cls(np.log1p(counts), ratio)

    def scores(self, people: pd.DataFrame) -> NDArray[np.float64]:
        """Log beginnings to rank by, shape (profiles, shows), for columns country and device; a column that is missing
        and a value nobody played in say nothing."""
        out = np.tile(self.everywhere, (len(people), 1))
        for kind in CONTEXT:
            if kind in people.columns and len(people):
                code, values = pd.factorize(people[kind].astype(str))
                none = np.zeros(len(self.everywhere))
                out += np.stack([self.ratio[kind].get(str(value), none) for value in values])[code]
        return out


def beside_all(
    code: NDArray[np.int64], show: NDArray[np.int64], weight: NDArray[np.float64], values: int, titles: int
) -> NDArray[np.float64]:
    """Log ratios of the plays of a show in each value of a context to what all values together promise.

    Args:
        code, show, weight: of every play: place of the value and of the show, and what it counts; shape (plays,).

    Returns:
        Shape (values, titles).
    """
    table = np.bincount(code * titles + show, weight, values * titles).astype(np.float64).reshape(values, titles)
    expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / max(float(table.sum()), 1e-12)
    return log_ratios(table, expected)
