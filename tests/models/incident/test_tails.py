"""Tails of overdispersed counts against scipy's own laws, and p-values that are uniform when the law is right."""

from __future__ import annotations

import numpy as np
from scipy import stats

from models.incident import tails

RNG = np.random.default_rng(3)


def test_negative_binomial_is_scipys() -> None:
    mean, spread = RNG.gamma(1.0, 20.0, 400), RNG.uniform(0.001, 0.5, 400)
    count = RNG.poisson(mean * RNG.uniform(0.2, 3.0, 400))
    law = stats.nbinom(1 / spread, 1 / (1 + spread * mean))
    np.testing.assert_allclose(tails.at_least(count, mean, spread), law.sf(count - 1), rtol=1e-8, atol=1e-300)
    np.testing.assert_allclose(tails.at_most(count, mean, spread), law.cdf(count), rtol=1e-8)


def test_a_numerator_of_a_small_denominator_errs_to_the_silent_side() -> None:
    trials, share, spread = RNG.integers(1, 60, 300), RNG.uniform(0.01, 0.1, 300), RNG.uniform(0.01, 0.4, 300)
    mean = trials * share
    count = np.minimum(np.ceil(mean + 6 * np.sqrt(mean + spread * mean**2)), trials)
    total = (1 - share) / (share * spread) - 1
    exact = stats.betabinom.sf(count - 1, trials, share * total, (1 - share) * total)
    rare = exact < 1e-4
    assert rare.sum() > 30 and (tails.at_least(count, mean, spread)[rare] >= exact[rare]).all()


def test_without_spread_it_is_poisson() -> None:
    count = np.array([0, 1, 5, 30])
    np.testing.assert_allclose(tails.at_least(count, 4.0, 0.0), stats.poisson.sf(count - 1, 4.0), rtol=1e-4)


def test_randomised_p_values_are_uniform() -> None:
    mean, spread = RNG.gamma(0.5, 4.0, 40_000), 0.05
    count = RNG.poisson(mean * RNG.gamma(1 / spread, spread, len(mean)))
    strict, weak = tails.at_least(count + 1, mean, spread), tails.at_least(count, mean, spread)
    assert stats.kstest(tails.randomised(strict, weak, RNG), "uniform").pvalue > 0.001
    assert stats.kstest(weak, "uniform").statistic > 0.1, "without drawing inside the jump they are not"


def test_the_exponent_bounds_the_tail_and_goes_on_where_it_underflows() -> None:
    count, mean = np.array([10.0, 50.0, 400.0, 90_000.0]), np.array([4.0, 20.0, 100.0, 1_000.0])
    p, exponent = tails.at_least(count, mean, 0.01), tails.deviance(count, mean, 0.01)
    assert (p <= np.exp(-exponent) + 1e-300).all()
    score = tails.normal_score(tails.log_p(p, exponent))
    assert (np.diff(score) > 0).all() and np.isfinite(score).all()


def test_the_exponent_of_lumps_bounds_the_drawn_tail() -> None:
    """Compound Poisson of exponential lumps with a gamma rate, drawn: never above the bound, and near it far out."""
    half, spread, draws = 3.0, 0.05, 400_000
    for mean in (0.5, 6.0, 60.0):
        count = RNG.poisson(mean / half * RNG.gamma(1 / spread, spread, draws))
        total = np.where(count > 0, RNG.gamma(np.maximum(count, 1), half), 0.0)
        for far in (3.0, 4.5):
            x = mean + far * np.sqrt(mean * 2 * half + spread * mean**2)
            p = (total >= x).mean()
            exponent = tails.lumpy(x, mean, 2 * half, spread)
            assert p <= np.exp(-exponent) and p >= np.exp(-exponent) / 40
    np.testing.assert_allclose(tails.lumpy(25.0, 9.0, 2.0, 0.0), 4.0, rtol=1e-3)
    np.testing.assert_allclose(tails.lumpy(9.0, 9.0, 2.0, 0.3), 0.0, atol=1e-9)


def test_one_long_stall_where_stalls_are_rare_is_no_wonder() -> None:
    """Twenty seconds where 0.03 were expected, lumps of five seconds: a count of units would call it impossible."""
    exponent = tails.lumpy(20_000.0, 27.0, 10_000.0, 0.01)
    assert exponent < 5.0
    assert -tails.log_p(tails.at_least(2.0, 0.0027, 0.01), tails.deviance(2.0, 0.0027, 0.01)) > 10.0
