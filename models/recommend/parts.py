"""The parts of a ranking: popularity, country, factors, taste, newness, each a number per profile and show."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from models.frames import places
from models.recommend.appeal import appeal
from models.recommend.histories import Histories
from models.recommend.ials import Ials
from models.recommend.interactions import decay, genre_counts, genre_matrix
from models.recommend.likings import likings
from models.recommend.linear import Edlae, played
from models.recommend.popularity import HALF_LIFE_DAYS
from models.recommend.protocol import single_threaded

NAMES = ("popularity", "factors", "linear", "genre", "country", "new", "unplayed", "appeal", "appeal_there")
PERSONAL = ("factors", "linear", "genre", "country", "appeal_there")
"""Those that differ from profile to profile."""
PRECISION = 0.5
"""Of the prior on likings of genres: a liking of 1.4, four times as many takes, is one standard deviation."""
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
            by_place: see appeal.appeal.
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
        left["country"], right["country"] = _country_part(interactions, plays, show, counts, profiles)
        past = read[read["day"] < today] if read is not None else None
        shown = _appeal_parts(left, right, past, interactions, titles, profiles, by_place)
        left["genre"], right["genre"] = _genre_part(interactions, catalogue, profiles, shown)
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


def _genre_part(
    interactions: pd.DataFrame, catalogue: pd.DataFrame, profiles: NDArray[np.object_], shown: csr_matrix | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Likings (likings.py). Without rows of pages every play is taken for a search: `shown` is None."""
    _, genres = genre_matrix(catalogue)
    show, who = places(catalogue["title_id"], interactions["title_id"]), places(profiles, interactions["profile_id"])
    took = genre_counts(interactions.assign(weight=1.0), catalogue, genres, profiles.tolist())
    free = show >= 0
    if shown is None:
        shown = csr_matrix((len(profiles), len(genres)))
    else:
        free &= interactions["searched"].to_numpy(dtype=bool)
    share = np.bincount(show[free], minlength=len(genres)) + 1.0
    searches = np.bincount(who[free], minlength=len(profiles)).astype(np.float64)
    found = likings(took, searches, share / share.sum(), shown, genres, PRECISION)
    return found, _scaled(found, genres)


def _appeal_parts(
    left: dict[str, NDArray[np.float64]],
    right: dict[str, NDArray[np.float64]],
    read: pd.DataFrame | None,
    interactions: pd.DataFrame,
    titles: NDArray[np.object_],
    profiles: NDArray[np.object_],
    by_place: bool,
) -> csr_matrix | None:
    """Add what pages told (appeal.py) of a show, also in the profile's country; gives the takes expected."""
    left["appeal"] = np.ones((len(profiles), 1))
    if read is None or not len(read):
        right["appeal"] = np.zeros((len(titles), 1))
        left["appeal_there"], right["appeal_there"] = np.zeros((len(profiles), 1)), np.zeros((len(titles), 1))
        return None
    home = _home(interactions)
    told = appeal(read, titles, profiles, home, by_place=by_place)
    right["appeal"] = told.title[:, None]
    left["appeal_there"] = _one_hot(places(told.countries, home.reindex(profiles)), len(told.countries))
    right["appeal_there"] = told.country
    return told.expected


def _home(interactions: pd.DataFrame) -> pd.Series:
    """Latest country by profile_id."""
    latest = interactions.sort_values(["profile_id", "day", "country"], kind="mergesort").drop_duplicates(
        "profile_id", keep="last"
    )
    return latest.set_index("profile_id")["country"]


def _one_hot(code: NDArray[np.int64], size: int) -> NDArray[np.float64]:
    """Shape (n, size); a row of zeros for -1."""
    out = np.zeros((len(code), size))
    out[np.flatnonzero(code >= 0), code[code >= 0]] = 1.0
    return out


def _country_part(
    interactions: pd.DataFrame,
    plays: NDArray[np.float64],
    show: NDArray[np.int64],
    counts: NDArray[np.float64],
    profiles: NDArray[np.object_],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Log of a show's share in a country over its share everywhere, shrunk; a profile has its latest country."""
    countries = sorted(set(interactions["country"]))
    index = pd.Index(countries)
    code = places(index, interactions["country"])
    table = np.zeros((len(countries), len(counts)))
    known = show >= 0
    np.add.at(table, (code[known], show[known]), plays[known])
    share = table.sum(axis=1, keepdims=True) / max(table.sum(), 1e-12)
    expected = share * counts
    ratio = np.log((table + expected * 0.0 + 5.0 * share) / (expected + 5.0 * share + 1e-12)).T
    left = _one_hot(places(index, _home(interactions).reindex(profiles)), len(countries))
    return left, _scaled(left, ratio)
