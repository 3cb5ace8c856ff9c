"""From plays to the evidence every recommender learns from: who watched which show, when, how much."""

from __future__ import annotations

from datetime import date

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.days import epoch_day, epoch_days
from models.frames import places

COLUMNS = ("profile_id", "title_id", "day", "country", "device", "weight", "searched")


def from_plays(plays: pd.DataFrame, *, until: date | None = None) -> pd.DataFrame:
    """Chosen shows as interactions: profile_id, title_id (the show), day (epoch days), country, device, weight,
    searched.

    A quality play is evidence of weight 1, growing to 2 with the share watched. Of a play that playback cut short
    (`censored`) the choice is known and the share is not: it counts with the mean share of those that were not cut
    short, or with its own where that is more. Any other play that is no quality play is left out. Rows are sorted by
    every column, so that float sums do not depend on the order the plays came in. `searched`: it came from no cell of
    a page.

    Args:
        plays: record `play`.
        until: last play_date taken; None takes all.
    """
    if until is not None:
        plays = plays[epoch_days(plays["play_date"]) <= epoch_day(until)]
    quality, cut = plays["quality_play"].to_numpy(dtype=bool), plays["censored"].to_numpy(dtype=bool)
    share = np.clip(plays["watched_share"].to_numpy(dtype=np.float64), 0.0, 1.0)
    whole = np.sort(share[quality & ~cut])  # in a fixed order, or the sum would depend on that of the rows
    share = np.where(cut, np.maximum(share, whole.mean() if len(whole) else 0.0), share)
    good = plays[quality | cut]
    frame = pd.DataFrame(
        {
            "profile_id": good["profile_id"].astype(str).to_numpy(dtype=object),
            "title_id": good["show_id"].astype(str).to_numpy(dtype=object),
            "day": epoch_days(good["play_date"]),
            "country": good["country"].astype(str).to_numpy(dtype=object),
            "device": good["device"].astype(str).to_numpy(dtype=object),
            "weight": 1.0 + share[quality | cut],
            "searched": good["impression_id"].isna().to_numpy() if "impression_id" in good else True,
        }
    )
    return frame.sort_values(list(COLUMNS), kind="mergesort", ignore_index=True)


def decay(days: NDArray[np.int64], today: int, half_life_days: float) -> NDArray[np.float64]:
    """Weight 1 today, one half `half_life_days` ago. Future days are refused, they would be a leak.

    Raises:
        ValueError: a day lies after `today`.
    """
    if len(days) and int(days.max()) > today:
        raise ValueError(f"interaction on epoch day {int(days.max())} is after the training day {today}")
    return np.power(0.5, (today - days) / half_life_days)


def shows(titles: pd.DataFrame) -> pd.DataFrame:
    """What a home page can show: films and series, sorted by id, one row each.

    Columns: title_id, kind, genres (tuple, main one first), launch_day, maturity.
    """
    own = titles[titles["kind"] != "episode"].sort_values("title_id").drop_duplicates("title_id")
    return pd.DataFrame(
        {
            "title_id": own["title_id"].astype(str).to_numpy(dtype=object),
            "kind": own["kind"].astype(str).to_numpy(dtype=object),
            "name": own["name"].astype(str).to_numpy(dtype=object),
            "genres": pd.Series([tuple(str(g) for g in genres) for genres in own["genres"]], dtype=object),
            "launch_day": epoch_days(own["launch_date"]),
            "maturity": own["maturity"].to_numpy(dtype=np.int64),
        }
    )


def genre_matrix(catalogue: pd.DataFrame) -> tuple[list[str], NDArray[np.float64]]:
    """Genres of every show as weights summing to 1, the main genre twice the others: (names, shape (shows, genres))."""
    names = sorted({genre for genres in catalogue["genres"] for genre in genres})
    column = {genre: i for i, genre in enumerate(names)}
    matrix = np.zeros((len(catalogue), max(len(names), 1)))
    for row, genres in enumerate(catalogue["genres"]):
        for place, genre in enumerate(genres):
            matrix[row, column[genre]] += 2.0 if place == 0 else 1.0
    total = matrix.sum(axis=1, keepdims=True)
    return names, np.divide(matrix, total, out=np.zeros_like(matrix), where=total > 0)


def genre_counts(
    interactions: pd.DataFrame, catalogue: pd.DataFrame, genres: NDArray[np.float64], profiles: list[str]
) -> NDArray[np.float64]:
    """Weighted plays by profile and genre, shape (profiles, genres); profiles without plays have a row of zeros."""
    who = places(profiles, interactions["profile_id"])
    what = places(catalogue["title_id"], interactions["title_id"])
    known = (who >= 0) & (what >= 0)
    counts = np.zeros((len(profiles), genres.shape[1]))
    weight = interactions["weight"].to_numpy()[known]
    np.add.at(counts, who[known], genres[what[known]] * weight[:, None])
    return counts
