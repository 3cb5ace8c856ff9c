"""Random sessions that break every assumption: lost, repeated, swapped, late and skewed events, odd orders of states.

The shapes are drawn to reach every rule of the fold often, not to look like viewers; `models.world` does that.
"""

from __future__ import annotations

import random
from typing import Any

from models.playback.spans import Policy

Row = dict[str, Any]

STATES = "sssppppppprrraaakkwdefq"
KEPT = ("ad", "ad_break", "ad_break", "ad,title_id,asset_id", "title_id,asset_id", "state,bitrate_kbps", "cdn_id", "*")
"""What an event may leave to the one before it, besides nothing."""
CODES = (None, "network", "drm_expired", "not_entitled", "nobody_knows")
SMALL = Policy(
    lateness_ms=24_000,
    hold_ms=15_000,
    pause_limit_ms=30_000,
    session_cap_ms=120_000,
    cause_ms=1_000,
    retry_ms=3_000,
    exit_ms=1_000,
    startup_ms=3_000,
    long_wait_ms=2_000,
)
"""A policy for sessions at a scale of 0.2."""
MIDNIGHT = 1_790_000_000_000 // 86_400_000 * 86_400_000 + 86_400_000
"""Some midnight (UTC milliseconds); half of the sessions lie around it."""


def session(rng: random.Random, session_id: str, scale: float = 1.0) -> list[Row]:
    """The events of one session as the player numbers them; `scale` shrinks the times along with a smaller policy."""
    at = MIDNIGHT + int(rng.uniform(-600_000, 600_000) if rng.random() < 0.5 else rng.uniform(-7e7, 7e7))
    skew = rng.choice((0, 0, 22 * rng.randint(-3_600_000, 3_600_000)))  # up to 22 h, of the 24 allowed
    view: Row = {
        "state": rng.choice("sssspdra"),
        "bitrate_kbps": rng.choice((None, 1000)),
        "background": False,
        "ad": False,
        "title_id": "t1",
        "ad_title": None,
        "cdn_id": "c1",
        "impression_id": rng.choice((None, "i1")),
        "page_id": None,
        "error_code": None,
        "playback_rate": 1.0,
    }
    rows = []
    player = _Player(rng)
    names = random.Random(session_id)
    told = names.choice((1, 1, 0.5, 0.95))  # how often it says its title
    for seq in range(rng.choice((1, 2, 3, 8, 15, 40))):
        delay = int(rng.expovariate(1 / 300)) + 20
        rows.append(
            _who(session_id)
            | view
            | {
                "seq": seq,
                "event": "t",
                "title_id": view["ad_title"] or (view["title_id"] if names.random() < told else "unknown"),
                "asset_id": names.choice(("a1", "a1", "a1", "unknown")) if told < 1 else "a1",
                "kept": rng.choice(KEPT) if rng.random() < 0.1 else "",
                "device_at": at + skew - (rng.random() < 0.02) * rng.randint(0, 5_000),
                "post_device_at": at + skew + rng.choice((0, 0, 1_500)),
                "received_at": at + delay + rng.choice((0, 0, 1_500)),
                "playhead_ms": rng.choice((None, seq * 1_000, rng.randint(0, 600_000))),
            }
            | player.counters(view["state"], at)
        )
        del rows[-1]["ad_title"]
        steps = (
            0,
            0,
            1,
            400,
            rng.randint(0, 5_000),
            3_000,
            10_000,
            30_000,
            30_000,
            30_000,
            60_000,
            75_000,
            80_000,
            200_000,
        )
        at += int(scale * rng.choice(steps))
        _change(rng, view)
    return rows


class _Player:
    """Counts its stalls as players do: most tell them well, some when they are over, some at times, some nonsense."""

    def __init__(self, rng: random.Random) -> None:
        self.rng, self.habit = rng, rng.choice(("well", "well", "well", "after", "at times", "never", "nonsense"))
        self.stalls = self.stall_ms = self.since = 0
        self.played, self.before = False, ""

    def counters(self, state: str, at: int) -> Row:
        """What it says after moving to `state`."""
        if self.before == "r" and self.played:
            self.stall_ms += at - self.since
        if state == "r" and self.before != "r" and self.played:
            self.stalls += 1
        self.played = self.played or state == "p"
        self.before, self.since = state, at
        told = self.habit != "never" and (self.habit != "at times" or self.rng.random() < 0.5)
        count, total = self.stalls - (self.habit == "after" and state == "r" and self.stalls > 0), self.stall_ms
        if self.habit == "nonsense" and self.rng.random() < 0.3:
            count, total = self.rng.randint(0, 9), self.rng.randint(0, 90_000)
        return {"stall_count": count if told else None, "stall_total_ms": total if told else None}


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
    view["error_code"] = rng.choice(CODES) if view["state"] == "f" or rng.random() < 0.02 else None
    if rng.random() < 0.05:
        view["playback_rate"] = rng.choice((1.0, 0.5, 1.25, 2.0, 0.333, 0.0))
    if rng.random() < 0.2:
        view["bitrate_kbps"] = rng.choice((None, 1000, 2000, 4000))
    for flag, chance in (("ad", 0.1), ("background", 0.1)):
        if rng.random() < chance:
            view[flag] = not view[flag]
    if rng.random() < 0.05:
        view["cdn_id"] = rng.choice(("c1", "c2"))
    if rng.random() < 0.02:
        view["title_id"] = rng.choice(("t1", "t2"))
    view["ad_title"] = rng.choice((None, "ad1", "ad2")) if view["ad"] else None
    if rng.random() < 0.05:
        view["impression_id"], view["page_id"] = "i2", "pg"


def sent(rng: random.Random, rows: list[Row], scale: float = 1.0) -> list[Row]:
    """What arrives of `rows`: 3 % swapped, 2 % late, 4 % lost, 3 % twice; never nothing."""
    found = []
    for row in rows:
        chance = rng.random()
        if chance > 0.96 and len(rows) > 1:
            continue
        delay = 0.0
        if chance < 0.03:
            delay = scale * rng.uniform(100, 110_000)
        elif chance < 0.05:
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
