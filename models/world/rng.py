"""Randomness: named numpy streams for tables, and keyed draws for what happens inside a session.

A keyed draw depends on (seed, purpose, index) alone, never on how many draws came before it, so a session plays the
same whatever its neighbours do, and an independent player can make the same draws. The mixer is splitmix64
(Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
"""

from __future__ import annotations

from hashlib import blake2b

import numpy as np
from numba import njit
from numpy.typing import NDArray

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX2 = np.uint64(0x94D049BB133111EB)


def stream(seed: int, *labels: object) -> np.random.Generator:
    """A generator of its own for every (seed, labels)."""
    text = "\x1f".join(str(label) for label in labels).encode()
    key = blake2b(text, digest_size=16, key=seed.to_bytes(8, "little", signed=True)).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(key, "little")))


def seeds(seed: int, n: int, *labels: object) -> NDArray[np.uint64]:
    """`n` seeds for keyed draws."""
    return stream(seed, *labels).integers(0, 2**63, size=n, dtype=np.uint64)


@njit(cache=True)
def mix(x: np.uint64) -> np.uint64:
    """splitmix64's finaliser."""
    x = np.uint64(x + _GOLDEN)
    x = np.uint64((x ^ (x >> np.uint64(30))) * _MIX1)
    x = np.uint64((x ^ (x >> np.uint64(27))) * _MIX2)
    return np.uint64(x ^ (x >> np.uint64(31)))


@njit(cache=True)
def draw(seed: np.uint64, purpose: int, index: int) -> float:
    """Uniform in (0, 1), 53 bits, keyed by purpose and index."""
    key = np.uint64(purpose) * np.uint64(0x100000000) + np.uint64(index)
    bits = mix(np.uint64(seed) ^ mix(key)) >> np.uint64(11)
    return (float(bits) + 0.5) * 1.1102230246251565e-16


@njit(cache=True)
def exponential(seed: np.uint64, purpose: int, index: int, mean: float) -> float:
    """Exponential of the given mean, keyed."""
    return -mean * np.log(draw(seed, purpose, index))
