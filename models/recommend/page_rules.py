"""Hard rules: who may see what on a day, and which plays may be used. Candidates, rows, pins, the fallback and the
online step all ask here; no score and no pin overrides it.

Maturity rating, kids profiles, country, licence window, launch and withdrawn titles are the service's; "not interested"
and removal from history are the profile's and act at the next page. A profile that opted out gets what a new profile of
its country and device would get, and its plays train nothing; an erased one gets no page.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.days import epoch_day, epoch_days
from models.frames import places

NOT_INTERESTED = "not_interested"
REMOVED = "removed_from_history"
FOR_EVER = np.iinfo(np.int64).max // 4
CHOICES = ("profile_id", "title_id", "choice", "active", "chosen_at")


def no_choices() -> pd.DataFrame:
    """Record profile_choice without a row."""
    return pd.DataFrame({name: pd.Series(dtype=object) for name in CHOICES})


def flags(frame: pd.DataFrame, name: str) -> NDArray[np.bool_]:
    """A boolean column; false where the column is missing or null, as rows of an older version leave it."""
    if name not in frame.columns:
        return np.zeros(len(frame), dtype=bool)
    return np.array([value is not None and value == True for value in frame[name]], dtype=bool)  # noqa: E712 - NA


def active(choices: pd.DataFrame, choice: str) -> pd.DataFrame:
    """Rows of a choice that stand: the newest of each profile and title, unless it takes the choice back."""
    mine = choices[choices["choice"] == choice]
    newest = mine.sort_values(["profile_id", "title_id", "chosen_at"], kind="mergesort")
    newest = newest.drop_duplicates(["profile_id", "title_id"], keep="last")
    return newest[flags(newest, "active")]


def silent(profiles: pd.DataFrame) -> set[str]:
    """Profiles of which nothing may be learned: opted out, or erased."""
    return set(profiles.loc[flags(profiles, "opted_out") | flags(profiles, "erased"), "profile_id"])


def usable_plays(
    plays: pd.DataFrame, profiles: pd.DataFrame, titles: pd.DataFrame, choices: pd.DataFrame
) -> pd.DataFrame:
    """Plays that may say something: none of profiles that opted out or are erased, none removed from history.

    Args:
        plays: record `play`; of its times only started_at is used, play_date where that is missing (a play of the day
            on which its title was removed counts as removed).
        choices: record profile_choice; an episode stands for its series.
    """
    keep = ~plays["profile_id"].isin(silent(profiles)).to_numpy()
    removed = active(choices, REMOVED)
    if len(removed) and len(plays):
        shown = of_show(removed["title_id"], titles)
        until = (
            pd.Series(
                pd.to_datetime(removed["chosen_at"], utc=True).to_numpy(),
                index=pd.MultiIndex.from_arrays([removed["profile_id"].to_numpy(dtype=object), shown]),
            )
            .groupby(level=[0, 1])
            .max()
        )
        pairs = pd.MultiIndex.from_arrays([plays["profile_id"], plays["show_id"]])
        limit = pd.to_datetime(until.reindex(pairs).to_numpy(), utc=True)
        if "started_at" in plays.columns:
            at = pd.DatetimeIndex(pd.to_datetime(plays["started_at"], utc=True))
        else:
            at = pd.DatetimeIndex(pd.to_datetime(plays["play_date"], utc=True))
        keep &= ~np.asarray((at <= limit) & ~limit.isna())
    return plays[keep]


def of_show(title_ids: pd.Series, titles: pd.DataFrame) -> NDArray[np.object_]:
    """The show of every title; a title nobody knows is its own."""
    known = titles.drop_duplicates("title_id").set_index("title_id")["show_id"]
    found = known.reindex(title_ids)
    return np.where(found.isna(), title_ids.to_numpy(dtype=object), found.to_numpy(dtype=object))


@dataclass(frozen=True, slots=True)
class Rules:
    """What may be shown to whom on a day.

    Attributes:
        on_offer: shape (shows,), out, licensed and not withdrawn. maturity (years), kids: shape (shows,).
        country: place of a country in `in_country`; in_country: shape (countries + 1, shows), the last row for
            countries no title names.
        people: columns profile_id, country, maturity_limit, kids; the profiles by their place in `allowed`.
        not_for: (profile place, show) pairs of "not interested", sorted by profile.
    """

    on_offer: NDArray[np.bool_]
    maturity: NDArray[np.int64]
    kids: NDArray[np.bool_]
    country: dict[str, int]
    in_country: NDArray[np.bool_]
    people: pd.DataFrame
    not_for: NDArray[np.int64]

    @classmethod
    def of(
        cls,
        catalogue: pd.DataFrame,
        titles: pd.DataFrame,
        profiles: pd.DataFrame,
        choices: pd.DataFrame,
        page_date: date,
    ) -> Rules:
        """Read the rules off the records.

        Args:
            catalogue: interactions.shows(titles); the order of shows. profiles: in the order of `allowed`.
        """
        today = epoch_day(page_date)
        rows = titles.drop_duplicates("title_id").set_index("title_id").reindex(catalogue["title_id"])
        opens = _days(rows, "licensed_from_date", -FOR_EVER)
        closes = _days(rows, "licensed_until_date", FOR_EVER)
        launch = catalogue["launch_day"].to_numpy(dtype=np.int64)
        on_offer = (launch <= today) & (opens <= today) & (today <= closes) & ~flags(rows, "hidden")
        lists = [_list(value) for value in rows["countries"]] if "countries" in rows.columns else [[]] * len(rows)
        names = sorted({name for row in lists for name in row})
        in_country = np.array([[not row or name in row for row in lists] for name in names] + [[not r for r in lists]])
        people = pd.DataFrame(
            {
                "profile_id": profiles["profile_id"].astype(str).to_numpy(dtype=object),
                "country": profiles["country"].astype(str).to_numpy(dtype=object),
                "maturity_limit": profiles["maturity_limit"].to_numpy(dtype=np.int64),
                "kids": flags(profiles, "kids"),
            }
        )
        refused = active(choices, NOT_INTERESTED)
        who = places(people["profile_id"], refused["profile_id"])
        what = places(catalogue["title_id"], of_show(refused["title_id"], titles))
        known = (who >= 0) & (what >= 0)
        pairs = np.stack([who[known], what[known]], axis=1)
        return cls(
            on_offer,
            catalogue["maturity"].to_numpy(dtype=np.int64),
            flags(rows, "kids"),
            {name: i for i, name in enumerate(names)},
            in_country.reshape(len(names) + 1, len(catalogue)).astype(bool),
            people,
            pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))],
        )

    def allowed(self, first: int, last: int) -> NDArray[np.bool_]:
        """Which show each of the profiles `first` to `last` (exclusive) may see: shape (last - first, shows)."""
        people = self.people.iloc[first:last]
        limit = people["maturity_limit"].to_numpy(dtype=np.int64)
        place = [self.country.get(name, len(self.country)) for name in people["country"]]
        out = self.on_offer & (self.maturity <= limit[:, None]) & self.in_country[place]
        out &= self.kids | ~people["kids"].to_numpy(dtype=bool)[:, None]
        mine = slice(*np.searchsorted(self.not_for[:, 0], [first, last]).tolist())
        out[self.not_for[mine, 0] - first, self.not_for[mine, 1]] = False
        return np.asarray(out)


def _days(rows: pd.DataFrame, name: str, missing: int) -> NDArray[np.int64]:
    """Epoch days of a nullable date column."""
    if name not in rows.columns:
        return np.full(len(rows), missing, dtype=np.int64)
    there = rows[name].notna().to_numpy()
    out = np.full(len(rows), missing, dtype=np.int64)
    if there.any():
        out[there] = epoch_days(rows.loc[there, name])
    return out


def _list(value: Any) -> list[str]:
    return list(value) if isinstance(value, list | tuple | np.ndarray) else []
