"""The Spark wrapper: bytes in, decoded columns and folded rows out, equal to wire.py and the reference."""

from __future__ import annotations

import random
from collections import defaultdict
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest

from conf.settings import Settings
from models.playback.spans import REVISIONS, SESSION_COLUMNS, SPAN_COLUMNS, Policy, fold
from schemas import records, wire
from schemas.tables import BOTH
from tests.kernel import hostile, jvm
from tests.models.playback import cmcd_golden

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = [pytest.mark.spark, pytest.mark.jvm]
EPOCH = date(1970, 1, 1)


@pytest.fixture(scope="module")
def session(spark: SparkSession, lake_settings: Settings) -> SparkSession:
    from jobs.session import register_kernel

    register_kernel(spark, lake_settings)
    return spark


@pytest.fixture(scope="module")
def events() -> list[dict[str, Any]]:
    rng = random.Random(11)
    return hostile.topic(rng, [hostile.sent(rng, hostile.session(rng, f"s{n}")) for n in range(120)], 1_000)


def _table(session: SparkSession, messages: list[jvm.Message]) -> None:
    rows = [(m.partition, m.offset, m.key, m.value) for m in messages]
    names = "kafka_partition int, kafka_offset long, k binary, v binary"
    session.createDataFrame(rows, names).createOrReplaceTempView("message")


def _plain(row: Any) -> dict[str, Any]:
    """Timestamps as milliseconds, dates as days."""
    plain = row.asDict()
    for name, value in plain.items():
        if isinstance(value, datetime):
            plain[name] = int(pd.Timestamp(value).value // 1_000_000)
        elif isinstance(value, date):
            plain[name] = (value - EPOCH).days
    return plain


@pytest.mark.parametrize("together", ["e.session_id", "length(e.session_id)"], ids=["alone", "of one hash"])
def test_fold_of_decoded_messages(session: SparkSession, events: list[dict[str, Any]], together: str) -> None:
    _table(session, jvm.encode(events))
    found = session.sql(f"""
        WITH decoded AS (SELECT kafka_partition, kafka_offset, kernel.decode_playback_event(v, k) AS e FROM message),
             folded AS (SELECT kernel.fold_session(
                            collect_list(kernel.pack_event(struct(e.*, kafka_partition, kafka_offset))),
                            0L, 1L << 62, 0L
                        ) AS f FROM decoded WHERE e.error_class IS NULL GROUP BY {together})
        SELECT kernel.spans_of(f) AS spans, kernel.sessions_of(f) AS sessions FROM folded""").collect()
    by_session: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in events:
        by_session[row["session_id"]].append(row)
    reference = [fold(rows, Policy(), revision) for rows in by_session.values() for revision in REVISIONS]
    for kind, columns in (("spans", SPAN_COLUMNS), ("sessions", SESSION_COLUMNS)):
        at_rest = [_plain(row) for result in found for row in result[kind]]
        assert {row["revision"] for row in at_rest} == {*REVISIONS, BOTH}
        rows = [row | {"revision": r} for row in at_rest for r in REVISIONS if row["revision"] in (r, BOTH)]
        if kind == "sessions":
            key = ("session_id", "segment", "revision")
            spans = [s for f in reference for s in f.spans if s["state"] not in ("ended", "failed", "quit")]
            last = {tuple(s[name] for name in key): s["state"] for s in spans}
            assert all(row.pop("last_state") == last.get(tuple(row[name] for name in key)) for row in rows)
            assert len(set(last.values())) > 3
        assert all(tuple(row) == columns for row in rows)
        expected = [row for folded in reference for row in getattr(folded, kind)]
        assert sorted(map(str, rows)) == sorted(map(str, expected))


def test_only_sessions_that_touch_the_window_are_folded(session: SparkSession, events: list[dict[str, Any]]) -> None:
    _table(session, jvm.encode(events))
    by_session: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in events:
        by_session[row["session_id"]].append(row)
    seen = {}
    for name, rows in by_session.items():
        first = min(rows, key=lambda row: (row["kafka_partition"], row["kafka_offset"]))
        times = [row["device_at"] + first["received_at"] - first["post_device_at"] for row in rows]
        seen[name] = (min(times), max(times))
    from_ms = sorted(last for _, last in seen.values())[len(seen) // 3]
    until_ms = sorted(first for first, _ in seen.values())[2 * len(seen) // 3]
    expected = {name for name, (first, last) in seen.items() if first < until_ms and last >= from_ms}
    found = session.sql(f"""
        WITH decoded AS (SELECT kafka_partition, kafka_offset, kernel.decode_playback_event(v, k) AS e FROM message),
             folded AS (SELECT kernel.fold_session(
                            collect_list(kernel.pack_event(struct(e.*, kafka_partition, kafka_offset))),
                            {from_ms}L, {until_ms}L, 0L
                        ) AS f FROM decoded WHERE e.error_class IS NULL GROUP BY e.session_id)
        SELECT inline(kernel.sessions_of(f)) FROM folded WHERE f IS NOT NULL""").collect()
    assert {row.session_id for row in found} == expected
    assert 0 < len(expected) < len(seen)


def test_decode_every_outcome(session: SparkSession) -> None:
    title = {
        "title_id": "t",
        "show_id": "t",
        "kind": "film",
        "name": "É",
        "genres": ["drama", "noir"],
        "country_origin": "FR",
        "season": None,
        "episode": None,
        "launch_date": date(1962, 4, 1),
        "duration_ms": 5_400_000,
        "maturity": 12,
    }
    good = wire.encode_one("title", title)
    end = wire.encode_one(
        "day_end",
        {"day": date(2026, 11, 1), "partition": 0, "received_at": datetime.fromisoformat("2026-11-02T00:03:15Z")},
    )
    cases = {0: good, 1: good[:-1], 2: b"\x00\x00\x00\x03\xe7", 3: b"x", 4: end}
    _table(
        session,
        [jvm.Message(0, offset, 0, b"__day_end__0" if offset == 4 else b"t", value) for offset, value in cases.items()],
    )
    rows = {
        row.kafka_offset: row.d
        for row in session.sql("SELECT kafka_offset, kernel.decode_title(v, k) AS d FROM message").collect()
    }
    whole = {field.name: field.default for field in records.load("title").fields} | title
    whole |= {"schema_id": int.from_bytes(good[1:5]), "error_class": None, "reason": None}
    assert rows[0].asDict() == whole
    assert [rows[n].error_class for n in (1, 2, 3, 4)] == ["decode", "schema", "frame", "schema"]
    assert rows[1].title_id is None and rows[2].schema_id == 999 and rows[3].schema_id is None
    query = "SELECT kernel.decode_playback_event(v, k) AS d FROM message WHERE kafka_offset = 4"
    [control] = session.sql(query).collect()
    assert control.d is None


def test_a_clock_more_than_a_day_off_is_refused_in_avro_and_in_a_line(session: SparkSession) -> None:
    at = hostile.MIDNIGHT
    first = hostile.session(random.Random(1), "s1")[0] | {"received_at": at, "kafka_partition": 0, "kafka_at": at}
    off = (86_400_000, -86_400_001, 5 - at)
    rows = [first | {"post_device_at": at + by, "kafka_offset": n} for n, by in enumerate(off)]
    line = cmcd_golden.records()[0]["line"]
    posts = [cmcd_golden.message([line], {"at": at, "newest": at + by}) for by in off]
    _table(session, jvm.encode(rows) + [jvm.Message(1, n, at, b"s1", value) for n, value in enumerate(posts)])
    avro = session.sql("SELECT kernel.decode_playback_event(v, k) AS d FROM message WHERE kafka_partition = 0")
    assert [row.d.error_class for row in avro.collect()] == [None, "clock", "clock"]
    query = "SELECT kernel.decode_cmcd(v, k, kafka_partition, kafka_offset) AS d FROM message WHERE kafka_partition = 1"
    lines = [row.d for row in session.sql(query).collect()]
    assert [[letter.error_class for letter in d.letters] for d in lines] == [[], ["clock"], ["clock"]]
    assert [len(d.events) for d in lines] == [1, 0, 0]


def test_room_ends_with_the_bytes_it_was_given(session: SparkSession) -> None:
    rows = session.range(0, 9, 1, 1).selectExpr("IF(id = 4, NULL, binary(repeat('x', 100))) AS held")
    found = [row.r for row in rows.selectExpr("kernel.room(held, 1600L) AS r").collect()]
    assert found == [True] * 5 + [False] * 4, "300 bytes a row, 200 for one of nothing"
