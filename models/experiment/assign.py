"""Who is in which arm: a salted hash of the unit, so that every engine, day and process agrees without a table.

Two experiments use two salts, hence independent assignments: page and artwork holdback form a 2 x 2 design.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

POLICY = "policy"
HOLDBACK = "holdback"

_TWO_64 = float(2**64)
_SEPARATOR = b"\x1f"


def uniform(salt: str, *parts: object) -> float:
    """A number in [0, 1) that depends on nothing but the salt and the parts (64 bits of BLAKE2b)."""
    text = _SEPARATOR.join(str(part).encode() for part in parts)
    return min(int.from_bytes(_digest(salt, text), "little") / _TWO_64, _BELOW_ONE)


def uniforms(salt: str, unit_ids: Iterable[str]) -> NDArray[np.float64]:
    """`uniform(salt, u)` of every unit, shape (n,)."""
    keyed = _keyed(salt)
    digests = bytearray()
    for unit in unit_ids:
        state = keyed.copy()
        state.update(unit.encode())
        digests += state.digest()
    return np.minimum(np.frombuffer(bytes(digests), dtype="<u8").astype(np.float64) / _TWO_64, _BELOW_ONE)


def join_parts(columns: Sequence[Iterable[object]]) -> list[str]:
    """Units made of several columns, joined so that ("a", "bc") and ("ab", "c") differ."""
    separator = _SEPARATOR.decode()
    return [separator.join(str(part) for part in row) for row in zip(*columns, strict=True)]


def in_holdback(salt: str, unit_ids: Iterable[str], share: float) -> NDArray[np.bool_]:
    """True for the units held back, shape (n,): those whose hash falls below `share`.

    A greater share holds back a superset of the units of a smaller one.

    Raises:
        ValueError: `share` is not in [0, 1].
    """
    if not 0.0 <= share <= 1.0:
        raise ValueError(f"holdback share is {share}, must be in [0, 1]; set experiment.*_holdback")
    return uniforms(salt, unit_ids) < share


def arms(salt: str, unit_ids: Iterable[str], share: float) -> NDArray[np.object_]:
    """Arm of every unit, shape (n,): 'holdback' for `share` of them, else 'policy'."""
    held = in_holdback(salt, unit_ids, share)
    return np.where(held, np.array(HOLDBACK, dtype=object), np.array(POLICY, dtype=object))


def _keyed(salt: str) -> blake2b:
    return blake2b(digest_size=8, key=blake2b(salt.encode(), digest_size=32).digest())


def _digest(salt: str, text: bytes) -> bytes:
    state = _keyed(salt)
    state.update(text)
    return state.digest()


_BELOW_ONE = float(np.nextafter(1.0, 0.0))
