"""What one cluster shall hold tomorrow: most expected bytes per byte stored, within disk and nightly fill budget.

A file's popularity is expected bytes over file size (Netflix, "Content Popularity for Open Connect", 2017): the density
of a knapsack. Greedy by density is optimal up to one file when only the disk binds (Dantzig 1957). Replacing costs
fill traffic, so a file on disk defends its place with a bonus; the whole night's adds stay within the fill budget.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

KEEP_BONUS = 0.15
"""A newcomer must be expected to serve this share more bytes than all it pushes out."""

ADD, KEEP, DROP = "add", "keep", "drop"


@dataclass(frozen=True, slots=True)
class Planner:
    """Plans one cluster.

    Attributes:
        disk_bytes: never exceeded by what is held after the plan.
        fill_budget_bytes: never exceeded by the adds.
        keep_bonus: see KEEP_BONUS; 0 replaces freely.
    """

    disk_bytes: int
    fill_budget_bytes: int
    keep_bonus: float = KEEP_BONUS

    def __post_init__(self) -> None:
        for name in ("disk_bytes", "fill_budget_bytes", "keep_bonus"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}, must not be negative")

    def plan(self, files: pd.DataFrame, on_disk: pd.DataFrame) -> pd.DataFrame:
        """The plan: file_id, rank, bytes, expected_bytes, action; adds by density, then keeps, then drops.

        Args:
            files: file_id, bytes, expected_bytes of every file that may be held; file_id unique, bytes positive.
            on_disk: file_id, bytes of what the cluster holds now; a file no longer in `files` is dropped.

        Raises:
            ValueError: repeated file ids, sizes below 1, expectations negative or not finite.
        """
        _check(files, on_disk)
        table = files[["file_id", "bytes", "expected_bytes"]].sort_values("file_id", ignore_index=True)
        held = table["file_id"].isin(set(on_disk["file_id"])).to_numpy()
        size = table["bytes"].to_numpy(dtype=np.int64)
        value = table["expected_bytes"].to_numpy(dtype=np.float64)
        order = np.argsort(-(value / size), kind="stable")
        chosen = self._choose(size, value, held, order)
        table["action"] = np.where(chosen, np.where(held, KEEP, ADD), np.where(held, DROP, ""))
        gone = on_disk.loc[~on_disk["file_id"].isin(set(table["file_id"])), ["file_id", "bytes"]].sort_values("file_id")
        named = table.iloc[order]
        parts = [named[named["action"] == which] for which in (ADD, KEEP, DROP)]
        parts.append(gone.assign(expected_bytes=0.0, action=DROP))
        out = pd.concat([part for part in parts if len(part)] or [named.iloc[:0]], ignore_index=True)
        out.insert(1, "rank", np.arange(len(out), dtype=np.int64))
        return out

    def _choose(
        self, size: NDArray[np.int64], value: NDArray[np.float64], held: NDArray[np.bool_], order: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        """Mask of the files held after the night; see the module for the rule."""
        chosen = held.copy()
        weakest = [int(i) for i in order[::-1] if held[i]]
        used = int(size[held].sum())
        place = 0
        while used > self.disk_bytes:  # the disk is smaller than what it holds: the weakest leave first
            used -= int(size[weakest[place]])
            chosen[weakest[place]] = False
            place += 1
        budget = self.fill_budget_bytes
        smallest = int(size[~held].min()) if (~held).any() else 0
        for i in order:
            if budget < smallest:
                break
            if held[i] or value[i] <= 0 or size[i] > budget or size[i] > self.disk_bytes:
                continue
            leaving, room, loss = place, self.disk_bytes - used, 0.0
            while room < size[i] and leaving < len(weakest) and loss * (1 + self.keep_bonus) < value[i]:
                room += int(size[weakest[leaving]])
                loss += float(value[weakest[leaving]])
                leaving += 1
            worth = leaving == place or loss * (1 + self.keep_bonus) < value[i]
            if room < size[i] or not worth:
                continue
            for out in weakest[place:leaving]:
                chosen[out] = False
                used -= int(size[out])
            place = leaving
            chosen[i] = True
            used += int(size[i])
            budget -= int(size[i])
        return chosen


def _check(files: pd.DataFrame, on_disk: pd.DataFrame) -> None:
    for name, frame in (("files", files), ("on_disk", on_disk)):
        if frame["file_id"].duplicated().any():
            again = frame.loc[frame["file_id"].duplicated(), "file_id"].iloc[0]
            raise ValueError(f"{name} names file {again!r} more than once; file_id must be unique")
        if (frame["bytes"] < 1).any():
            raise ValueError(f"{name} holds a size of {int(frame['bytes'].min())} bytes; a file has at least 1")
    expected = files["expected_bytes"].to_numpy(dtype=np.float64)
    if not np.isfinite(expected).all() or (expected < 0).any():
        raise ValueError("files has expected_bytes that are negative or not finite; the forecast is broken")
