"""What a ranker learns from: choices that were made, each among alternatives that were on offer.

Two kinds. A play that was searched for is a choice among everything that was out. A row of a page that was read is a
choice among its cells and nothing: what was taken there was also helped by its place, so place is a control, learned
with the weights and left out when titles are ranked (it is the training-only position of Zhao et al. 2019, RecSys; in a
conditional logit it takes what a place adds off the log odds of its cells). A play that was begun and cut short by
playback (record play, `censored`) was chosen: that it did not become a quality play says nothing about the show.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.days import epoch_days
from models.frames import places
from models.recommend.parts import NAMES, Parts

CONTROLS = ("seen", "offered", "row", "col")
"""Columns after the parts: watched before (repeats are the page's business), a show at all (not nothing), its place."""
MAX_TARGETS = 3000
"""Plays, and rows of pages, of a day that are used."""
NEGATIVES = 128


@dataclass(frozen=True, slots=True, eq=False)
class Choices:
    """`values`: shape (choices, alternatives, parts + controls), the first was chosen; `valid`: those on offer."""

    values: NDArray[np.float64]
    valid: NDArray[np.bool_]


def rows_read(outcomes: pd.DataFrame, plays: pd.DataFrame) -> pd.DataFrame:
    """Impressions by the row they were read in: day, choice, profile_id, title_id, row, col, taken; sorted.

    A row is of the day on which all that is told of it was known: what was shown before midnight and taken after it
    is of the day of the play, or a model of the day before would have seen it.

    Args:
        outcomes: record impression_outcome. plays: record play, those that may be used; of it `impression_id`,
            `censored` and `play_date` are read. A take whose play is not among them (removed from history) is
            forgotten.
    """
    told = outcomes["impression_id"].isin(set(plays["impression_id"].dropna()))
    outcomes = outcomes[told | ~outcomes["taken"].astype(bool)]
    cut = plays.loc[plays["censored"].astype(bool) & plays["impression_id"].notna(), "impression_id"]
    key = outcomes[["profile_id", "page_id", "shown_at", "row"]]
    choice = key.groupby(list(key.columns), sort=True).ngroup().to_numpy()
    from_page = plays[plays["impression_id"].notna()]
    begun = pd.Series(epoch_days(from_page["play_date"]), from_page["impression_id"]).groupby(level=0).min()
    day = pd.Series(epoch_days(outcomes["shown_date"]), outcomes.index)
    day = np.maximum(day, outcomes["impression_id"].map(begun).fillna(day)).groupby(choice).transform("max")
    frame = pd.DataFrame(
        {
            "day": day.to_numpy(dtype=np.int64),
            "choice": choice,
            "profile_id": outcomes["profile_id"].astype(str).to_numpy(dtype=object),
            "title_id": outcomes["title_id"].astype(str).to_numpy(dtype=object),
            "row": outcomes["row"].to_numpy(dtype=np.int64),
            "col": outcomes["col"].to_numpy(dtype=np.int64),
            "taken": outcomes["taken"].to_numpy(dtype=bool) | outcomes["impression_id"].isin(set(cut)).to_numpy(),
        }
    )
    return frame.sort_values(["choice", "col", "title_id"], kind="mergesort", ignore_index=True)


def among_everything(parts: Parts, past: pd.DataFrame, targets: pd.DataFrame, rng: np.random.Generator) -> Choices:
    """Each of `targets` (interactions of a day) as a choice among itself and sampled shows that were out."""
    titles = pd.Index(parts.titles)
    column = places(titles, targets["title_id"])
    row = places(parts.profiles, targets["profile_id"])
    row, column = row[column >= 0], column[column >= 0]
    if len(column) > MAX_TARGETS:
        pick = np.sort(rng.choice(len(column), MAX_TARGETS, replace=False))
        row, column = row[pick], column[pick]
    others = rng.integers(0, len(titles), size=(len(column), NEGATIVES))
    offered = np.concatenate([column[:, None], others], axis=1)
    valid = (parts.launch_day[offered] <= parts.today) & (offered != column[:, None])
    valid[:, 0] = True
    place = np.zeros((*offered.shape, 2))
    return Choices(_values(parts, past, row, offered, place), valid)


def in_rows(
    parts: Parts, past: pd.DataFrame, read: pd.DataFrame, rng: np.random.Generator, *, by_place: bool = True
) -> Choices:
    """Rows of pages as choices among their cells and nothing.

    Args:
        read: see `rows_read`, of one day. by_place: False leaves place out of the controls, as who ignores it would.
    """
    column = places(parts.titles, read["title_id"])
    frame = read.assign(column=column)[column >= 0]
    chosen = np.unique(frame["choice"].to_numpy())
    if len(chosen) > MAX_TARGETS:
        chosen = np.sort(rng.choice(chosen, MAX_TARGETS, replace=False))
        frame = frame[frame["choice"].isin(set(chosen.tolist()))]
    at = np.searchsorted(chosen, frame["choice"].to_numpy())
    cell = 1 + frame.groupby("choice").cumcount().to_numpy(dtype=np.int64)
    width = int(cell.max(initial=0)) + 1
    offered = np.full((len(chosen), width), -1, dtype=np.int64)
    offered[at, cell] = frame["column"].to_numpy()
    who = np.full(len(chosen), -1, dtype=np.int64)
    who[at] = places(parts.profiles, frame["profile_id"])
    place = np.zeros((len(chosen), width, 2))
    if by_place:
        place[at, cell] = frame[["row", "col"]].to_numpy(dtype=np.float64)
    values = _values(parts, past, who, np.maximum(offered, 0), place)
    values[:, 0] = 0.0  # nothing
    valid = offered >= 0
    valid[:, 0] = True
    taken = frame["taken"].to_numpy(dtype=bool)
    row, first = np.unique(at[taken], return_index=True)  # of two takes in a row the first stands
    one = cell[taken][first]
    values[row, 0], values[row, one] = values[row, one], values[row, 0]
    return Choices(values, valid)


def _values(
    parts: Parts,
    past: pd.DataFrame,
    row: NDArray[np.int64],
    offered: NDArray[np.int64],
    place: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Parts and controls of profiles `row` (n,; -1 unknown) and titles `offered` (n, a): (n, a, parts + controls)."""
    what = places(parts.titles, past["title_id"])
    pairs = places(parts.profiles, past["profile_id"])[what >= 0] * len(parts.titles) + what[what >= 0]
    seen = np.isin(row[:, None] * len(parts.titles) + offered, pairs) & (row >= 0)[:, None]
    out = np.empty((*offered.shape, len(NAMES) + len(CONTROLS)))
    out[:, :, : len(NAMES)] = parts.values(row, offered)
    out[:, :, len(NAMES)] = seen
    out[:, :, len(NAMES) + 1] = 1.0
    out[:, :, len(NAMES) + 2 :] = place
    return out
