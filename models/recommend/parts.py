"""The parts of a ranking: popularity, context, factors, taste, newness, each a number per profile and show."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.frames import places
from models.recommend.histories import Histories
from models.recommend.ials import Ials
from models.recommend.interactions import decay, genre_counts, genre_matrix
from models.recommend.leanings import Cells, Leanings, Searches, leanings
from models.recommend.linear import Edlae, played
from models.recommend.popularity import CONTEXT, HALF_LIFE_DAYS, beside_all
from models.recommend.protocol import single_threaded

NAMES = (
    "popularity", "factors", "linear", "genre", "country", "device", "new", "unplayed", "appeal", "appeal_country",
    "appeal_device",
)  # fmt: skip
PERSONAL = ("factors", "linear", "genre", "country", "device", "appeal_country", "appeal_device")
"""Those that differ from profile to profile."""
LINEAR_RANK = 48
"""Columns EDLAE's weights are cut to, so that they can be served as vectors."""
NEW_DAYS = 7.0
"""Days in which newness falls to 1/e."""


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything a blend weighs, as two towers per part: value(profile, show) = left[profile] . right[show].

    Attributes:
        profiles: sorted ids of the training data; titles: sorted ids of the catalogue.
        left, right: by part name, shapes (profiles, d) and (titles, d).
        launch_day: shape (titles,).
        today: the day the ranking is for, the one after the training data.
    """

    profiles: NDArray[np.object_]
    titles: NDArray[np.object_]
    left: dict[str, NDArray[np.float64]]
    right: dict[str, NDArray[np.float64]]
    launch_day: NDArray[np.int64]
    today: int

    @classmethod
    def fit(
        cls,
        interactions: pd.DataFrame,
        catalogue: pd.DataFrame,
        ials: Ials,
        edlae: Edlae,
        today: int,
        half_life_days: float = HALF_LIFE_DAYS,
        read: pd.DataFrame | None = None,
        by_place: bool = True,
    ) -> Self:
        """Fit every part on interactions before `today`.

        Args:
            catalogue: see interactions.shows.
            ials, edlae: fitted here.
            read: rows of pages, see choices.rows_read; those before `today` count. Without any, what pages tell is 0.
            by_place: see leanings.Cells.
        """
        titles = catalogue["title_id"].to_numpy(dtype=object)
        histories = Histories.from_pairs(interactions)
        profiles = histories.profiles
        plays = decay(interactions["day"].to_numpy(dtype=np.int64), today - 1, half_life_days)
        show = places(titles, interactions["title_id"])
        counts = np.bincount(show[show >= 0], weights=plays[show >= 0], minlength=len(titles)).astype(np.float64)
        age = today - catalogue["launch_day"].to_numpy(dtype=np.int64)
        constant = np.ones((len(profiles), 1))
        left = {"popularity": constant, "new": constant, "unplayed": constant}
        right = {
            "popularity": _standard(np.log1p(counts))[:, None],
            "new": np.exp(-np.maximum(age, 0) / NEW_DAYS)[:, None],
            "unplayed": (counts == 0).astype(np.float64)[:, None],
        }
        left["factors"], right["factors"] = _factor_part(ials.fit(histories), histories, titles)
        left["linear"], right["linear"] = _linear_part(edlae.fit(histories), histories, titles)
        for kind in CONTEXT:
            left[kind], right[kind] = _context_part(kind, interactions, plays, show, len(titles), profiles)
        past = read[read["day"] < today] if read is not None else None
        told = _leanings(past, interactions, catalogue, profiles, by_place)
        left["appeal"], right["appeal"] = constant, told.appeal[:, None]
        for kind, (values, added) in told.there.items():
            left[f"appeal_{kind}"] = _one_hot(places(values, _usual(kind, interactions).reindex(profiles)), len(values))
            right[f"appeal_{kind}"] = added.T
        left["genre"], right["genre"] = told.likings, _scaled(told.likings, genre_matrix(catalogue)[1])
        return cls(profiles, titles, left, right, catalogue["launch_day"].to_numpy(dtype=np.int64), today)

    def values(self, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.float64]:
        """Parts of pairs: profile rows (n,; -1 for unknown) by show columns (n, c) -> shape (n, c, parts)."""
        out = np.zeros((*columns.shape, len(NAMES)))
        for i, name in enumerate(NAMES):
            if name not in PERSONAL:
                out[:, :, i] = self.right[name][columns, 0]
            elif len(self.profiles):
                tower = np.where(rows[:, None] >= 0, self.left[name][np.maximum(rows, 0)], 0.0)
                out[:, :, i] = np.einsum("nd,ncd->nc", tower, self.right[name][columns])
        return out


class Kept:
    """Parts of the newest days that were asked for, so that origins that roll on need not fit again what the origin
    before them has fitted. One recipe, one catalogue and one log, of which an origin sees the days before it.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._parts: dict[int, Parts] = {}

    def of(self, today: int, fit: Callable[[], Parts]) -> Parts:
        """Those for `today`, fitted if they are not at hand."""
        found = self._parts.get(today) or fit()
        self._parts[today] = found
        newest = sorted(self._parts, reverse=True)[: self._most]
        self._parts = {day: self._parts[day] for day in newest}
        return found


def _standard(values: NDArray[np.float64]) -> NDArray[np.float64]:
    spread = values.std() if len(values) else 0.0
    return (values - values.mean()) / spread if spread > 0 else np.zeros_like(values)


def _scaled(left: NDArray[np.float64], right: NDArray[np.float64]) -> NDArray[np.float64]:
    """`right` divided so that left . right has standard deviation 1 over all pairs: weights become comparable."""
    if not len(left) or not len(right):
        return right
    with single_threaded():
        centred = right - right.mean(axis=0)
        second = (left.T @ left / len(left)) * (centred.T @ centred / len(right))
    spread = float(np.sqrt(max(second.sum(), 0.0)))
    return centred / spread if spread > 0 else np.zeros_like(right)


def _factor_part(
    ials: Ials, histories: Histories, titles: NDArray[np.object_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    left = ials.fold_in_factors(histories).astype(np.float64)
    return left, _scaled(left, _aligned(ials.titles, ials.title_factors, titles))


def _linear_part(
    edlae: Edlae, histories: Histories, titles: NDArray[np.object_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    towers = edlae.towers(LINEAR_RANK)
    left = np.asarray(played(histories) @ towers[0], dtype=np.float64)
    return left, _scaled(left, _aligned(edlae.titles, towers[1], titles))


def _aligned(
    known: NDArray[np.object_], vectors: NDArray[np.float32], titles: NDArray[np.object_]
) -> NDArray[np.float64]:
    """Vectors of `known` titles in the order of `titles`; zeros for the others."""
    place = places(known, titles)
    out = np.zeros((len(titles), vectors.shape[1]))
    out[place >= 0] = vectors[place[place >= 0]]
    return out


def _leanings(
    read: pd.DataFrame | None,
    interactions: pd.DataFrame,
    catalogue: pd.DataFrame,
    profiles: NDArray[np.object_],
    by_place: bool,
) -> Leanings:
    """See leanings.py. Without rows of pages every play is taken for a search."""
    titles = catalogue["title_id"].to_numpy(dtype=object)
    _, genres = genre_matrix(catalogue)
    took = genre_counts(interactions.assign(weight=1.0), catalogue, genres, profiles.tolist())
    show, who = places(titles, interactions["title_id"]), places(profiles, interactions["profile_id"])
    free = show >= 0
    if read is not None and len(read):
        free &= interactions["searched"].to_numpy(dtype=bool)
        cells = Cells.of(read, profiles, titles, by_place=by_place)
    else:
        none = np.zeros(0, dtype=np.int64)
        cells = Cells(none, none, none, np.zeros(0))
    days = np.sort(interactions["day"].to_numpy(dtype=np.int64)[free])
    before = np.searchsorted(days, catalogue["launch_day"].to_numpy(dtype=np.int64))
    searches = Searches(who[free], show[free], 1.0 - before / max(len(days), 1))
    home = pd.DataFrame({kind: _usual(kind, interactions).reindex(profiles) for kind in CONTEXT})
    return leanings(cells, searches, home, genres, took)


def _usual(kind: str, interactions: pd.DataFrame) -> pd.Series:
    """Country of the latest play, or the device of most plays, by profile_id; ties go to the later name."""
    if kind == "country":
        order = interactions[["profile_id", "day", kind]]
    else:
        order = interactions.groupby(["profile_id", kind], as_index=False).size()
        order = order[["profile_id", "size", kind]]
    latest = order.sort_values(list(order.columns), kind="mergesort").drop_duplicates("profile_id", keep="last")
    return latest.set_index("profile_id")[kind]


def _one_hot(code: NDArray[np.int64], size: int) -> NDArray[np.float64]:
    """Shape (n, size); a row of zeros for -1."""
    out = np.zeros((len(code), size))
    out[np.flatnonzero(code >= 0), code[code >= 0]] = 1.0
    return out


def _context_part(
    kind: str,
    interactions: pd.DataFrame,
    plays: NDArray[np.float64],
    show: NDArray[np.int64],
    titles: int,
    profiles: NDArray[np.object_],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What a country or a device makes of a show; a profile is where it usually is."""
    values = sorted(set(interactions[kind]))
    code, known = places(values, interactions[kind]), show >= 0
    ratio = beside_all(code[known], show[known], plays[known], len(values), titles)
    left = _one_hot(places(values, _usual(kind, interactions).reindex(profiles)), len(values))
    return left, _scaled(left, ratio.T)
