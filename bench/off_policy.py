"""Coverage of the off-policy page estimate: `python -m bench.off_policy --replications 1000`.

A slice of pages whose titles were drawn by a known softmax (Plackett-Luce would do as well; each cell draws among its
own titles, so propensities are exact) is logged under the stated position model; the target page is another. Every
replication draws a new log; of each cell and replication it is noted whether the 95 % interval covers the exact truth.
A log too small for the effective sample size of 1,000 must be refused. Exit code 1 when coverage leaves 93 to 97 %.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.recommend.off_policy import TooFew, cell_estimates

CELLS, TITLES = 8, 6


@dataclass(frozen=True, slots=True)
class Slice:
    """What is drawn: shape (CELLS, TITLES) each but view (CELLS,); titles of cell c are its own."""

    logging: NDArray[np.float64]
    target: NDArray[np.float64]
    chance: NDArray[np.float64]
    view: NDArray[np.float64]

    @classmethod
    def of(cls, seed: int) -> Slice:
        """Draw one."""
        rng = np.random.default_rng(seed)
        logging = np.exp(rng.normal(0.0, 0.5, (CELLS, TITLES)))
        target = np.exp(rng.normal(0.0, 1.0, (CELLS, TITLES)))
        return cls(
            logging / logging.sum(axis=1, keepdims=True),
            target / target.sum(axis=1, keepdims=True),
            rng.uniform(0.05, 0.3, (CELLS, TITLES)),
            1.0 / np.log2(np.arange(CELLS) + 2.0),
        )

    def truth(self) -> NDArray[np.float64]:
        """Takes per page at each cell under the target."""
        return self.view * (self.target * self.chance).sum(axis=1)


def replicate(world: Slice, pages: int, rng: np.random.Generator) -> list[bool | None]:
    """Whether each cell's interval covers the truth; None where it refused."""
    edges = world.logging.cumsum(axis=1)
    title = (rng.random((pages, CELLS))[:, :, None] > edges[None]).sum(axis=2).clip(max=TITLES - 1)
    cells = np.broadcast_to(np.arange(CELLS), title.shape)
    taken = rng.random(title.shape) < world.view * world.chance[cells, title]
    page, cell, what = (x.ravel() for x in (np.broadcast_to(np.arange(pages)[:, None], title.shape), cells, title))
    target = np.zeros((len(page), CELLS))
    target[np.arange(len(page)), cell] = world.target[cell, what]
    found = cell_estimates(page, cell, taken.ravel(), world.logging[cell, what], target, world.view)
    truth = world.truth()
    return [None if isinstance(one, TooFew) else one.low <= truth[c] <= one.high for c, one in enumerate(found)]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print coverage by cell and in all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replications", type=int, default=1000)
    parser.add_argument("--pages", type=int, default=6000, help="of the randomised slice")
    parser.add_argument("--seed", type=int, default=20260301)
    given = parser.parse_args(arguments)
    world = Slice.of(given.seed)
    rng = np.random.default_rng([given.seed, 1])
    found = [replicate(world, given.pages, rng) for _ in range(given.replications)]
    covered = np.array([[np.nan if x is None else float(x) for x in row] for row in found])
    refused = np.isnan(covered)
    by_cell = np.nanmean(covered, axis=0)
    print("coverage by cell:", " ".join(f"{x:.3f}" for x in by_cell), f"; refused {refused.mean():.1%}")
    whole = float(np.nanmean(covered))
    small = replicate(world, 600, rng)
    print(f"all cells, {given.replications} replications: {whole:.4f}; of 600 pages, {small.count(None)} cells refused")
    return 0 if 0.93 <= whole <= 0.97 and by_cell.min() >= 0.93 and by_cell.max() <= 0.97 and None in small else 1


if __name__ == "__main__":
    sys.exit(main())
