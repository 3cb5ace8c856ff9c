"""The blend that is shipped: which sources, with which settings; chosen on validation profiles of ML-1M, and frozen."""

from __future__ import annotations

from collections.abc import Callable

from models.recommend.ials import Ials
from models.recommend.kernel import ProfileKernel
from models.recommend.linear import Edlae
from models.recommend.neighbours import Bm25Neighbours, CoWatched, Walks
from models.recommend.protocol import Scorer
from models.recommend.scorers import Popularity
from models.recommend.stack import Learning, Stack

SOURCES: dict[str, Callable[[], Scorer]] = {
    "edlae": Edlae,
    "edlae_plain": lambda: Edlae(length_power=0.0, play_power=0.0),
    "edlae_dropped": lambda: Edlae(8.0, 0.6, 0.4, 0.3),
    "ials_512": lambda: Ials(512, 0.01, 0.12, epochs=10, seed=7),
    "ials_256_wide": lambda: Ials(256, 0.007, 0.3, epochs=10, seed=6),
    "ials_128": lambda: Ials(128, 0.01, 0.17, epochs=10, seed=1),
    "ials_64": lambda: Ials(64, 0.012, 0.17, epochs=10, seed=3),
    "ials_32": lambda: Ials(32, 0.012, 0.17, epochs=10, seed=4),
    "ials_16": lambda: Ials(16, 0.012, 0.17, epochs=10, seed=5),
    "profiles": ProfileKernel,
    "walks": Walks,
    "bm25": Bm25Neighbours,
    "co_watched": CoWatched,
    "popularity": Popularity,
}
PRIOR = {
    "edlae": (0.2, -0.1),
    "edlae_plain": (0.0, 0.0),
    "edlae_dropped": (0.0, 0.0),
    "ials_512": (0.3, -0.4),
    "ials_256_wide": (0.3, -0.3),
    "ials_128": (0.1, -0.1),
    "ials_64": (0.0, 0.0),
    "ials_32": (0.0, 0.0),
    "ials_16": (0.0, 0.2),
    "profiles": (0.1, 0.0),
    "walks": (0.0, 0.0),
    "bm25": (0.0, 0.0),
    "co_watched": (0.0, 0.5),
    "popularity": (0.0, 0.1),
}
"""Weights before anything is learned, see stack.Stack. On histories of one title no blend of them beat co-watching."""


def blend(learning: Learning | None = None, seed: int = 5) -> Stack:
    """A new, untrained blend."""
    return Stack(SOURCES, PRIOR, learning, seed, single="co_watched", empty="popularity")
