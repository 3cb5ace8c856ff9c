"""How likely a cell is seen, by device and place, learned from impressions.

An impression is a cell that was in sight. A viewer reads rows from the top and sees as much of a row as the screen is
wide, so view probability is the chance that a row is read times the chance that a column is in sight. Openings of a
page are impressions of its first cell. Devices with few openings are drawn to all of them, and those to
1 / log2(row + col).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.recommend.page_metrics import gains

PULL = 30.0
"""Of the prior on everybody's chances, in openings."""
DEVICE_PULL = 300.0
"""Of everybody's chances on a device's rows, in openings; of its columns a hundredth, since screens differ."""
LEAST_READ = 50.0
"""Readings a row needs to say something of columns."""


@dataclass(frozen=True, slots=True)
class View:
    """View probability of every cell.

    Attributes:
        groups: device classes, sorted. probability: shape (groups + 1, R, C), the last for devices not among them.
        openings: shape (groups + 1,).
    """

    groups: list[str]
    probability: NDArray[np.float64]
    openings: NDArray[np.int64]

    def of(self, group: str) -> NDArray[np.float64]:
        """Of one device class, shape (R, C)."""
        return np.asarray(self.probability[self.groups.index(group) if group in self.groups else -1])


def learn_view(impressions: pd.DataFrame, group: pd.Series, rows: int, columns: int) -> View:
    """Count.

    Args:
        impressions: row, col (record impression or impression_outcome). group: device class of each.
    """
    groups = sorted(set(group.astype(str)))
    inside = ((impressions["row"] < rows) & (impressions["col"] < columns)).to_numpy(dtype=bool)
    code = np.searchsorted(np.array(groups, dtype=object), group.astype(str).to_numpy(dtype=object))[inside]
    row = impressions["row"].to_numpy(dtype=np.int64)[inside]
    col = impressions["col"].to_numpy(dtype=np.int64)[inside]
    counts = np.zeros((len(groups), rows, columns))
    np.add.at(counts, (code, row, col), 1.0)
    # Rows may be short and a player may leave out a cell it must not show: the fullest column says how often a row was
    # read, and the fullest row how often a column is in sight.
    read = counts.max(axis=2)
    share = np.divide(counts, read[:, :, None], out=np.zeros_like(counts), where=read[:, :, None] >= LEAST_READ)
    seen = share.max(axis=1) * read[:, :1]
    prior = gains(rows, columns)
    by_row = _shares(read, prior[:, 0], DEVICE_PULL)
    by_column = _shares(seen, prior[0], DEVICE_PULL / 100.0)
    falling = np.minimum.accumulate(by_column, axis=1)
    openings = np.append(read[:, 0], read[:, 0].sum()).astype(np.int64)
    return View(groups, by_row[:, :, None] * falling[:, None, :], openings)


def _shares(counts: NDArray[np.float64], prior: NDArray[np.float64], pull: float) -> NDArray[np.float64]:
    """Counts over those of the first place, groups drawn to all and all to the prior: shape (groups + 1, n)."""
    every = counts.sum(axis=0)
    whole = (every + PULL * prior) / (every[0] + PULL)
    own = (counts + pull * whole) / (counts[:, :1] + pull)
    return np.minimum(np.concatenate([own, whole[None]]), 1.0)
