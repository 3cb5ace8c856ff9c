"""Frames as messages: keys, bytes, partition and Kafka timestamp of every row, computed column-wise.

Two laws the stream job relies on:

- **One session, one partition.** The partition is Kafka's own murmur2 of the key, said explicitly, so that any other
  producer with the default partitioner agrees.
- **The arrival clock never runs back within a partition.** The Kafka timestamp is the time the message reached its
  topic (never before `received_at`), raised to the newest timestamp its partition already holds. A day's sessions are
  sent whole, so their tail after midnight lies before the next day's first events; on the raised clock a watermark
  still means "nothing earlier will follow". Decisions about lateness are taken on `received_at` inside the bytes, which
  stays as it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pandas as pd
from kafka.partitioner.default import murmur2

from conf.settings import Settings
from schemas import topics as catalogue
from schemas import wire
from schemas.topics import Topic
from streaming import topics

Longs = npt.NDArray[np.int64]
CONTROL_KEY = "__day_end__{partition}"
CONTROL_MARGIN_MS = 3_000
"""Beyond the slack, what lets the watermark pass a control record: two steps of the stream's mini-batch grid and one
more, for nothing follows the record until the next day."""


@dataclass
class Lane:
    """Messages of one topic in sending order; all columns are parallel.

    `at_ms` is the Kafka timestamp, `due_ms` the time of arrival, which pacing goes by; `marked` holds the rows whose
    offset somebody wants to know (poison).
    """

    topic: str
    keys: list[bytes | None]
    values: list[bytes]
    partitions: Longs
    at_ms: Longs
    due_ms: Longs
    marked: frozenset[int] = field(default_factory=frozenset)

    def __len__(self) -> int:
        return len(self.values)


@lru_cache(maxsize=1 << 18)
def partition_of(key: bytes, count: int) -> int:
    """Kafka's default partition of a key."""
    return int((murmur2(key) & 0x7FFFFFFF) % count)


def keys_of(topic: Topic, frame: pd.DataFrame) -> tuple[list[bytes], Longs]:
    """Distinct message keys of a frame and each row's place in them.

    Raises:
        SchemaError: the frame has no column of the key.
    """
    text = wire.message_keys(topic.key, frame)
    place: dict[str, int] = {}  # not pd.factorize, which compares texts up to their first NUL only
    codes = np.fromiter((place.setdefault(key, len(place)) for key in text), dtype=np.int64, count=len(text))
    return [key.encode() for key in place], codes


def millis(series: pd.Series) -> Longs:
    """UTC milliseconds of a column of timestamps."""
    return series.dt.tz_convert(UTC).dt.tz_localize(None).to_numpy(dtype="datetime64[ms]").view(np.int64)


def raised(at_ms: Longs, partitions: Longs, floor: Sequence[int]) -> Longs:
    """The arrival clock: within each partition the running maximum of `at_ms`, not below `floor[partition]`."""
    clock = at_ms.copy()
    for number, least in enumerate(floor):
        mine = partitions == number
        clock[mine] = np.maximum.accumulate(np.maximum(at_ms[mine], least))
    return clock


def encoded(record: str, frame: pd.DataFrame) -> list[bytes]:
    """Framed Avro of every row; a column `schema_version` says which version writes it, else the newest does."""
    if "schema_version" not in frame.columns:
        return wire.encode_frame(record, None, frame)
    version = frame["schema_version"].to_numpy()
    values = np.empty(len(frame), dtype=object)
    for number in np.unique(version):
        mine = version == number
        values[mine] = wire.encode_frame(record, int(number), frame[mine])
    return list(values)


def lane(
    topic: Topic, frame: pd.DataFrame, settings: Settings, due_ms: Longs, floor: Sequence[int] | None = None
) -> Lane:
    """A frame's rows as messages of a topic; `floor` is the newest timestamp each partition already holds."""
    distinct, codes = keys_of(topic, frame)
    count = settings.kafka.partitions
    partitions = np.array([partition_of(key, count) for key in distinct], dtype=np.int64)[codes]
    at_ms = due_ms if floor is None else raised(due_ms, partitions, floor)
    keys: list[bytes | None] = [distinct[code] for code in codes]
    return Lane(topics.real_name(topic, settings), keys, encoded(topic.record, frame), partitions, at_ms, due_ms)


def with_poison(
    base: Lane, poison: Sequence[tuple[bytes | None, bytes]], after: Longs, count: int, floor: Sequence[int]
) -> Lane:
    """`base` with every (key, bytes) of `poison` put behind row `after` (-1: in front of all), and marked.

    A poisoned message arrives when its neighbour does; without a key it goes to partition 0.
    """
    if not poison:
        return base
    order = np.argsort(np.concatenate([np.arange(len(base)), after + 0.5]), kind="stable")
    spread = [0 if key is None else partition_of(key, count) for key, _ in poison]
    partitions = np.concatenate([base.partitions, spread])[order].astype(np.int64)
    neighbour = base.due_ms[np.clip(after, 0, len(base) - 1)] if len(base) else np.zeros(len(poison), dtype=np.int64)
    due_ms = np.concatenate([base.due_ms, neighbour])[order]
    keys = base.keys + [key for key, _ in poison]
    values = base.values + [value for _, value in poison]
    at_ms = raised(due_ms, partitions, floor)
    marked = frozenset(np.flatnonzero(order >= len(base)).tolist())
    return Lane(base.topic, [keys[i] for i in order], [values[i] for i in order], partitions, at_ms, due_ms, marked)


def control(day: date, settings: Settings, newest: Sequence[int], topic: Topic = catalogue.PLAYBACK_EVENT) -> Lane:
    """The control records that end a stream day, one for each partition of `topic` (decision 5).

    `received_at` inside says until when the stream may close sessions: day end + hold + lateness. The Kafka timestamp
    lies far enough behind it, and behind `newest`, that the watermark passes it.
    """
    end = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1)
    received = end + timedelta(milliseconds=settings.fold.hold_ms + settings.fold.lateness_ms)
    numbers = range(settings.kafka.partitions)
    rows = [{"day": day, "partition": number, "received_at": received} for number in numbers]
    stamp = round(received.timestamp() * 1000)
    margin = settings.flink.watermark_slack_ms + CONTROL_MARGIN_MS
    at_ms = np.array([max(newest[number], stamp) + margin for number in numbers], dtype=np.int64)
    return Lane(
        topics.real_name(topic, settings),
        [CONTROL_KEY.format(partition=number).encode() for number in numbers],
        [wire.encode_one("day_end", row) for row in rows],
        np.arange(settings.kafka.partitions, dtype=np.int64),
        at_ms,
        at_ms,
    )
