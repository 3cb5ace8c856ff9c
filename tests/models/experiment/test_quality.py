"""Playback by arm against plain sums; the difference is found where it was planted."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from models.experiment.assign import HOLDBACK, arms
from models.experiment.quality import quality_by_arm


def sums(n: int = 800) -> pd.DataFrame:
    rng = np.random.default_rng(3)
    people = [f"p{i}" for i in range(n)]
    held = arms("s", people, 0.5) == HOLDBACK
    playing = rng.integers(1_000, 9_000, n)
    attempts = rng.integers(0, 6, n)
    return pd.DataFrame(
        {
            "profile_id": people,
            "rebuffer_ratio_num": (playing * np.where(held, 0.01, 0.03)).astype(int),
            "rebuffer_ratio_den": playing,
            "start_failure_rate_num": rng.binomial(attempts, 0.1),
            "start_failure_rate_den": attempts,
        }
    )


def test_ratios_of_sums_with_their_intervals() -> None:
    given = sums()
    held = arms("s", given["profile_id"], 0.5) == HOLDBACK
    found = quality_by_arm(given, "s", 0.5)
    for arm, mine in (("holdback", held), ("policy", ~held)):
        for metric in ("rebuffer_ratio", "start_failure_rate"):
            value = given.loc[mine, f"{metric}_num"].sum() / given.loc[mine, f"{metric}_den"].sum()
            assert found[f"quality.{arm}.{metric}"] == pytest.approx(value)
            assert found[f"quality.{arm}.{metric}.low"] < value < found[f"quality.{arm}.{metric}.high"]
    assert found["quality.difference.rebuffer_ratio.low"] > 0.015
    assert found["quality.difference.start_failure_rate.low"] < 0 < found["quality.difference.start_failure_rate.high"]


def test_an_arm_without_anybody_says_nothing() -> None:
    assert quality_by_arm(sums(), "s", 0.0) == {}
    assert quality_by_arm(sums().iloc[:0], "s", 0.5) == {}
