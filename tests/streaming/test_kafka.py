"""Producer, consumer and topics against a real broker."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import timedelta

import numpy as np
import pandas as pd
import pytest
from kafka import KafkaConsumer, KafkaProducer
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.structs import OffsetAndMetadata

from conf.errors import ConfigError, InputMissing, UsageError
from conf.settings import Settings
from schemas import topics as catalogue
from schemas import wire
from schemas.topics import Topic
from streaming import clients, consume, lanes, launch, letters, produce, topics
from streaming.jobs import plan
from tests.streaming import days

pytestmark = pytest.mark.kafka
Sent = tuple[Settings, days.HandMade, produce.Produced]


@pytest.fixture(scope="module")
def sent(universe: Callable[[str], Settings]) -> Sent:
    settings = universe("sent")
    lived = days.hostile(11, 120)
    # a tail after midnight, as the world makes it: the last arrivals belong to the next day
    last = lived.events["received_at"].max() - pd.Timestamp(days.DAY, tz="UTC")
    shift = pd.Timedelta(hours=25) - last
    for column in ("device_at", "received_at", "post_device_at"):
        lived.events[column] = (lived.events[column] + shift).dt.as_unit("ms")
    return settings, lived, produce.produce_day(lived, settings)


def test_topics_are_made_once_with_what_a_world_needs(universe: Callable[[str], Settings]) -> None:
    settings = universe("made")
    made = topics.create(settings)
    assert sorted(made) == sorted(f"made.{topic.name}" for topic in catalogue.TOPICS)
    assert topics.create(settings) == []
    with clients.admin(settings) as client:
        names = [f"made.{name}" for name in ("playback_event", "home_page")]
        resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
        described = client.describe_configs(resources, config_filter="all")
    assert _config(described, names[0], "retention.ms") == "-1"
    assert _config(described, names[0], "cleanup.policy") == "delete"
    assert _config(described, names[1], "cleanup.policy") == "compact"
    more = settings.model_copy(update={"kafka": settings.kafka.model_copy(update={"partitions": 7})})
    with pytest.raises(ConfigError, match=r"has 4 partitions, kafka.partitions is 7"):
        topics.create(more)


def _config(described: object, name: str, key: str) -> str:
    """One value of whatever shape the client gives descriptions in."""
    if isinstance(described, dict) and name in described:
        entry = described[name][key]
        return str(entry["value"] if isinstance(entry, dict) else entry)
    if isinstance(described, dict):
        return _config(next(v for v in described.values() if isinstance(v, dict) and name in v), name, key)
    raise AssertionError(described)


def test_a_day_lies_in_the_topic_as_it_was_lived(sent: Sent) -> None:
    settings, lived, done = sent
    found = list(consume.messages(catalogue.PLAYBACK_EVENT, settings))
    where = {(m.partition, m.offset): m for m in found}
    poison = set(zip(done.poison["kafka_partition"], done.poison["kafka_offset"], strict=True))
    assert len(poison) == len(lived.poison) == len(done.poison)
    bytes_there = [where[row.kafka_partition, row.kafka_offset].value for row in done.poison.itertuples()]
    assert bytes_there == [value for _, value in lived.poison]
    good = [m for m in found if (m.partition, m.offset) not in poison and b"__day_end__" not in (m.key or b"")]
    assert len(good) == len(lived.events), "nothing lost, nothing twice"
    for number in range(settings.kafka.partitions):
        mine = [m for m in good if m.partition == number]
        rows = lived.events[[lanes.partition_of(s.encode(), 4) == number for s in lived.events["session_id"]]]
        assert [m.key.decode() for m in mine if m.key] == rows["session_id"].tolist()
        decoded = wire.decode_many([m.value for m in mine if m.value], "playback_event")
        assert decoded["seq"].tolist() == rows["seq"].tolist()
        assert (decoded["received_at"].to_numpy() == rows["received_at"].to_numpy()).all()


def test_kafka_timestamps_never_run_back_within_a_partition(sent: Sent) -> None:
    settings, lived, _ = sent
    following = days.hostile(12, 40, day=days.DAY + timedelta(days=1))
    early = int((following.events["received_at"] < lived.events["received_at"].max()).sum())
    assert early > 20, "the next day must begin before the first one's tail ends"
    produce.produce_day(following, settings)
    newest = topics.newest_timestamps(catalogue.PLAYBACK_EVENT, settings)
    found = list(consume.messages(catalogue.PLAYBACK_EVENT, settings))
    for number in range(settings.kafka.partitions):
        clock = [m.at_ms for m in found if m.partition == number]
        assert (np.diff(clock) >= 0).all() and clock[-1] == newest[number]


def test_truth_holds_the_poison_positions(sent: Sent) -> None:
    settings, _, done = sent
    held = pd.read_parquet(produce.truth_folder(settings, days.DAY) / "poison.parquet")
    pd.testing.assert_frame_equal(held, done.poison, check_dtype=False)


def test_a_snapshot_holds_the_newest_row_of_each_key(universe: Callable[[str], Settings]) -> None:
    settings = universe("snap")
    rows = [
        {
            "cdn_id": f"c{n}",
            "isp": "i",
            "country": "DE",
            "disk_bytes": n,
            "fill_budget_bytes": 1,
            "edge_latency_ms": 5,
            "origin_latency_ms": 50,
        }
        for n in range(30)
    ]
    produce.produce_catalogue({"cdn_cluster": pd.DataFrame(rows)}, settings, days.DAY)
    newer = pd.DataFrame(rows[10:20]).assign(disk_bytes=99)
    produce.produce_frame(catalogue.CDN_CLUSTER, newer, settings, day=days.DAY)
    with clients.reaching(settings):
        producer = clients.producer(settings)
        producer.send("snap.cdn_cluster", key=b"c3", value=None, partition=lanes.partition_of(b"c3", 4)).get(timeout=30)
        producer.close()
    found = consume.snapshot(catalogue.CDN_CLUSTER, settings).set_index("cdn_id")["disk_bytes"].to_dict()
    assert found == {f"c{n}": 99 if 10 <= n < 20 else n for n in range(30) if n != 3}
    assert consume.snapshot(catalogue.HOME_PAGE, _created(settings)).empty


def _created(settings: Settings) -> Settings:
    topics.create(settings)
    return settings


def test_a_snapshot_waits_for_an_open_transaction(universe: Callable[[str], Settings]) -> None:
    """And never shows an aborted one."""
    settings = _created(universe("open"))
    producer = KafkaProducer(bootstrap_servers=settings.kafka.bootstrap, transactional_id="open-test")
    producer.init_transactions()
    row = {"day": days.DAY, "partition": 1, "complete_until_at": pd.Timestamp("2026-03-15", tz="UTC").to_pydatetime()}
    for commit in (False, True):
        producer.begin_transaction()
        value = wire.encode_one("qoe_progress", row | {"partition": 1 + int(commit)})
        producer.send("open.qoe_progress", key=b"k%d" % commit, value=value, partition=0).get(timeout=30)
        with pytest.raises(Exception, match="stays open longer than 1 s"):
            consume.snapshot(catalogue.QOE_PROGRESS, settings, patience_s=1)
        producer.commit_transaction() if commit else producer.abort_transaction()
    producer.close()
    topics.settle(catalogue.QOE, settings)
    assert consume.snapshot(catalogue.QOE_PROGRESS, settings)["partition"].tolist() == [2]


def test_a_frame_of_ones_own_is_stamped_with_its_arrival(universe: Callable[[str], Settings]) -> None:
    settings = universe("own")
    events = days.frame(days.session(np.random.default_rng(1), 7, days.start_ms()))
    assert produce.produce_frame(catalogue.PLAYBACK_EVENT, events, settings) == len(events)
    produce.end_day(days.DAY, settings)
    *sent, last = [m for m in consume.messages(catalogue.PLAYBACK_EVENT, settings) if m.partition == partition(events)]
    assert [m.at_ms for m in sent] == lanes.millis(events["received_at"]).tolist()
    assert wire.decode_one(last.value or b"")[0] == "day_end" and last.at_ms > sent[-1].at_ms
    with pytest.raises(UsageError, match="cdn_cluster has no received_at"):
        produce.produce_frame(catalogue.CDN_CLUSTER, pd.DataFrame(), settings)


def test_a_replayed_letter_does_not_carry_the_clock_ahead(universe: Callable[[str], Settings]) -> None:
    settings = universe("replayed")
    events = days.frame(days.session(np.random.default_rng(1), 7, days.start_ms()))
    produce.produce_frame(catalogue.PLAYBACK_EVENT, events.iloc[:-1], settings)
    value = wire.encode_frame("playback_event", 2, events.iloc[-1:])[0]
    row = {"topic": "playback_event", "payload": {"base64": base64.b64encode(value).decode()}}
    before = topics.newest_timestamps(catalogue.PLAYBACK_EVENT, settings)
    assert letters.replay([json.dumps(row)], settings).sent == {"playback_event": 1}
    assert topics.newest_timestamps(catalogue.PLAYBACK_EVENT, settings) == before
    *_, last = consume.messages(catalogue.PLAYBACK_EVENT, settings)
    received = wire.decode_one(last.value or b"")[2]["received_at"].timestamp() * 1000
    assert last.partition == partition(events) and last.at_ms == received == max(before)


@pytest.mark.parametrize("anew", plan.SOURCES, ids=lambda topic: topic.name)
def test_a_topic_made_anew_is_read_from_its_start(anew: Topic, universe: Callable[[str], Settings]) -> None:
    settings = _created(universe(f"anew-{anew.name}"))
    state = settings.paths.var / "chk-7"
    state.mkdir()
    (state / "_metadata").touch()
    ids = launch._topic_ids(settings)
    launch._remember(settings, {"job_id": "0" * 32, "topic_ids": ids, "savepoint": state.as_uri()})
    assert launch.resumable(settings) == state.as_uri()
    topics.delete(settings, [anew])
    assert launch.resumable(_created(settings)) is None


def test_a_checkpoint_of_another_backend_is_refused(universe: Callable[[str], Settings]) -> None:
    settings = _created(universe("backend"))
    chk = settings.stack.dir / "flink" / "checkpoints" / ("b" * 32) / "chk-7"
    chk.mkdir(parents=True)
    (chk / "_metadata").touch()
    ids = launch._topic_ids(settings)
    launch._remember(settings, {"job_id": "b" * 32, "topic_ids": ids, "state_backend": "rocksdb"})
    assert launch.resumable(settings) == chk.as_uri()
    other = settings.model_copy(update={"flink": settings.flink.model_copy(update={"state_backend": "hashmap"})})
    with pytest.raises(ConfigError, match="flink.state_backend = rocksdb, not hashmap"):
        launch.resumable(other)


def partition(events: pd.DataFrame) -> int:
    """The partition of a frame of one session."""
    return lanes.partition_of(events["session_id"].iloc[0].encode(), 4)


def test_a_topic_that_is_not_there_is_said(universe: Callable[[str], Settings]) -> None:
    with pytest.raises(InputMissing, match=r"no topic none\.home_page"):
        consume.snapshot(catalogue.HOME_PAGE, universe("none"))


def test_the_producer_is_idempotent_and_drops_nothing_in_silence(universe: Callable[[str], Settings]) -> None:
    settings = _created(universe("idem"))
    producer = clients.producer(settings)
    try:
        assert producer.config["enable_idempotence"] and producer.config["acks"] == -1
        zero = np.zeros(1, dtype=np.int64)
        big = lanes.Lane("idem.impression", [b"k"], [b"x" * (3 << 20)], zero, zero, zero)
        with pytest.raises(Exception, match=r"(?i)too.?large|larger"):
            produce.send(producer, [big])
    finally:
        producer.close()


def test_a_group_has_taken_in_what_it_committed(universe: Callable[[str], Settings]) -> None:
    settings = universe("taken")
    topics.create(settings)
    wanted, (first, second, *_) = (
        (catalogue.PLAYBACK_EVENT, catalogue.CMCD),
        topics.partitions(catalogue.PLAYBACK_EVENT, settings),
    )
    producer = clients.producer(settings)
    for partition in (first, second):
        for at_s in range(100, 110):
            producer.send(partition.topic, b"x", partition=partition.partition, timestamp_ms=at_s * 1_000).get(30)
    producer.close()

    def commit(**offsets: int) -> None:
        consumer = KafkaConsumer(
            bootstrap_servers=settings.kafka.bootstrap, group_id="stream", enable_auto_commit=False
        )
        parts = {"first": first, "second": second}
        consumer.assign(list(parts.values()))
        consumer.commit({parts[name]: OffsetAndMetadata(offset, "", -1) for name, offset in offsets.items()})
        consumer.close()

    def until(before_s: int) -> bool:
        return topics.taken_in(wanted, "stream", before_s, settings)

    commit(first=0, second=0)
    assert until(100) and not until(105), "it has read nothing, and nothing is that old"
    commit(first=10, second=5)
    assert until(105) and not until(106), "one partition is behind"
    commit(first=10, second=10)
    assert until(1_000), "nothing is left, however long ago that was"
