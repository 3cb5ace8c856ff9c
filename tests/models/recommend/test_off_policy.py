"""The off-policy estimate covers the truth, refuses what it cannot know, and is not fooled by position."""

from __future__ import annotations

import numpy as np
import pytest

from bench.off_policy import Slice, replicate
from models.recommend.off_policy import Estimate, TooFew, cell_estimates, effective_size, snips


def test_intervals_cover_the_truth() -> None:
    world, rng = Slice.of(4), np.random.default_rng(2)
    covered = [x for _ in range(60) for x in replicate(world, 8000, rng) if x is not None]
    assert len(covered) >= 400 and 0.91 <= np.mean([bool(x) for x in covered]) <= 0.985


def test_a_small_slice_is_refused() -> None:
    assert set(replicate(Slice.of(4), 400, np.random.default_rng(2))) == {None}
    with pytest.raises(TooFew, match="effective sample size 999 of 999 units is below 1000"):
        snips(np.ones(999), np.zeros(999))
    assert effective_size(np.array([1.0, 0.0, 0.0])) == 1.0 and effective_size(np.zeros(3)) == 0.0


def test_by_hand() -> None:
    found = snips(np.array([1.0, 3.0]), np.array([0.0, 1.0]), least=0.0)
    error = np.sqrt((1 * 0.75) ** 2 + (3 * 0.25) ** 2) / 4
    assert found.value == 0.75 and found.high == pytest.approx(0.75 + 1.959964 * error)


def test_a_title_logged_low_counts_for_the_cell_it_shall_have() -> None:
    """Everything stood at a cell seen half as often; on top it would earn twice as much."""
    n, rng = 40_000, np.random.default_rng(0)
    taken = rng.random(n) < 0.5 * 0.2
    target = np.zeros((n, 2))
    target[:, 0] = 1.0
    one, other = cell_estimates(
        np.arange(n), np.ones(n, dtype=np.int64), taken, np.full(n, 0.5), target, np.array([1.0, 0.5])
    )
    assert isinstance(one, Estimate) and one.low < 0.2 < one.high and isinstance(other, TooFew)


def test_unknown_propensities_are_refused() -> None:
    one = np.ones(1)
    with pytest.raises(ValueError, match="a logged propensity is not in"):
        cell_estimates(np.zeros(1, int), np.zeros(1, int), one > 0, 0 * one, one[:, None], one)
    with pytest.raises(ValueError, match="a view probability is 0"):
        cell_estimates(np.zeros(1, int), np.zeros(1, int), one > 0, one, one[:, None], 0 * one)
