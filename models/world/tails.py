"""Days end to end: sessions of a day run past midnight, a topic should not jump back there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.days import DAY_MS
from models.world.service import Day


@dataclass(frozen=True, slots=True)
class Carry:
    """Events in topic order with their places (epoch ms), and the poison among them (`poison_at`: rows of `events`)."""

    events: pd.DataFrame
    order_ms: NDArray[np.int64]
    poison: list[tuple[bytes, bytes]]
    poison_at: NDArray[np.int64]


def by_receipt(carry: Carry | None, day: Day, day_start_ms: int) -> tuple[Carry, Carry]:
    """(what is in place before the day's midnight, what comes after), the carry of the day before merged in."""
    parts = [Carry(day.events, day.order_ms, day.poison, day.poison_at)] + (
        [carry] if carry is not None and len(carry.events) else []
    )
    order = np.concatenate([p.order_ms for p in parts])
    rank = np.argsort(order, kind="stable")
    place = np.empty(len(rank), dtype=np.int64)
    place[rank] = np.arange(len(rank))
    events = pd.concat([p.events for p in parts], ignore_index=True).iloc[rank].reset_index(drop=True)
    offset = np.concatenate([[0], np.cumsum([len(p.events) for p in parts])])
    after = np.concatenate(
        [
            place[np.minimum(p.poison_at, len(p.events) - 1) + offset[i]] if len(p.poison_at) else p.poison_at
            for i, p in enumerate(parts)
        ]
    ).astype(np.int64)
    poison = [message for p in parts for message in p.poison]
    by_place = np.argsort(after, kind="stable")
    after, poison = after[by_place], [poison[i] for i in by_place]
    order = order[rank]
    cut, spoilt = int(np.searchsorted(order, day_start_ms + DAY_MS)), 0
    spoilt = int(np.searchsorted(after, cut))
    return (
        Carry(events.iloc[:cut], order[:cut], poison[:spoilt], after[:spoilt]),
        Carry(events.iloc[cut:].reset_index(drop=True), order[cut:], poison[spoilt:], after[spoilt:] - cut),
    )
