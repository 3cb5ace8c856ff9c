"""What a policy would have served from the edge: replays of one request log, counted in bytes.

The log says how many bytes of which file a session fetched, not which bytes. A replay takes them as the beginning of the
file: two sessions that fetched 100 and 300 MB of a file shared 100 MB. That is kind to a reactive cache, which finds the
largest possible overlap; a planned cache holds whole files and is not touched by it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numba import njit
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Served:
    """Bytes of a replay. `edge_bytes` came from the cluster's disk, of `total_bytes` asked for."""

    edge_bytes: int
    total_bytes: int

    @property
    def offload(self) -> float:
        """Share of the bytes the origin was spared; 0 for an empty log."""
        return self.edge_bytes / self.total_bytes if self.total_bytes else 0.0

    def __add__(self, other: Served) -> Served:
        return Served(self.edge_bytes + other.edge_bytes, self.total_bytes + other.total_bytes)


def viewings(requests: pd.DataFrame) -> pd.DataFrame:
    """The log by viewing: cdn_id, session_id, file_id, at (first minute), bytes of both tiers; in order of time."""
    grouped = requests.groupby(["cdn_id", "session_id", "file_id"], sort=False, as_index=False).agg(
        at=("minute_at", "min"), bytes=("bytes", "sum"))
    return grouped.sort_values(["at", "session_id", "file_id", "cdn_id"], kind="mergesort", ignore_index=True)


def replay_plan(log: pd.DataFrame, held: pd.DataFrame) -> Served:
    """A log (see `viewings`, or any frame of cdn_id, file_id, bytes) against held files: cdn_id, file_id."""
    keys = pd.MultiIndex.from_frame(log[["cdn_id", "file_id"]])
    hit = keys.isin(pd.MultiIndex.from_frame(held[["cdn_id", "file_id"]])) if len(held) else np.zeros(len(log), bool)
    size = log["bytes"].to_numpy(dtype=np.int64)
    return Served(int(size[hit].sum()), int(size.sum()))


def replay_lru(warm: pd.DataFrame, log: pd.DataFrame, disk: dict[str, int]) -> Served:
    """Least recently used on every cluster's disk: warmed by one log, then counted over the next (see `viewings`).

    A miss pulls the bytes asked for and stores them; the least recently asked files leave until they fit.
    """
    served = Served(0, 0)
    for cdn_id in sorted(disk):
        first, then = warm[warm["cdn_id"] == cdn_id], log[log["cdn_id"] == cdn_id]
        files, code = np.unique(np.concatenate([first["file_id"].to_numpy(dtype=object).astype(str),
                                                then["file_id"].to_numpy(dtype=object).astype(str)]), return_inverse=True)
        asked = np.concatenate([first["bytes"].to_numpy(dtype=np.int64), then["bytes"].to_numpy(dtype=np.int64)])
        hits = _lru(code.astype(np.int64), asked, len(files), int(disk[cdn_id]))
        counted = slice(len(first), None)
        served += Served(int(hits[counted].sum()), int(asked[counted].sum()))
    return served


@njit(cache=False)
def _lru(code: NDArray[np.int64], asked: NDArray[np.int64], files: int, disk: int) -> NDArray[np.int64]:
    """Bytes hit by each request; a doubly linked list over file codes, `files` being its head and tail."""
    after = np.full(files + 1, files, dtype=np.int64)
    before = np.full(files + 1, files, dtype=np.int64)
    stored = np.zeros(files, dtype=np.int64)
    hits = np.zeros(len(code), dtype=np.int64)
    used = 0
    for i in range(len(code)):
        f = code[i]
        hits[i] = min(asked[i], stored[f])
        if stored[f] > 0:
            after[before[f]] = after[f]
            before[after[f]] = before[f]
        grown = min(max(stored[f], asked[i]), disk)
        used += grown - stored[f]
        stored[f] = grown
        if grown > 0:
            first = after[files]
            after[files] = f
            before[f] = files
            after[f] = first
            before[first] = f
        while used > disk:
            last = before[files]
            used -= stored[last]
            stored[last] = 0
            before[files] = before[last]
            after[before[last]] = files
    return hits
