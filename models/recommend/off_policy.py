"""What another page would have earned, from the slice whose order was drawn: by cell, under a stated position model.

Position model: a cell's chance of a take is the chance that the cell is seen times the title's own chance when seen,
and cells do not compete. Then the takes of title t at cell c under the target are those logged at any cell, weighted by
view(c) / view(logged cell), for which the propensity of each (title, cell) must be known and above 0 wherever the
target may put the title.

Estimators: SNIPS (Swaminathan and Joachims 2015), self-normalised inverse propensity per cell, with the interval of the
ratio by the delta method over pages, the units that were drawn. Below an effective sample size of 1,000 (Kong 1992) it
refuses: such a number is worth less than none.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEAST_EFFECTIVE = 1_000.0
Z95 = 1.959963984540054


class TooFew(ValueError):
    """The logged slice says too little of the target page; the message holds both sizes."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """Takes per opened page of a cell (or of a whole page), with its 95 % interval and effective sample size."""

    value: float
    low: float
    high: float
    effective: float


def effective_size(weights: NDArray[np.float64]) -> float:
    """(sum w)^2 / sum w^2; 0 without weights."""
    squares = float((weights * weights).sum())
    return float(weights.sum() ** 2 / squares) if squares > 0 else 0.0


def snips(weights: NDArray[np.float64], rewards: NDArray[np.float64], least: float = LEAST_EFFECTIVE) -> Estimate:
    """Self-normalised estimate of the mean reward under the target.

    Args:
        weights: shape (n,), target over logging probability of what each independent unit was shown; at least 0.
        rewards: shape (n,).

    Raises:
        TooFew: the effective sample size is below `least`.
        ValueError: a weight is negative or not finite.
    """
    if not np.isfinite(weights).all() or (len(weights) and weights.min() < 0):
        raise ValueError("a weight is negative or infinite: a logged propensity is 0 or missing")
    effective = effective_size(weights)
    if effective < least:
        raise TooFew(
            f"effective sample size {effective:.0f} of {len(weights)} units is below {least:.0f}: the target page "
            "differs too much from what was drawn; log a larger randomised slice"
        )
    total = weights.sum()
    value = float((weights * rewards).sum() / total)
    gap = weights * (rewards - value)
    error = float(np.sqrt((gap * gap).sum()) / total)
    return Estimate(value, value - Z95 * error, value + Z95 * error, effective)


def cell_estimates(
    page: NDArray[np.int64],
    cell: NDArray[np.int64],
    taken: NDArray[np.bool_],
    propensity: NDArray[np.float64],
    target: NDArray[np.float64],
    view: NDArray[np.float64],
    least: float = LEAST_EFFECTIVE,
) -> list[Estimate | TooFew]:
    """Takes per page at every cell of the target page, shape (cells,).

    A logged placement of title t at cell l stands for the same title at cell c with weight
    target[c] / propensity, its outcome scaled by view[c] / view[l].

    Args:
        page, cell, taken, propensity: shape (n,), one row a placement of the randomised slice: its page, its cell
            (number in reading order), whether it was taken, and the probability with which that title stood there.
        target: shape (n, cells), probability with which the target puts that row's title in each cell.
        view: shape (cells,), probability that a cell is seen, above 0.
        least: effective sample size below which a cell is refused.

    Returns:
        an estimate, or the refusal, of each cell.
    """
    if (propensity <= 0).any() or (propensity > 1).any():
        raise ValueError("a logged propensity is not in (0, 1]; the slice must draw with known probabilities")
    if view.min() <= 0:
        raise ValueError("a view probability is 0: nothing was ever seen there, so nothing can be said of it")
    pages = int(page.max()) + 1 if len(page) else 0
    out: list[Estimate | TooFew] = []
    for c in range(len(view)):
        weight = target[:, c] / propensity
        reward = taken * view[c] / view[cell]
        by_page = np.bincount(page, weights=weight, minlength=pages).astype(np.float64)
        gained = np.bincount(page, weights=weight * reward, minlength=pages).astype(np.float64)
        try:
            out.append(_ratio(by_page, gained, least))
        except TooFew as refused:
            out.append(refused)
    return out


def _ratio(weights: NDArray[np.float64], gained: NDArray[np.float64], least: float) -> Estimate:
    """Sum of gains over sum of weights; units are independent."""
    rewards = np.divide(gained, weights, out=np.zeros_like(gained), where=weights > 0)
    return snips(weights, rewards, least)
