"""The disk of a CDN cluster: whole-file LRU, or exactly the files of a fill plan.

The LRU is a doubly linked list per cluster over file numbers, kept in two arrays of shape (clusters, files + 1) whose
last column is the head: `after[c, head]` is the most, `before[c, head]` the least recently touched file; -1 means
not on the disk. A session touches a file once, at its first chunk of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numba import njit
from numpy.typing import NDArray

from models.world.catalogue import Catalogue
from models.world.errors import WorldError
from models.world.population import I8, Clusters


@dataclass(slots=True)
class Disks:
    """Contents of all clusters' disks; `planned` clusters hold what they hold and admit nothing."""

    before: NDArray[np.int32]
    after: NDArray[np.int32]
    used: I8
    disk: int
    planned: NDArray[np.bool_]

    def copy(self) -> Disks:
        """A disk that can change without changing this one."""
        return Disks(self.before.copy(), self.after.copy(), self.used.copy(), self.disk, self.planned.copy())

    def held(self, cluster: int) -> I8:
        """Files on the disk of a cluster, most recently touched first."""
        head = self.after.shape[1] - 1
        out, f = [], int(self.after[cluster, head])
        while f != head:
            out.append(f)
            f = int(self.after[cluster, f])
        return np.array(out, dtype=np.int64)


def empty(clusters: int, files: int, disk: int) -> Disks:
    """Disks with nothing on them."""
    before = np.full((clusters, files + 1), -1, dtype=np.int32)
    after = before.copy()
    before[:, files] = after[:, files] = files
    return Disks(before, after, np.zeros(clusters, dtype=np.int64), disk, np.zeros(clusters, dtype=bool))


@njit(cache=True)
def _unlink(before: Any, after: Any, f: int) -> None:
    after[before[f]] = after[f]
    before[after[f]] = before[f]
    before[f] = -1
    after[f] = -1


@njit(cache=True)
def _push(before: Any, after: Any, f: int) -> None:
    head = len(after) - 1
    after[f] = after[head]
    before[f] = head
    before[after[head]] = f
    after[head] = f


@njit(cache=True)
def touch(before: Any, after: Any, used: I8, c: int, f: int, sizes: I8, disk: int, planned: bool) -> bool:
    """A session asks cluster `c` for file `f` the first time: True if it is on the disk; LRU moves or admits it."""
    hit = after[c, f] >= 0
    if planned:
        return bool(hit)
    b, a = before[c], after[c]
    if hit:
        _unlink(b, a, f)
        _push(b, a, f)
        return True
    if sizes[f] > disk:
        return False
    head = len(a) - 1
    while used[c] + sizes[f] > disk:
        victim = b[head]
        _unlink(b, a, victim)
        used[c] -= sizes[victim]
    _push(b, a, f)
    used[c] += sizes[f]
    return False


def _place(disks: Disks, c: int, files: I8, sizes: I8) -> None:
    """The disk of `c` holds exactly `files`, the first of them most recently touched."""
    head = disks.after.shape[1] - 1
    disks.before[c], disks.after[c] = -1, -1
    disks.before[c, head] = disks.after[c, head] = head
    for f in files[::-1]:
        _push(disks.before[c], disks.after[c], int(f))
    disks.used[c] = int(sizes[files].sum()) if len(files) else 0


def apply_plan(
    disks: Disks, plan: pd.DataFrame | None, cat: Catalogue, isps: Clusters
) -> tuple[list[str | None], pd.DataFrame]:
    """Carry out the night's fill: the plan in force per cluster (None: LRU), and what was filled.

    Files by rank: those already on the disk stay; others are filled until the cluster's budget is spent, the rest is
    not held. The frame has `cdn_id, plan_id, held_bytes, filled_bytes, skipped_bytes`.

    Raises:
        WorldError: an unknown cluster or file, or more bytes to hold than the cluster's disk.
    """
    in_force: list[str | None] = [None] * len(isps.cdn_id)
    disks.planned[:] = False
    rows = []
    number = {f: i for i, f in enumerate(cat.file_id)}
    place = {c: i for i, c in enumerate(isps.cdn_id)}
    for row in [] if plan is None else plan.to_dict("records"):
        if row["cdn_id"] not in place:
            raise WorldError(
                f"fill plan {row['plan_id']}: cluster {row['cdn_id']!r} is not one of "
                f"{len(place)} clusters of this world"
            )
        c = place[row["cdn_id"]]
        on_disk = set(disks.held(c).tolist())
        held, filled, skipped = _fill(row, number, on_disk, cat.file_bytes, disks.disk)
        _place(disks, c, np.array(held, dtype=np.int64), cat.file_bytes)
        disks.planned[c] = True
        in_force[c] = row["plan_id"]
        rows.append((row["cdn_id"], row["plan_id"], int(disks.used[c]), filled, skipped))
    return in_force, pd.DataFrame(rows, columns=["cdn_id", "plan_id", "held_bytes", "filled_bytes", "skipped_bytes"])


def _fill(
    row: dict[str, Any], number: dict[str, int], on_disk: set[int], sizes: I8, disk: int
) -> tuple[list[int], int, int]:
    """Files held after the night, bytes filled, bytes left out for want of budget."""
    wanted = sorted((f for f in row["files"] if f["action"] != "drop"), key=lambda f: int(f["rank"]))
    unknown = [f["file_id"] for f in wanted if f["file_id"] not in number]
    if unknown:
        raise WorldError(f"fill plan {row['plan_id']} holds {len(unknown)} unknown files, first {unknown[0]!r}")
    files = [number[f["file_id"]] for f in wanted]
    total = int(sum(sizes[f] for f in files))
    if total > disk:
        raise WorldError(
            f"fill plan {row['plan_id']} holds {total} bytes on a disk of {disk}: a plan may not exceed the disk"
        )
    held, filled, skipped, budget = [], 0, 0, int(row["fill_budget_bytes"])
    for f in files:
        if f not in on_disk and filled + sizes[f] > budget:
            skipped += int(sizes[f])
            continue
        filled += 0 if f in on_disk else int(sizes[f])
        held.append(f)
    return held, filled, skipped
