"""How much more often something happened than expected, drawn to 1 by as much as the data say.

Counts are taken for Poisson with mean ratio x expected, ratios for gamma with mean 1; the posterior mean of a ratio is
(count + pull) / (expected + pull). The pull, one over the variance of the ratios, is the one under which the counts are
most likely (negative binomial; empirical Bayes as in DuMouchel 1999).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

Floats = NDArray[np.float64]
PULLS = np.exp2(np.arange(-1.0, 10.25, 0.25))


def log_ratios(count: Floats, expected: Floats) -> Floats:
    """Log of the posterior means, of the shape of `count`; decayed counts may be fractions.

    Args:
        count, expected: equal shapes; where nothing is expected a count says nothing.
    """
    pull = pull_of(count, expected)
    return np.where(expected > 0, np.log((count + pull) / (expected + pull)), 0.0)


def pull_of(count: Floats, expected: Floats) -> float:
    """The most likely one of PULLS."""
    some = expected > 0
    n, mean = count[some], expected[some]
    if not len(n):
        return float(PULLS[-1])
    likely = [
        float((gammaln(n + k) - gammaln(k) - (n + k) * np.log1p(mean / k) - n * np.log(k)).sum()) for k in PULLS
    ]
    return float(PULLS[int(np.argmax(likely))])
