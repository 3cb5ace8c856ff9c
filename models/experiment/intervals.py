"""How sure a difference between arms is: bootstrap over profiles, the unit that was randomised.

A profile's impressions hang together; resampling impressions would make intervals a third too narrow (notes:
naive standard error .0020 against .0030).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.experiment.assign import HOLDBACK, POLICY

REPEATS = 2000
CHUNK = 200


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its 95 percent interval, from `units` randomised units; nan where there is nothing to divide by."""

    value: float
    low: float
    high: float
    units: int

    def __str__(self) -> str:
        return f"{self.value:.4f} [{self.low:.4f}, {self.high:.4f}]"

    def percent(self, digits: int = 1) -> str:
        """As text, in percent."""
        scaled = (100 * self.value, 100 * self.low, 100 * self.high)
        return f"{scaled[0]:.{digits}f} % [{scaled[1]:.{digits}f}, {scaled[2]:.{digits}f}]"


@dataclass(frozen=True, slots=True)
class Comparison:
    """Take rate of two arms. `lift` is policy over holdback minus 1; `difference` policy minus holdback."""

    policy: Estimate
    holdback: Estimate
    difference: Estimate
    lift: Estimate


def per_profile(outcomes: pd.DataFrame, arm: str) -> pd.DataFrame:
    """Takes and shown impressions by profile: profile_id, arm, takes, shown; sorted.

    Args:
        outcomes: record impression_outcome (profile_id, taken and the arm's column).
        arm: 'page_arm' or 'artwork_arm'.
    """
    grouped = outcomes.groupby(["profile_id", arm], sort=True)["taken"].agg(["sum", "count"]).reset_index()
    return grouped.rename(columns={arm: "arm", "sum": "takes", "count": "shown"}).astype(
        {"takes": float, "shown": float}
    )


def compare(units: pd.DataFrame, seed: int = 0, repeats: int = REPEATS) -> Comparison:
    """Ratio of sums in each arm and their difference, 95 % percentile bootstrap over units.

    Args:
        units: arm, takes, shown; one row per randomised unit (see `per_profile`).

    Raises:
        ValueError: an arm has no unit.
    """
    rng = np.random.default_rng(seed)
    rates, draws, count = {}, {}, {}
    for arm in (POLICY, HOLDBACK):
        mine = units[units["arm"] == arm]
        if not len(mine):
            raise ValueError(f"no unit in arm {arm!r} among {len(units)}; raise the holdback share or the profiles")
        takes, shown = mine["takes"].to_numpy(dtype=np.float64), mine["shown"].to_numpy(dtype=np.float64)
        count[arm] = len(mine)
        rates[arm] = _ratio(takes.sum(), shown.sum())
        draws[arm] = _bootstrap(takes, shown, rng, repeats)
    difference = draws[POLICY] - draws[HOLDBACK]
    lift = draws[POLICY] / np.where(draws[HOLDBACK] > 0, draws[HOLDBACK], np.nan) - 1.0
    return Comparison(
        _estimate(rates[POLICY], draws[POLICY], count[POLICY]),
        _estimate(rates[HOLDBACK], draws[HOLDBACK], count[HOLDBACK]),
        _estimate(rates[POLICY] - rates[HOLDBACK], difference, len(units)),
        _estimate(_ratio(rates[POLICY], rates[HOLDBACK]) - 1.0, lift, len(units)),
    )


def _bootstrap(
    takes: NDArray[np.float64], shown: NDArray[np.float64], rng: np.random.Generator, repeats: int
) -> NDArray[np.float64]:
    """Ratios of resampled sums, shape (repeats,); multinomial weights, a chunk of repeats at a time."""
    out = []
    share = np.full(len(takes), 1.0 / len(takes))
    for first in range(0, repeats, CHUNK):
        weight = rng.multinomial(len(takes), share, size=min(CHUNK, repeats - first)).astype(np.float64)
        top, bottom = (weight * takes).sum(axis=1), (weight * shown).sum(axis=1)
        out.append(np.divide(top, bottom, out=np.full(len(top), np.nan), where=bottom > 0))
    return np.concatenate(out)


def _ratio(top: float, bottom: float) -> float:
    return float(top / bottom) if bottom else float("nan")


def _estimate(value: float, draws: NDArray[np.float64], units: int) -> Estimate:
    usable = draws[np.isfinite(draws)]
    low, high = np.quantile(usable, [0.025, 0.975]) if len(usable) else (np.nan, np.nan)
    return Estimate(float(value), float(low), float(high), units)
