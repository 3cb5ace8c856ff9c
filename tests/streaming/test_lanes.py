"""Messages of a frame: partition, order, the arrival clock, poison and control records. No broker."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka.partitioner.default import DefaultPartitioner

from conf.settings import load
from schemas import topics, wire
from schemas.errors import SchemaError
from streaming import lanes
from tests.streaming import days


class Cluster:
    """What the client's own partitioner asks of a cluster."""

    def __init__(self, count: int) -> None:
        self.count = count

    def topics(self) -> set[str]:
        return {"t"}

    def partitions_for_topic(self, _topic: str) -> set[int]:
        return set(range(self.count))

    available_partitions_for_topic = partitions_for_topic


@given(st.binary(min_size=1, max_size=40), st.integers(1, 12))
def test_partition_is_the_clients_own(key: bytes, count: int) -> None:
    assert lanes.partition_of(key, count) == DefaultPartitioner().partition("t", key, key, b"", b"", Cluster(count))


arrivals = st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 3)), max_size=60)


@given(arrivals, st.lists(st.integers(0, 9_000), min_size=4, max_size=4))
def test_the_arrival_clock_never_runs_back(rows: list[tuple[int, int]], floor: list[int]) -> None:
    at = np.array([a for a, _ in rows], dtype=np.int64)
    partitions = np.array([p for _, p in rows], dtype=np.int64)
    clock = lanes.raised(at, partitions, floor)
    assert (clock >= at).all()
    for number in range(4):
        mine = clock[partitions == number]
        assert (np.diff(mine) >= 0).all() and (mine >= floor[number]).all()
        if len(mine):
            assert mine[-1] == max([floor[number], *at[partitions == number].tolist()])


def test_one_session_is_one_partition_in_its_own_order() -> None:
    lived = days.hostile(3, 60)
    lane = lanes.lane(topics.PLAYBACK_EVENT, lived.events, load(), lived.order_ms)
    assert [key.decode() for key in lane.keys if key] == lived.events["session_id"].tolist()
    for session, rows in lived.events.groupby("session_id"):
        assert len(set(lane.partitions[rows.index].tolist())) == 1
        sent = [wire.decode_one(lane.values[row])[2] for row in rows.index]
        assert [(e["session_id"], e["seq"]) for e in sent] == [(session, seq) for seq in rows["seq"]]
    assert set(lane.partitions.tolist()) == set(range(load().kafka.partitions))


def test_each_row_is_written_in_its_version() -> None:
    lived = days.hostile(4, 10)
    written = [wire.split(value)[:2] for value in lanes.encoded("playback_event", lived.events)]
    assert written == [("playback_event", version) for version in lived.events["schema_version"]]
    assert set(lived.events["schema_version"]) == {1, 2}


def test_poison_stands_behind_its_row_and_nothing_else_moves() -> None:
    lived = days.hostile(5, 30)
    base = lanes.lane(topics.PLAYBACK_EVENT, lived.events, load(), lived.order_ms)
    after = np.array([-1, 0, 7, 7, len(base) - 1])
    poison: list[tuple[bytes | None, bytes]] = [(b"k", bytes([n])) for n in range(4)] + [(None, b"last")]
    lane = lanes.with_poison(base, poison, after, 4, [0] * 4)
    assert [value for row, value in enumerate(lane.values) if row not in lane.marked] == base.values
    rows = sorted(lane.marked)
    assert [lane.values[row] for row in rows] == [value for _, value in poison]
    assert [row - number - 1 for number, row in enumerate(rows)] == after.tolist()
    assert lane.partitions[rows[-1]] == 0 and lane.partitions[rows[0]] == lanes.partition_of(b"k", 4)
    for number in range(4):
        assert (np.diff(lane.at_ms[lane.partitions == number]) >= 0).all()


def test_control_records_let_the_watermark_pass() -> None:
    settings = load()
    newest = [0, days.start_ms() + 100_000_000, 5, 5]
    lane = lanes.control(days.DAY, settings, newest)
    grid = 1_000
    for number, key, value, partition, at in zip(
        range(4), lane.keys, lane.values, lane.partitions, lane.at_ms, strict=True
    ):
        name, _, row = wire.decode_one(value)
        assert (name, row["day"], row["partition"], partition) == ("day_end", days.DAY, number, number)
        assert key == f"__day_end__{number}".encode()
        end = datetime(2026, 3, 15, tzinfo=UTC).timestamp() * 1000 + settings.fold.hold_ms + settings.fold.lateness_ms
        assert row["received_at"].timestamp() * 1000 == end
        watermark = (at - settings.flink.watermark_slack_ms - 1) // grid * grid - 1
        assert watermark > max(end, newest[number]), "floored to the mini-batch grid it must still be past both"


def test_a_frame_without_its_key_is_refused() -> None:
    lived = days.hostile(6, 3)
    with pytest.raises(SchemaError, match="keyed by session_id"):
        lanes.keys_of(topics.PLAYBACK_EVENT, lived.events.drop(columns="session_id"))


def test_a_key_of_two_fields_is_joined() -> None:
    frame = days.hostile(7, 3).events.head(2).assign(profile_id=["a", "b"], title_id=["x", "y"])
    assert lanes.keys_of(topics.ARTWORK_CHOICE, frame)[0] == [b"a|x", b"b|y"]


def test_keys_of_two_fields_that_hold_the_mark_stay_apart() -> None:
    frame = pd.DataFrame({"profile_id": ["a", "a|b", "a\\", "a\\|b"], "title_id": ["b|c", "c", "|c", "c"]})
    keys, _ = lanes.keys_of(topics.ARTWORK_CHOICE, frame)
    assert keys == [rb"a|b\|c", rb"a\|b|c", rb"a\\|\|c", rb"a\\\|b|c"]


def test_keys_that_differ_behind_a_nul_stay_apart() -> None:
    keys, codes = lanes.keys_of(topics.PLAYBACK_EVENT, pd.DataFrame({"session_id": ["s\0a", "s\0b", "s\0a", "s"]}))
    assert keys == [b"s\0a", b"s\0b", b"s"] and codes.tolist() == [0, 1, 0, 2]
