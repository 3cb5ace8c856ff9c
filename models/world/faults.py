"""Named disturbances of a world, seeded and composable. Build them with the functions; give them to `World.live`.

Each has a window in minutes of the day (UTC) and what it touches; the day's truth holds them as rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.world.config import MINUTE_MS
from models.world.errors import WorldError
from models.world.network import MINUTES, Environment
from models.world.population import Clusters


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: `name`, window [start, start + minutes) in minutes of the day, the cohort and its size.

    `isp`, `cdn_id`, `device` and `app_version` are None where all are meant; `share` of the cohort is hit, by `amount`.
    """

    name: str
    start: int
    minutes: int
    isp: str | None = None
    cdn_id: str | None = None
    device: str | None = None
    app_version: str | None = None
    share: float = 1.0
    amount: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.start < MINUTES or not 0 < self.minutes <= MINUTES:
            raise WorldError(
                f"fault {self.name}: start minute {self.start} and length {self.minutes} "
                "must lie within the day and its tail"
            )
        if not 0.0 <= self.share <= 1.0:
            raise WorldError(f"fault {self.name}: share is {self.share}, must be in [0, 1]")

    @property
    def window_ms(self) -> tuple[int, int]:
        """Window in ms from the day's start."""
        return self.start * MINUTE_MS, (self.start + self.minutes) * MINUTE_MS


def isp_outage(isp: str, start: int = 18 * 60, minutes: int = 40, factor: float = 0.03) -> Fault:
    """Throughput of an ISP falls to `factor` of itself."""
    return Fault("isp_outage", start, minutes, isp=isp, amount=factor)


def bad_release(
    app_version: str = "5.3.0",
    start: int = 6 * 60,
    minutes: int = 1_440,
    share: float = 0.25,
    fail: float = 0.08,
    device: str | None = None,
) -> Fault:
    """From `start`, `share` of the profiles (of a device class) run a new version: `fail` of its sessions do not start,
    the others ask for the top rung whatever the buffer."""
    return Fault("bad_release", start, minutes, device=device, app_version=app_version, share=share, amount=fail)


def cdn_node_down(cdn_id: str, start: int = 17 * 60, minutes: int = 90, factor: float = 0.35) -> Fault:
    """The cluster's disk is gone: everything comes from the origin, at `factor` of its speed."""
    return Fault("cdn_node_down", start, minutes, cdn_id=cdn_id, amount=factor)


def late_burst(
    start: int = 19 * 60, minutes: int = 5, share: float = 0.5, delay_minutes: float = 10.0, isp: str | None = None
) -> Fault:
    """Beacons of `share` of the sessions sent in the window arrive together, `delay_minutes` after its end."""
    return Fault("late_burst", start, minutes, isp=isp, share=share, amount=delay_minutes)


def duplicate_storm(start: int = 20 * 60, minutes: int = 10, share: float = 0.5, copies: int = 3) -> Fault:
    """`share` of the POSTs in the window are delivered `copies` times more."""
    return Fault("duplicate_storm", start, minutes, share=share, amount=float(copies))


def beacon_loss(start: int = 12 * 60, minutes: int = 30, share: float = 0.3, isp: str | None = None) -> Fault:
    """`share` of the POSTs in the window never arrive."""
    return Fault("beacon_loss", start, minutes, isp=isp, share=share)


def clock_skew(
    start: int = 0, minutes: int = MINUTES, share: float = 0.1, hours: float = 3.0, device: str | None = None
) -> Fault:
    """`share` of the sessions begun in the window have a clock wrong by up to `hours`."""
    return Fault("clock_skew", start, minutes, device=device, share=share, amount=hours)


def poison(start: int = 0, minutes: int = 1_440, share: float = 0.05) -> Fault:
    """As many unreadable messages as `share` of the events of the window, on top of the usual."""
    return Fault("poison", start, minutes, share=share)


ALL = {
    f.__name__: f
    for f in (isp_outage, bad_release, cdn_node_down, late_burst, duplicate_storm, beacon_loss, clock_skew, poison)
}
"""Fault constructors by name, for the command line."""


def disturb_environment(env: Environment, isps: Clusters, faults: tuple[Fault, ...]) -> None:
    """Write outages and lost disks into the tables of the day, in place.

    Raises:
        WorldError: a fault names an ISP or cluster that does not exist.
    """
    for f in faults:
        window = slice(f.start, min(f.start + f.minutes, MINUTES))
        if f.isp is not None and f.isp not in set(isps.isp):
            raise WorldError(f"fault {f.name}: no ISP {f.isp!r}; there are {', '.join(isps.isp)}")
        if f.cdn_id is not None and f.cdn_id not in set(isps.cdn_id):
            raise WorldError(f"fault {f.name}: no cluster {f.cdn_id!r}; there are {', '.join(isps.cdn_id)}")
        if f.name == "isp_outage":
            env.factor[isps.isp == f.isp, window] *= f.amount
        elif f.name == "cdn_node_down":
            env.edge_up[isps.cdn_id == f.cdn_id, window] = False
            env.origin_factor[isps.cdn_id == f.cdn_id, window] *= f.amount


def of(faults: tuple[Fault, ...], name: str) -> tuple[Fault, ...]:
    """The faults of one name."""
    return tuple(f for f in faults if f.name == name)


def inside(fault: Fault, at: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which moments (ms from the day's start) lie in the window."""
    low, high = fault.window_ms
    return np.asarray((at >= low) & (at < high))
