"""What a policy would have served from the edge: replays of one request log, counted in bytes.

A session asks for a file once; whether it is on the disk at that moment decides where all its bytes of that file come
from. The reactive cache stores whole files, as the clusters of the world do. The second one (`replay_lru_bytes`) stores
only bytes that were asked for and takes them as the file's beginning: the largest overlap there can be, so it is an
upper bound of what a cache of segments would have saved.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.delivery.planner import Planner

UNBOUNDED = 2**62


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
        at=("minute_at", "min"), bytes=("bytes", "sum")
    )
    return grouped.sort_values(["at", "session_id", "file_id", "cdn_id"], kind="mergesort", ignore_index=True)


def replay_plan(log: pd.DataFrame, held: pd.DataFrame) -> Served:
    """A log (see `viewings`, or any frame of cdn_id, file_id, bytes) against held files: cdn_id, file_id."""
    keys = pd.MultiIndex.from_frame(log[["cdn_id", "file_id"]])
    hit = keys.isin(pd.MultiIndex.from_frame(held[["cdn_id", "file_id"]])) if len(held) else np.zeros(len(log), bool)
    size = log["bytes"].to_numpy(dtype=np.int64)
    return Served(int(size[hit].sum()), int(size.sum()))


def replay_lru(warm: pd.DataFrame, log: pd.DataFrame, files: pd.DataFrame, disk: dict[str, int]) -> Served:
    """Least recently used whole files on every disk: warmed by one log, counted over the next (see `viewings`).

    Args:
        files: file_id, bytes. disk: bytes by cdn_id.
    """
    return _replay(warm, log, files, disk, whole=True)


def replay_lru_bytes(warm: pd.DataFrame, log: pd.DataFrame, files: pd.DataFrame, disk: dict[str, int]) -> Served:
    """The same with only the bytes asked for on disk; see the module."""
    return _replay(warm, log, files, disk, whole=False)


def lru_contents(log: pd.DataFrame, files: pd.DataFrame, disk: dict[str, int]) -> pd.DataFrame:
    """What a whole-file LRU holds after a log (see `viewings`): cdn_id, file_id, bytes; sorted."""
    size = files.drop_duplicates("file_id").set_index("file_id")["bytes"]
    rows = []
    for cdn_id in sorted(disk):
        mine = log[log["cdn_id"] == cdn_id]
        names, code = np.unique(mine["file_id"].to_numpy(dtype=object).astype(str), return_inverse=True)
        sizes = _sizes(names, size)
        _, stored = _lru(code.astype(np.int64), mine["bytes"].to_numpy(dtype=np.int64), sizes, int(disk[cdn_id]), True)
        rows += [(cdn_id, str(names[i]), int(sizes[i])) for i in np.flatnonzero(stored)]
    return pd.DataFrame(rows, columns=["cdn_id", "file_id", "bytes"])


def most_asked(log: pd.DataFrame, files: pd.DataFrame, disk: dict[str, int]) -> pd.DataFrame:
    """What each cluster would hold by its own log (see `viewings`) alone: most bytes asked per byte stored first.

    The yardstick "yesterday's counts": bound by the disk, not by a fill budget. Returns cdn_id, file_id, bytes.
    """
    asked = log.groupby(["cdn_id", "file_id"])["bytes"].sum().rename("expected_bytes").reset_index()
    table = asked.merge(files[["file_id", "bytes"]].drop_duplicates("file_id"), on="file_id")
    return _fill_disks(table, disk)


def best_held(rates: pd.DataFrame, files: pd.DataFrame, disk: dict[str, int]) -> pd.DataFrame:
    """The rate oracle: what clusters would hold that knew the true rates and had all night. cdn_id, file_id, bytes.

    Args:
        rates: cdn_id, file_id, expected_bytes (truth `rates` of a lived day).
    """
    table = rates[["cdn_id", "file_id", "expected_bytes"]].merge(
        files[["file_id", "bytes"]].drop_duplicates("file_id"), on="file_id"
    )
    return _fill_disks(table, disk)


def _fill_disks(table: pd.DataFrame, disk: dict[str, int]) -> pd.DataFrame:
    parts = []
    for cdn_id in sorted(disk):
        own = table[table["cdn_id"] == cdn_id]
        plan = Planner(int(disk[cdn_id]), UNBOUNDED, 0.0).plan(own, own.iloc[:0])
        parts.append(plan[["file_id", "bytes"]].assign(cdn_id=cdn_id))
    return pd.concat(parts, ignore_index=True)[["cdn_id", "file_id", "bytes"]]


def _replay(warm: pd.DataFrame, log: pd.DataFrame, files: pd.DataFrame, disk: dict[str, int], whole: bool) -> Served:
    size = files.drop_duplicates("file_id").set_index("file_id")["bytes"]
    served = Served(0, 0)
    for cdn_id in sorted(disk):
        first, then = warm[warm["cdn_id"] == cdn_id], log[log["cdn_id"] == cdn_id]
        both = pd.concat([first[["file_id", "bytes"]], then[["file_id", "bytes"]]], ignore_index=True)
        names, code = np.unique(both["file_id"].to_numpy(dtype=object).astype(str), return_inverse=True)
        asked = both["bytes"].to_numpy(dtype=np.int64)
        hits, _ = _lru(code.astype(np.int64), asked, _sizes(names, size), int(disk[cdn_id]), whole)
        served += Served(int(hits[len(first) :].sum()), int(asked[len(first) :].sum()))
    return served


def _sizes(names: NDArray[np.str_], size: pd.Series) -> NDArray[np.int64]:
    found = size.reindex(names)
    if found.isna().any():
        missing = str(found.index[found.isna()][0])
        raise ValueError(
            f"the log asks for file {missing!r}, which asset_file does not know; land the asset_file topic first"
        )
    return found.to_numpy(dtype=np.int64)


def _lru(
    code: NDArray[np.int64], asked: NDArray[np.int64], sizes: NDArray[np.int64], disk: int, whole: bool
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Bytes hit by each request, and bytes of every file stored at the end.

    A dictionary keeps the order in which files were last asked for: about a million requests a second.
    """
    size = sizes.tolist()
    cache: dict[int, int] = {}
    hits = []
    used = 0
    for file, wanted in zip(code.tolist(), asked.tolist(), strict=True):
        stored = cache.pop(file, 0)
        used -= stored
        hits.append((wanted if stored else 0) if whole else min(wanted, stored))
        keep = size[file] if whole else max(stored, min(wanted, size[file]))
        if keep > disk:
            continue
        cache[file] = keep
        used += keep
        while used > disk:
            used -= cache.pop(next(iter(cache)))
    left = np.zeros(len(size), dtype=np.int64)
    left[list(cache)] = list(cache.values())
    return np.array(hits, dtype=np.int64), left
