"""What a profile thinks of a show: latent affinity, and today's utility with popularity, age and history on top."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.world.catalogue import Shows
from models.world.config import WorldConfig
from models.world.population import F8, I8, Population
from models.world.rng import stream

F4 = NDArray[np.float32]
NEVER = -1
"""Progress of a show never begun; else the number of its next episode."""
IMPOSSIBLE = np.float32(-1e9)


def affinity(config: WorldConfig, people: Population, shows: Shows) -> F4:
    """Standardised affinity (profiles, shows): genre match, latent match, and a private remainder."""
    genre = people.taste @ shows.genres.T
    genre = (genre - genre.mean()) / (genre.std() or 1.0)
    hidden = people.latent @ shows.latent.T / np.sqrt(shows.latent.shape[1])
    private = stream(config.seed, "private").normal(0.0, 0.3, genre.shape)
    return np.asarray(config.taste * genre + config.latent * hidden + private, dtype=np.float32)


def utility(
    config: WorldConfig, people: Population, shows: Shows, liking: F4, progress: NDArray[np.int16], day: int
) -> F4:
    """Take logit of every show for every profile before place and image (profiles, shows); IMPOSSIBLE if not playable.

    Popularity is the show's quality, its country's fancy and what suits the profile's usual device; a launch adds
    interest that fades within a week; shows under way pull, finished ones repel.
    """
    age = day - shows.launch
    fresh = np.where(age >= 0, config.launch_boost * np.exp(-np.maximum(age, 0) / 5.0), 0.0) - 0.25 * np.log1p(
        np.maximum(age, 0) / 30.0
    )
    common = config.popularity * (shows.quality[None, :] + shows.quality_in) + fresh[None, :]
    out = liking + common.astype(np.float32)[people.country]
    out += (config.popularity * shows.quality_on).astype(np.float32)[people.device]
    done = progress >= shows.titles[None, :]
    out += np.where(done, np.float32(-3.0), np.where(progress > 0, np.float32(1.2), np.float32(0.0)))
    out[:, age < 0] = IMPOSSIBLE
    out[shows.maturity[None, :] > people.maturity_limit[:, None]] = IMPOSSIBLE
    return out


def past(config: WorldConfig, liking: F4, shows: Shows) -> NDArray[np.int16]:
    """Where profiles stand when the world begins: some shows begun long ago, the liked and popular ones more often."""
    rng = stream(config.seed, "past")
    chance = 0.25 / (1.0 + np.exp(-(liking + 0.6 * shows.quality[None, :] - 1.0)))
    begun = (rng.random(liking.shape) < chance) & (shows.launch < 0)[None, :]
    upto = np.where(
        rng.random(liking.shape) < 0.3,
        shows.titles[None, :],
        rng.integers(0, 1_000, liking.shape) % shows.titles[None, :],
    )
    return np.where(begun, np.where(shows.series[None, :], upto, 1), NEVER).astype(np.int16)


def like(config: WorldConfig, liking: F4, shows: Shows, who: I8, show: I8) -> F8:
    """How much a profile enjoys a show once it plays, in (0, 1): decides how long it stays; the image plays no part."""
    spread = float(np.hypot(config.taste, config.latent)) or 1.0
    z = 1.1 * liking[who, show] / spread + 0.35 * shows.quality[show]
    return np.asarray(1.0 / (1.0 + np.exp(-z)), dtype=np.float64)


def softmax(logits: F4) -> F4:
    """Row-wise probabilities."""
    top = logits.max(axis=1, keepdims=True)
    weights = np.exp(logits - top)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), dtype=np.float32)
