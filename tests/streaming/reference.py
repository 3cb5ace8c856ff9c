"""What the stream must say, from the messages that lie in the topic: the Python fold and plain sums, no SQL, no JVM."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import pandas as pd

from conf.settings import Settings
from models.playback.events import Event
from models.playback.spans import MEASURES, Folded, Policy, fold
from schemas import records, wire
from schemas import topics as catalogue
from schemas.metrics import ALL, DIMENSIONS, METRICS, ROLLUPS
from streaming import consume
from streaming.consume import Message

Sums = dict[tuple[Any, ...], dict[str, int]]
"""(rollup, minute_ms, the six dimensions) to sum column to value; rows that are all zero are left out."""
DEFAULTS = {field.name: field.default for field in records.load("playback_event").fields if field.has_default}
TIMES = ("device_at", "received_at", "post_device_at")


def policy(settings: Settings) -> Policy:
    """The fold's times of these settings."""
    held = settings.fold
    return Policy.of(held)


def events(messages: Iterable[Message], poison: Collection[tuple[int, int]]) -> dict[str, list[Event]]:
    """Events by session; control records and the given positions left out."""
    found: dict[str, list[Event]] = defaultdict(list)
    for message in messages:
        if (message.partition, message.offset) in poison:
            continue
        assert message.value is not None
        name, _, row = wire.decode_one(message.value)
        if name == "day_end":
            continue
        row = DEFAULTS | row  # an older version lacks the columns that came later
        row |= {key: round(row[key].timestamp() * 1000) for key in TIMES}
        row |= {"kafka_partition": message.partition, "kafka_offset": message.offset}
        found[row["session_id"]].append(Event.of(row))
    return found


def folded(sessions: Mapping[str, list[Event]], settings: Settings) -> dict[str, Folded]:
    """Revision live of every session."""
    return {name: fold(held, policy(settings), "live") for name, held in sessions.items()}


def sums(results: Iterable[Folded]) -> Sums:
    """Every metric's sums by minute and rollup: expressions of the registry evaluated as Python over each span."""
    columns = [(c, compile(m.num if c.endswith("_num") else str(m.den), c, "eval")) for m in METRICS for c in m.columns]
    found: dict[tuple[Any, ...], Counter[str]] = defaultdict(Counter)
    for result in results:
        for span in result.spans:
            values = {name: eval(code, {}, {m: span[m] for m in MEASURES}) for name, code in columns}
            for rollup in ROLLUPS:
                cut = tuple(span[d] if d in rollup.by else ALL for d in DIMENSIONS)
                found[rollup.name, span["minute_at"], *cut].update(values)
    return {key: dict(row) for key, row in found.items() if any(row.values())}


def live_sums(settings: Settings) -> Sums:
    """The newest row of every key of `qoe_minute`."""
    frame = consume.snapshot(catalogue.QOE_MINUTE, settings)
    names = [column for metric in METRICS for column in metric.columns]
    minutes = frame["minute_at"].dt.tz_localize(None).to_numpy(dtype="datetime64[ms]").view("int64")
    keys = (frame["rollup"], minutes.tolist(), *(frame[d] for d in DIMENSIONS))
    rows = zip(*keys, frame[names].to_dict("records"), strict=True)
    return {tuple(key): row for *key, row in rows if any(row.values())}


def differences(one: Sums, other: Sums) -> pd.DataFrame:
    """Every integer that differs: key, column, both values (0 where a row is absent)."""
    rows = []
    for key in sorted(one.keys() | other.keys(), key=str):
        mine, theirs = one.get(key, {}), other.get(key, {})
        rows += [(*key, c, mine.get(c, 0), theirs.get(c, 0)) for c in sorted(mine.keys() | theirs.keys())
                 if mine.get(c, 0) != theirs.get(c, 0)]
    return pd.DataFrame(rows, columns=["rollup", "minute_ms", *DIMENSIONS, "column", "one", "other"])


def assert_equal_sums(settings: Settings, expected: Mapping[str, Folded]) -> None:
    """Zero integers that differ, over every rollup, metric and minute."""
    truth, live = sums(expected.values()), live_sums(settings)
    wrong = differences(truth, live)
    assert wrong.empty, f"{len(wrong)} of {sum(map(len, truth.values()))} integers differ:\n{wrong.head(20)}"
    assert {key[0] for key in truth} == {rollup.name for rollup in ROLLUPS}
