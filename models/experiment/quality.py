"""Quality of playback by arm of the page experiment: whether what a page makes people watch plays worse."""

from __future__ import annotations

import math

import pandas as pd

from models.experiment.assign import HOLDBACK, POLICY, arms
from models.experiment.intervals import compare
from schemas.metrics import by_name

QUALITY = tuple(by_name()[name] for name in ("start_failure_rate", "rebuffer_ratio"))
"""Metrics of the registry, ratios of sums over sessions."""


def quality_by_arm(sums: pd.DataFrame, salt: str, holdback: float, seed: int = 0) -> dict[str, float]:
    """`quality.ARM.METRIC` with `.low` and `.high` (95 %, over profiles) of both arms and of policy less holdback.

    Args:
        sums: profile_id and, for each of QUALITY, its columns (numerator, denominator) summed over the profile's
            sessions; one row a profile. A profile without a denominator says nothing.
        salt, holdback: of the page experiment.

    Returns:
        nothing where an arm has nobody.
    """
    arm = arms(salt, sums["profile_id"].astype(str), holdback)
    out: dict[str, float] = {}
    for metric in QUALITY:
        top, bottom = metric.columns
        units = pd.DataFrame({"arm": arm, "takes": sums[top].astype(float), "shown": sums[bottom].astype(float)})
        units = units[units["shown"] > 0]
        if set(units["arm"]) != {POLICY, HOLDBACK}:
            continue
        found = compare(units, seed)
        for name, value in ((POLICY, found.policy), (HOLDBACK, found.holdback), ("difference", found.difference)):
            if math.isfinite(value.value):
                key = f"quality.{name}.{metric.name}"
                out |= {key: value.value, f"{key}.low": value.low, f"{key}.high": value.high}
    return out
