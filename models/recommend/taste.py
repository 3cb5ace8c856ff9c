"""The genre a profile watches most: a column of its features, and the cell artwork is learned and chosen in."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.days import epoch_days
from models.frames import places
from models.recommend.interactions import genre_matrix, shows

EVERYBODY = "*"
"""Cell of a profile without a play."""


def top_genres(plays: pd.DataFrame, titles: pd.DataFrame, until: int) -> pd.Series:
    """Genre with most playing time up to epoch day `until`, by profile_id; ties go to the first by name.

    A show's time counts for its genres, twice for the main one. Failures count too: the time was watched.
    """
    by_day = TasteByDay(plays, titles)
    row = by_day.watched_until(until)
    seen = row.sum(axis=1) > 0
    names = np.array(by_day.genres, dtype=object)
    return pd.Series(names[row[seen].argmax(axis=1)], index=by_day.profiles[seen], dtype=object)


class TasteByDay:
    """Playing time by profile and genre, cumulated by day, so that a decision is read with what was known before it."""

    def __init__(self, plays: pd.DataFrame, titles: pd.DataFrame) -> None:
        catalogue = shows(titles)
        self.genres, weights = genre_matrix(catalogue)
        if not self.genres:
            raise ValueError(f"none of the {len(catalogue)} shows has a genre; record title needs at least one each")
        self.profiles: NDArray[np.object_] = np.unique(plays["profile_id"].astype(str).to_numpy()).astype(object)
        show = places(catalogue["title_id"], plays["show_id"])
        who = places(self.profiles, plays["profile_id"])
        watched = plays["watched_ms"].to_numpy(dtype=np.int64)
        day = epoch_days(plays["play_date"])
        good = (show >= 0) & (watched > 0)
        order = np.flatnonzero(good)[np.lexsort((watched[good], show[good], who[good], day[good]))]
        self._who, self._day = who[order], day[order]
        self._time = weights[show[order]] * watched[order, None].astype(np.float64)

    def watched_until(self, until: int) -> NDArray[np.float64]:
        """Playing time (ms) up to and with epoch day `until`, shape (profiles, genres)."""
        out = np.zeros((len(self.profiles), len(self.genres)))
        upto = int(np.searchsorted(self._day, until, side="right"))
        np.add.at(out, self._who[:upto], self._time[:upto])
        return out

    def cells(self, profile_ids: pd.Series, before: NDArray[np.int64]) -> NDArray[np.object_]:
        """Top genre of each profile from plays before each epoch day, shape (n,); EVERYBODY without any."""
        who = places(self.profiles, profile_ids)
        out = np.full(len(who), EVERYBODY, dtype=object)
        names = np.array(self.genres, dtype=object)
        for day in np.unique(before).tolist():
            watched = self.watched_until(day - 1)
            mine = (before == day) & (who >= 0)
            rows = watched[who[mine]]
            out[np.flatnonzero(mine)] = np.where(rows.sum(axis=1) > 0, names[rows.argmax(axis=1)], EVERYBODY)
        return out
