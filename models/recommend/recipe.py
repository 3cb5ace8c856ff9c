"""The blend that is shipped: which sources, with which settings; chosen on validation profiles of ML-1M, and frozen."""

from __future__ import annotations

from collections.abc import Callable

from models.recommend.ials import Ials
from models.recommend.linear import Edlae
from models.recommend.neighbours import Bm25Neighbours
from models.recommend.protocol import Scorer
from models.recommend.scorers import Popularity
from models.recommend.stack import Learning, Stack

SOURCES: dict[str, Callable[[], Scorer]] = {
    "edlae": Edlae,
    "edlae_counts": lambda: Edlae(length_power=0.0, play_power=0.0),
    "ials_256": lambda: Ials(256, 0.01, 0.14, epochs=10, seed=2),
    "ials_128": lambda: Ials(128, 0.01, 0.17, epochs=10, seed=1),
    "ials_64": lambda: Ials(64, 0.012, 0.17, epochs=10, seed=3),
    "ials_32": lambda: Ials(32, 0.012, 0.17, epochs=10, seed=4),
    "bm25": Bm25Neighbours,
    "popularity": Popularity,
}
PRIOR = {
    "edlae": (0.3, 0.0),
    "edlae_counts": (0.0, 0.0),
    "ials_256": (0.35, 0.0),
    "ials_128": (0.35, 0.0),
    "ials_64": (0.0, 0.0),
    "ials_32": (0.0, 0.0),
    "bm25": (0.0, 0.0),
    "popularity": (0.0, 0.5),
}
"""Before anything is learned: .3 EDLAE and .7 iALS, the best plain blend of the notes; popularity for the short."""


def blend(learning: Learning | None = None, seed: int = 5) -> Stack:
    """A new, untrained blend."""
    return Stack(SOURCES, PRIOR, learning, seed)
