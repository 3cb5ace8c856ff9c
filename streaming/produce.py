"""Frames into Kafka: a world's day with its poison and control records, or any frame to its topic.

A day is sent in order of arrival, at full speed or at N times real time; then, when the broker has acknowledged all of
it, one control record goes to every partition of `playback_event`. Producers are idempotent: a retry inside the client
neither doubles nor reorders. Running the same day twice is another matter and sends it twice.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
from kafka import KafkaProducer

from conf.errors import MatineeError, UsageError
from conf.settings import Settings
from schemas import topics as catalogue
from schemas.topics import Topic
from streaming import clients, lanes, topics
from streaming.lanes import Lane, Longs

SLICE = 10_000
IN_FLIGHT = 2
"""Slices that may wait for the broker's answer; kafka-python itself sets no bound to what it buffers."""
STEP_MS = 50
DELIVERY_S = 120
ENDED = (catalogue.PLAYBACK_EVENT, catalogue.CMCD)
"""Topics that are told the end of a day."""

Progress = Callable[[int, int], None]
"""Called with (messages handed over, messages in all)."""


class LivedDay(Protocol):
    """What `models.world` gives for one day.

    `events` in the order they reach the topic, at `order_ms` (epoch ms, not before `received_at` but for what stands
    in a queue); `poison` as (key, bytes), each sent behind the row `poison_at` of `events`.
    """

    day: Any
    events: pd.DataFrame
    order_ms: Longs
    poison: Sequence[tuple[bytes | None, bytes]]
    poison_at: Longs
    impressions: pd.DataFrame
    cdn_requests: pd.DataFrame
    truth: Mapping[str, pd.DataFrame]


@dataclass(frozen=True)
class Produced:
    """What was sent: messages by real topic name, and where the poison went.

    `poison` has the columns topic, kafka_partition, kafka_offset, message_key, payload.
    """

    day: date
    messages: dict[str, int]
    poison: pd.DataFrame


class Clock(Protocol):
    """Seconds that never run back, and waiting; `time` in life, a counter in tests."""

    def monotonic(self) -> float: ...

    def sleep(self, seconds: float) -> None: ...


def no_progress(_done: int, _total: int) -> None:
    """The progress of somebody who does not look."""


def produce_day(
    lived: LivedDay,
    settings: Settings,
    *,
    on: date | None = None,
    catalogue_frames: Mapping[str, pd.DataFrame] | None = None,
    rate: float | None = None,
    progress: Progress = no_progress,
    clock: Clock = time,
) -> Produced:
    """Send a lived day: catalogue (if given), events with poison, impressions, delivery logs; then end the day.

    `on` is the UTC day it is, where `lived.day` is only a number. `rate` None is full speed; N sends N seconds of
    arrivals a second. Truth goes to ``<var>/world/truth/<day>/``.

    Raises:
        UsageError: neither `on` nor `lived.day` is a date.
        ServiceUnavailable: no broker.
        SchemaError: a frame does not fit its record.
    """
    day = on or lived.day
    if not isinstance(day, date):
        raise UsageError(f"the day to send is {day!r}: give the date it stands for (on=...)")
    topics.create(settings)
    if catalogue_frames:
        produce_catalogue(catalogue_frames, settings, day)
    floor = topics.newest_timestamps(catalogue.PLAYBACK_EVENT, settings)
    wanted = day_lanes(lived, settings, floor)
    with clients.reaching(settings), _sending(settings) as producer:
        offsets = send(producer, wanted, rate=rate, progress=progress, clock=clock)
    end_day(day, settings)
    produced = Produced(day, _counts(wanted), _positions(wanted[0], offsets))
    write_truth(lived, produced, settings)
    return produced


def produce_catalogue(frames: Mapping[str, pd.DataFrame], settings: Settings, day: date) -> dict[str, int]:
    """Send catalogue frames (record name to frame) to their compacted topics, stamped with the start of the day."""
    known = {topic.record: topic for topic in catalogue.CATALOGUE}
    unknown = sorted(set(frames) - set(known))
    if unknown:
        raise MatineeError(f"{', '.join(unknown)} is no catalogue record; these are: {', '.join(known)}")
    return {name: produce_frame(known[name], frame, settings, day=day) for name, frame in frames.items()}


def produce_frame(topic: Topic, frame: pd.DataFrame, settings: Settings, *, day: date | None = None) -> int:
    """Send a frame of the topic's record, keyed, in its order; returns the messages sent.

    Messages are stamped with `received_at`; a record that has none with the start of `day` (UTC).

    Raises:
        UsageError: neither `received_at` nor `day`.
        ServiceUnavailable, SchemaError: see `produce_day`.
    """
    topics.create(settings, [topic])
    if "received_at" in frame.columns:
        due_ms = lanes.millis(frame["received_at"])
        one = lanes.lane(topic, frame, settings, due_ms, topics.newest_timestamps(topic, settings))
    elif day is not None:
        stamp = round(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * 1000)
        one = lanes.lane(topic, frame, settings, np.full(len(frame), stamp, dtype=np.int64))
    else:
        raise UsageError(f"{topic.record} has no received_at: say which day the messages are of (day=...)")
    with clients.reaching(settings), _sending(settings) as producer:
        send(producer, [one])
    return len(one)


def end_day(day: date, settings: Settings) -> None:
    """Say on every partition of both event topics that every event received on `day` has been sent (decision 5)."""
    topics.create(settings, ENDED)
    wanted = [lanes.control(day, settings, topics.newest_timestamps(topic, settings), topic) for topic in ENDED]
    with clients.reaching(settings), _sending(settings) as producer:
        send(producer, wanted)


def day_lanes(lived: LivedDay, settings: Settings, floor: Sequence[int]) -> list[Lane]:
    """What a lived day sends, the events with their poison first; `floor`: see `lanes.raised`."""
    due_ms = np.maximum(lived.order_ms, lanes.millis(lived.events["received_at"]))
    events = lanes.lane(catalogue.PLAYBACK_EVENT, lived.events, settings, due_ms, floor)
    found = [lanes.with_poison(events, lived.poison, lived.poison_at, settings.kafka.partitions, floor)]
    for topic, frame in ((catalogue.IMPRESSION, lived.impressions), (catalogue.CDN_REQUEST, lived.cdn_requests)):
        if len(frame):
            ordered = frame.sort_values("received_at", kind="stable")
            found.append(lanes.lane(topic, ordered, settings, lanes.millis(ordered["received_at"])))
    return found


def _counts(sent: Sequence[Lane]) -> dict[str, int]:
    return {lane.topic: len(lane) for lane in sent}


class _sending:
    """A producer that is flushed and closed at the end, or closed at once if something went wrong."""

    def __init__(self, settings: Settings) -> None:
        self.producer: KafkaProducer = clients.producer(settings)

    def __enter__(self) -> KafkaProducer:
        return self.producer

    def __exit__(self, kind: object, *_rest: object) -> None:
        self.producer.close(timeout=0 if kind else DELIVERY_S)


def send(
    producer: KafkaProducer,
    wanted: Sequence[Lane],
    *,
    rate: float | None = None,
    progress: Progress = no_progress,
    clock: Clock = time,
) -> dict[int, tuple[int, int]]:
    """Send lanes merged by their clocks and wait until all is acknowledged.

    Returns, for the marked rows of the first lane, (partition, offset).

    Raises:
        KafkaError: the first message the broker did not take; nothing is dropped in silence.
    """
    merged = _merged(wanted)
    total = len(merged)
    failures: list[BaseException] = []
    marked: dict[int, Any] = {}
    waiting: deque[list[Any]] = deque()
    for start, stop in paced(merged.due_ms, rate, clock):
        last: dict[tuple[int, int], Any] = {}
        for lane_number, row in zip(merged.lane[start:stop].tolist(), merged.row[start:stop].tolist(), strict=True):
            lane = wanted[lane_number]
            partition = int(lane.partitions[row])
            future = producer.send(
                lane.topic,
                value=lane.values[row],
                key=lane.keys[row],
                partition=partition,
                timestamp_ms=int(lane.at_ms[row]),
            )
            future.add_errback(failures.append)
            last[lane_number, partition] = future
            if lane_number == 0 and row in lane.marked:
                marked[row] = future
        waiting.append(list(last.values()))
        if len(waiting) > IN_FLIGHT:
            _await(waiting.popleft(), failures)
        progress(stop, total)
    producer.flush(timeout=DELIVERY_S)
    for futures in waiting:
        _await(futures, failures)
    answers = {row: future.get(timeout=DELIVERY_S) for row, future in marked.items()}
    return {row: (answer.partition, answer.offset) for row, answer in answers.items()}


def _await(futures: Sequence[Any], failures: Sequence[BaseException]) -> None:
    for future in futures:
        future.get(timeout=DELIVERY_S)
    if failures:
        raise failures[0]


@dataclass(frozen=True)
class _Merged:
    """Which lane and row comes next, and when it is due."""

    lane: Longs
    row: Longs
    due_ms: Longs

    def __len__(self) -> int:
        return len(self.row)


def _merged(wanted: Sequence[Lane]) -> _Merged:
    """All lanes' rows by time of arrival; a lane keeps its own order even where its times fall back."""
    due = [np.maximum.accumulate(lane.due_ms) if len(lane) else lane.due_ms for lane in wanted]
    numbers = np.concatenate([np.full(len(lane), number, dtype=np.int64) for number, lane in enumerate(wanted)])
    rows = np.concatenate([np.arange(len(lane), dtype=np.int64) for lane in wanted])
    due_ms = np.concatenate(due)
    order = np.argsort(due_ms, kind="stable")
    return _Merged(numbers[order], rows[order], due_ms[order])


def paced(due_ms: Longs, rate: float | None, clock: Clock) -> Iterator[tuple[int, int]]:
    """Ranges of rows that may go now; `due_ms` does not decrease.

    With a rate, no row goes before ``(due_ms[row] - due_ms[0]) / rate`` milliseconds have passed since the first; rows
    due within one step of 50 ms go together. Without, ranges of `SLICE` rows at once.
    """
    began = clock.monotonic()
    start = 0
    while start < len(due_ms):
        stop = min(start + SLICE, len(due_ms))
        if rate is not None:
            due = began + float(due_ms[start] - due_ms[0]) / rate / 1000
            wait = due - clock.monotonic()
            if wait > 0:
                clock.sleep(wait + STEP_MS / 1000)
            passed = (clock.monotonic() - began) * 1000 * rate
            ready = int(np.searchsorted(due_ms, due_ms[0] + passed, side="right"))
            stop = min(stop, max(ready, start))
        if stop > start:
            yield start, stop
        start = stop


def _positions(lane: Lane, offsets: Mapping[int, tuple[int, int]]) -> pd.DataFrame:
    rows = sorted(offsets)
    return pd.DataFrame({
        "topic": pd.Series([lane.topic] * len(rows), dtype=object),
        "kafka_partition": np.array([offsets[row][0] for row in rows], dtype=np.int32),
        "kafka_offset": np.array([offsets[row][1] for row in rows], dtype=np.int64),
        "message_key": pd.Series([lane.keys[row] for row in rows], dtype=object),
        "payload": pd.Series([lane.values[row] for row in rows], dtype=object),
    })


def truth_folder(settings: Settings, day: date) -> Path:
    """Where a day's truth lies; read by the report and by tests alone (decision 15)."""
    return settings.paths.var / "world" / "truth" / day.isoformat()


def write_truth(lived: LivedDay, produced: Produced, settings: Settings) -> Path:
    """Write the day's truth frames and the poison's positions as parquet; returns the folder."""
    folder = truth_folder(settings, produced.day)
    folder.mkdir(parents=True, exist_ok=True)
    for name, frame in {**lived.truth, "poison": produced.poison}.items():
        frame.to_parquet(folder / f"{name}.parquet", index=False)
    return folder
