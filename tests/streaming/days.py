"""Hand-made days: small, hostile, seeded; no world needed. Each is a `streaming.produce.LivedDay`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime

import numpy as np
import numpy.typing as npt
import pandas as pd

from schemas import records, wire
from streaming import lanes

DAY = date(2026, 3, 14)
NULLS = (
    "bitrate_kbps", "buffer_ms", "stall_count", "stall_total_ms", "start_delay_ms", "playhead_ms", "error_code",
    "impression_id", "page_id", "throughput_kbps", "dropped_frames",
)
INTEGERS = {"bitrate_kbps": "Int32", "buffer_ms": "Int32", "stall_count": "Int32", "stall_total_ms": "Int64",
            "start_delay_ms": "Int32", "playhead_ms": "Int64", "throughput_kbps": "Int32", "dropped_frames": "Int32"}


@dataclass
class HandMade:
    """A day as the producer wants it."""

    day: date
    events: pd.DataFrame
    poison: Sequence[tuple[bytes | None, bytes]] = ()
    poison_at: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    impressions: pd.DataFrame = field(default_factory=pd.DataFrame)
    cdn_requests: pd.DataFrame = field(default_factory=pd.DataFrame)
    truth: Mapping[str, pd.DataFrame] = field(default_factory=dict)

    @property
    def order_ms(self) -> npt.NDArray[np.int64]:
        """Place in the topic: the order of arrival."""
        return lanes.millis(self.events["received_at"])


def start_ms(day: date = DAY) -> int:
    """Midnight of the day, UTC ms."""
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * 1000)


def frame(rows: list[dict[str, object]]) -> pd.DataFrame:
    """Rows with millisecond integers for times as a frame of `playback_event` v2 plus `schema_version`."""
    events = pd.DataFrame(rows)
    for name in NULLS:
        if name not in events:
            events[name] = None
    for name, kind in INTEGERS.items():
        events[name] = events[name].astype(kind)
    for name in ("device_at", "received_at", "post_device_at"):
        events[name] = pd.to_datetime(events[name], unit="ms", utc=True).dt.as_unit("ms")
    for name in ("error_code", "impression_id", "page_id"):
        events[name] = events[name].astype(object).where(events[name].notna(), None)
    columns = [f.name for f in records.load("playback_event").fields]
    for later in records.load("playback_event").fields:
        if later.name not in events and later.has_default:
            events[later.name] = [later.default] * len(events)
    return events[[*columns, "schema_version"]].reset_index(drop=True)


def session(rng: np.random.Generator, number: int, first_ms: int) -> list[dict[str, object]]:
    """One session's events: start, states of random length, bitrate changes, mostly an end; device clocks are off."""
    offset = int(rng.integers(-40_000, 40_000)) if number % 3 == 0 else int(rng.integers(0, 200))
    base: dict[str, object] = {
        "session_id": f"s{number:05d}", "profile_id": f"p{number % 40}", "title_id": f"t{number % 7}",
        "asset_id": f"t{number % 7}-av1", "isp": f"isp{number % 3}", "country": ("DE", "FR")[number % 2],
        "device": ("tv", "web", "mobile")[number % 3], "app_version": ("1.0", "1.1")[number % 2],
        "cdn_id": f"cdn{number % 2}", "background": False, "ad": False, "playback_rate": 1.0,
        "schema_version": 1 + number % 2,
    }
    rows: list[dict[str, object]] = []
    at, bitrate, state = first_ms, 0, "s"
    for seq in range(int(rng.integers(4, 30))):
        event = "ps"
        if seq:
            at += int(rng.choice([5, 400, 2_000, 11_000, 30_000, 61_000]) * rng.uniform(0.5, 1.0))
            if state == "p" and rng.random() < 0.4:
                event, bitrate = "br", int(rng.choice([800, 2_000, 5_000]))
            else:
                state = {"s": "p", "p": str(rng.choice(["r", "a", "k", "p"])), "r": "p", "a": "p", "k": "p"}[state]
                bitrate = bitrate or 2_000
        row = dict(base, seq=seq, event=event, state=state, at=at, bitrate_kbps=bitrate or None)
        rows.append(row)
    if number % 5:
        at += 700
        end = ("e", "q", "f")[number % 3]
        rows.append(dict(base, seq=len(rows), event="ps", state=end, at=at, bitrate_kbps=bitrate or None))
    for row in rows:
        device = row.pop("at")
        assert isinstance(device, int)
        row["device_at"] = row["post_device_at"] = device - offset
        row["received_at"] = device + 60 + number % 17
    return rows


def hostile(seed: int, sessions: int, day: date = DAY, hours: float = 2.0) -> HandMade:
    """A day with 2 % duplicates, 2 % out of order within the lateness, 1 % lost, some later than it, 1 % poison."""
    rng = np.random.default_rng(seed)
    starts = start_ms(day) + 60_000 + rng.integers(0, int(hours * 3_600_000), sessions)
    rows = [row for number, first in enumerate(starts.tolist()) for row in session(rng, number, first)]
    kept = [row for row in rows if rng.random() >= 0.01]
    for row in kept:
        luck = rng.random()
        if luck < 0.02:
            row["received_at"] = int(row["received_at"]) + int(rng.integers(500, 100_000))  # type: ignore[call-overload]
        elif luck < 0.025:
            row["received_at"] = int(row["received_at"]) + int(rng.integers(130_000, 400_000))  # type: ignore[call-overload]
    doubles = [dict(row, received_at=int(row["received_at"]) + int(rng.integers(0, 20_000)))  # type: ignore[call-overload]
               for row in kept if rng.random() < 0.02]
    sent = sorted(kept + doubles, key=lambda row: int(row["received_at"]))  # type: ignore[call-overload]
    events = frame(sent)
    count = max(1, len(events) // 100)
    return HandMade(day, events, poison(rng, events, count), np.sort(rng.integers(-1, len(events), count)))


def poison(rng: np.random.Generator, events: pd.DataFrame, count: int) -> list[tuple[bytes | None, bytes]]:
    """Messages no reader can take: no frame, unknown schema, cut short, out of range, foreign key."""
    good = wire.encode_frame("playback_event", 2, events.head(50))
    keys = [key.encode() for key in events["session_id"].head(50)]
    outside = wire.encode_frame("playback_event", 2, events.head(50).assign(seq=-5))
    found: list[tuple[bytes | None, bytes]] = []
    for number in range(count):
        pick = int(rng.integers(0, min(50, len(events))))
        found.append((
            (keys[pick], b"\x07not avro"), (keys[pick], b"\x00\x00\x00\xff\xff" + good[pick][5:]),
            (keys[pick], good[pick][: len(good[pick]) // 2]), (keys[pick], outside[pick]),
            (b"another-session", good[pick]), (keys[pick], b""), (None, good[pick]),
        )[number % 7])
    return found
