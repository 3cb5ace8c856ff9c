"""Random sessions that break every assumption: lost, repeated, swapped, late and skewed events, odd orders of states.

The shapes are drawn to reach every rule of the fold often, not to look like viewers; `models.world` does that.
"""

from __future__ import annotations

import random
from typing import Any

Row = dict[str, Any]

STATES = "sssppppppprrraaakkwdefq"
MIDNIGHT = 1_790_000_000_000 // 86_400_000 * 86_400_000 + 86_400_000
"""Some midnight (UTC milliseconds); half of the sessions lie around it."""


def session(rng: random.Random, session_id: str, scale: float = 1.0) -> list[Row]:
    """The events of one session as the player numbers them; `scale` shrinks the times along with a smaller policy."""
    at = MIDNIGHT + int(rng.uniform(-600_000, 600_000) if rng.random() < 0.5 else rng.uniform(-7e7, 7e7))
    skew = rng.choice((0, 0, rng.randint(-3_600_000, 3_600_000)))
    view: Row = {
        "state": rng.choice("sssspdra"),
        "bitrate_kbps": rng.choice((None, 1000)),
        "background": False,
        "ad": False,
        "title_id": "t1",
        "cdn_id": "c1",
        "impression_id": rng.choice((None, "i1")),
        "page_id": None,
    }
    rows = []
    for seq in range(rng.choice((1, 2, 3, 8, 15, 40))):
        delay = int(rng.expovariate(1 / 300)) + 20
        rows.append(
            view
            | _who(session_id)
            | {
                "seq": seq,
                "event": "t",
                "device_at": at + skew - (rng.random() < 0.02) * rng.randint(0, 5_000),
                "post_device_at": at + skew + rng.choice((0, 0, 1_500)),
                "received_at": at + delay + rng.choice((0, 0, 1_500)),
                "playhead_ms": rng.choice((None, seq * 1_000)),
            }
        )
        at += int(
            scale * rng.choice((0, 0, 1, 400, 3_000, 10_000, 30_000, 30_000, 30_000, 60_000, 75_000, 80_000, 200_000))
        )
        _change(rng, view)
    return rows


def _who(session_id: str) -> Row:
    return {
        "session_id": session_id,
        "profile_id": f"p{session_id}",
        "asset_id": "a1",
        "isp": "isp1",
        "country": "FR",
        "device": "tv",
        "app_version": "1.2",
        "buffer_ms": None,
        "stall_count": None,
        "stall_total_ms": None,
        "start_delay_ms": None,
        "error_code": None,
        "throughput_kbps": None,
        "dropped_frames": None,
        "playback_rate": 1.0,
    }


def _change(rng: random.Random, view: Row) -> None:
    if rng.random() < 0.6:
        view["state"] = rng.choice(STATES)
    if rng.random() < 0.2:
        view["bitrate_kbps"] = rng.choice((None, 1000, 2000, 4000))
    for flag, chance in (("ad", 0.1), ("background", 0.1)):
        if rng.random() < chance:
            view[flag] = not view[flag]
    if rng.random() < 0.05:
        view["cdn_id"] = rng.choice(("c1", "c2"))
    if rng.random() < 0.02:
        view["title_id"] = rng.choice(("t1", "t2"))
    if rng.random() < 0.05:
        view["impression_id"], view["page_id"] = "i2", "pg"


def sent(rng: random.Random, rows: list[Row], scale: float = 1.0) -> list[Row]:
    """What arrives of `rows`: 2 % swapped, 2 % late, 2 % lost, 3 % twice; never nothing."""
    found = []
    for row in rows:
        chance = rng.random()
        if chance < 0.02 and len(rows) > 1:
            continue
        delay = 0.0
        if chance < 0.05:
            delay = scale * rng.uniform(100, 110_000)
        elif chance < 0.07:
            delay = scale * rng.uniform(100_000, 500_000)
        found.append(row | {"received_at": row["received_at"] + int(delay)})
        if rng.random() < 0.03:
            found.append(row | {"received_at": row["received_at"] + int(scale * rng.uniform(0, 300_000))})
    return found or rows


def topic(rng: random.Random, sessions: list[list[Row]], jitter_ms: int) -> list[Row]:
    """All events in sending order (by reception, off by at most `jitter_ms`), with position and Kafka timestamp.

    Kafka's timestamp does not decrease in a partition and is not before the reception, as the producer sets it.
    """
    rows = [row for session in sessions for row in session]
    order = sorted(rows, key=lambda row: row["received_at"] + rng.uniform(0, jitter_ms))
    offsets, clocks = [0] * 4, [0] * 4
    for row in order:
        partition = hash_of(row["session_id"]) % 4
        clocks[partition] = max(clocks[partition], row["received_at"])
        row |= {"kafka_partition": partition, "kafka_offset": offsets[partition], "kafka_at": clocks[partition]}
        offsets[partition] += 1
    return order


def hash_of(text: str) -> int:
    """A hash that does not change between runs."""
    return sum(ord(letter) * 31**place for place, letter in enumerate(text))
