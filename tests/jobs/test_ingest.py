"""ingest against a real broker: every message once, refused ones with their bytes, also when the driver is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import lake
from conf.errors import AuditFailed, ServiceUnavailable
from conf.settings import ROOT, Settings
from jobs import ingest
from models.playback.spans import Policy, fold
from schemas import records, samples, topics, wire
from schemas import tables as t
from streaming import consume
from tests.fixtures.spark import lake_variables
from tests.fixtures.stack import stack_environment
from tests.jobs import stream
from tests.streaming import cmcd_topic

if TYPE_CHECKING:
    from jobs.runner import Runner

pytestmark = [pytest.mark.spark, pytest.mark.kafka]


def _title(name: str, duration_ms: int) -> bytes:
    row = {"title_id": name, "show_id": name, "kind": "film", "name": "É", "genres": ["noir", "drama"], "season": None}
    row |= {"episode": None, "country_origin": "FR", "launch_date": date(1962, 4, 11), "maturity": 12}
    return wire.encode_one("title", row | {"duration_ms": duration_ms})


def _landed(runner: Runner) -> dict[tuple[int, int], str]:
    rows = lake.connect(runner.settings).read(
        t.BRONZE_PLAYBACK_EVENT, columns=["kafka_partition", "kafka_offset", "session_id"]
    )
    places = list(zip(rows.kafka_partition, rows.kafka_offset, strict=True))
    assert len(set(places)) == len(places), "an offset was landed twice"
    return dict(zip(places, rows.session_id, strict=True))


def _quarantined(runner: Runner, topic: str) -> dict[tuple[int, int], bytes]:
    rows = lake.connect(runner.settings).read(t.QUARANTINE)
    rows = rows[rows.topic == topic]
    places = list(zip(rows.kafka_partition, rows.kafka_offset, strict=True))
    assert len(set(places)) == len(places), "a refused message was kept twice"
    return {place: bytes(payload) for place, payload in zip(places, rows.payload, strict=True)}


def _expected(sent: stream.Sent) -> dict[tuple[int, int], str]:
    return {(row["kafka_partition"], row["kafka_offset"]): row["session_id"] for row in sent.events}


def test_every_message_once(stack: Settings, new_lake: Callable[..., Runner], monkeypatch: pytest.MonkeyPatch) -> None:
    read_again: list[str] = []
    bad = ingest.bad
    monkeypatch.setattr(ingest, "bad", lambda rows, topic: (read_again.append(topic.name), bad(rows, topic))[1])
    runner = new_lake(**stream.universe(stack, "once"))
    settings = runner.settings
    first = stream.write_events(settings, stream.events(31, 40), end=stream.DAY)
    titles = [("t1", _title("t1", 1)), ("t2", _title("t2", 2)), ("t1", _title("t1", 3)), ("t2", None)]
    stream.write(settings, topics.TITLE, titles, stream.hostile.MIDNIGHT)
    incident = samples.rows(records.load("incident"), 1)[0]
    stream.write(settings, topics.INCIDENT, [("i1", wire.encode_one("incident", incident))], stream.hostile.MIDNIGHT)
    stream.write(settings, topics.IMPRESSION, [("p", b"junk"), ("p", b"\x00more")], stream.hostile.MIDNIGHT)
    runner.run(["ingest"], [stream.DAY])
    assert _landed(runner) == _expected(first)
    assert _quarantined(runner, "playback_event") == first.poison
    home = lake.connect(settings)
    events = home.read(t.BRONZE_PLAYBACK_EVENT).set_index(["kafka_partition", "kafka_offset"])
    for row in first.events[::7]:
        found = events.loc[(row["kafka_partition"], row["kafka_offset"])]
        assert found.received_at.timestamp() * 1000 == row["received_at"]
        assert found.received_date == found.received_at.date()
        assert (found.seq, found.state, found.title_id) == (row["seq"], row["state"], row["title_id"])
    assert events.schema_id.nunique() == 2, "both versions of the record are landed as one"
    assert sorted(home.read(t.BRONZE_TITLE).duration_ms) == [1, 2, 3]
    landed = home.read(t.BRONZE_INCIDENT).iloc[0]
    assert landed.incident_id == incident["incident_id"]
    assert list(landed.example_sessions) == incident["example_sessions"]
    assert sorted(_dead_letters(settings)) == [b"\x00more", b"junk"]
    before = {table: home.snapshot_id(table) for table in (t.BRONZE_PLAYBACK_EVENT, t.BRONZE_TITLE, t.QUARANTINE)}
    assert runner.run(["ingest"], [stream.DAY])[0].rows == {}
    assert {table: home.snapshot_id(table) for table in before} == before

    assert read_again == []
    monkeypatch.setattr(ingest, "HEAP_PARTS", 1 << 40)
    second = stream.write_events(settings, stream.events(32, 10, "later"))
    runner.run(["ingest"], [stream.DAY])
    assert read_again == ["playback_event"], "without room for what was refused, the topic is read again"
    assert _landed(runner) == _expected(first) | _expected(second)
    assert _quarantined(runner, "playback_event") == first.poison | second.poison
    assert home.snapshot_id(t.BRONZE_TITLE) == before[t.BRONZE_TITLE], "a topic without news is left alone"
    assert sorted(_dead_letters(settings)) == [b"\x00more", b"junk"]


def _dead_letters(settings: Settings) -> list[bytes | None]:
    from jobs import produce

    found = list(produce.messages(settings, "dlq.impression"))
    assert all(
        {"topic", "kafka_partition", "kafka_offset", "error_class", "reason"} <= set(dict(h)) for _, _, h in found
    )
    return [value for _, value, _ in found]


def test_cmcd_lines_land_with_the_events_and_fold_alike(stack: Settings, new_lake: Callable[..., Runner]) -> None:
    runner = new_lake(**stream.universe(stack, "lines"))
    settings = runner.settings
    avro = stream.write_events(settings, stream.events(33, 10, "avro"))
    posts = cmcd_topic.sessions(5, 40)
    head = posts[0].value.partition(b"\n")[0]
    bad = cmcd_topic.refused_lines(6, 40)
    poison = [b"\n".join([head, *bad[n : n + 4]]) for n in range(0, 40, 4)] + [b"", b"\x00\x01"]
    stream.write(settings, topics.CMCD, [(p.key.decode(), p.value) for p in posts], stream.hostile.MIDNIGHT)
    stream.write(settings, topics.CMCD, [("s1", value) for value in poison], stream.hostile.MIDNIGHT)
    stream.write(settings, topics.TITLE, [("t1", _title("t1", 1))], stream.hostile.MIDNIGHT)
    runner.run(["ingest"], [stream.DAY])
    rows, letters = cmcd_topic.decoded(consume.messages(topics.CMCD, settings))
    expected = {(r["kafka_partition"], r["kafka_offset"]): sid for sid, held in rows.items() for r in held}
    assert len(expected) > 300
    assert _landed(runner) == expected | _expected(avro)
    home = lake.connect(settings)
    refused = home.read(t.QUARANTINE)
    refused = refused[refused.topic == "cmcd"]
    places = zip(refused.kafka_partition, refused.kafka_offset, refused.line, strict=True)
    found = zip(map(bytes, refused.payload), refused.error_class, refused.reason, strict=True)
    assert dict(zip(places, found, strict=True)) == {
        place: (x.payload, x.error_class, x.reason) for place, x in letters.items()
    }
    assert runner.run(["ingest"], [stream.DAY])[0].rows == {}
    bronze = home.read(t.BRONZE_PLAYBACK_EVENT).set_index(["kafka_partition", "kafka_offset"])
    for row in [row for held in rows.values() for row in held][::11]:
        one = bronze.loc[(row["kafka_partition"], row["kafka_offset"])]
        assert (one.seq, one.state, one.kept, one.event) == (row["seq"], row["state"], row["kept"], row["event"])
        assert one.device_at.timestamp() * 1000 == row["device_at"] and one.schema_id == 0
    runner.run(["sessionize"], [stream.DAY])
    sessions = home.read(t.SESSION)
    day = (stream.DAY - date(1970, 1, 1)).days
    truth = [
        row
        for sid, held in rows.items()
        for row in fold(held, Policy(), "final").sessions
        if row["close_date"] == day and sid.startswith("s")
    ]
    live = sessions[(sessions.revision == "final") & ~sessions.session_id.str.startswith("avro")]
    assert len(truth) > 5
    names = ["session_id", "segment", "end_reason", "title_id", "cdn_id", "stall_ms", "play_ms", "attempts", "events"]
    assert sorted(map(tuple, live[names].to_numpy().tolist())) == sorted(tuple(row[n] for n in names) for row in truth)


def test_newest_title_is_what_jobs_read(stack: Settings, new_lake: Callable[..., Runner]) -> None:
    from jobs import registry
    from jobs.context import JobContext

    runner = new_lake(**stream.universe(stack, "newest"))
    stream.write(runner.settings, topics.TITLE, [("t1", _title("t1", n)) for n in (5, 6, 7)], stream.hostile.MIDNIGHT)
    runner.run(["ingest"], [stream.DAY])
    spec = registry.JobSpec("x", registry.Kind.TABLE, "", reads=(registry.Read(t.BRONZE_TITLE, latest=True),))
    frame = JobContext(runner.session, runner.settings, runner.catalog, spec, stream.DAY).frames()["title"]
    assert [(row.title_id, row.duration_ms) for row in frame.collect()] == [("t1", 7)]
    assert "kafka_offset" not in frame.columns


def test_killed_at_three_points(stack: Settings, new_lake: Callable[..., Runner], tmp_path: Path) -> None:
    """After each kill more events arrive; in the end every offset is there once, none is missing."""
    variables = stream.universe(stack, "killed")
    runner = new_lake(**variables)
    env = {**os.environ, **stack_environment(stack), **lake_variables(tmp_path / "own"), **variables}
    sent = []
    for number, point in enumerate(("before_write", "before_publish", "between_publishes")):
        sent.append(stream.write_events(runner.settings, stream.events(40 + number, 12, f"k{number}x")))
        command = [sys.executable, str(ROOT / "matinee.py"), "job", "ingest", "--date", str(stream.DAY)]
        killed = subprocess.run(
            command, env={**env, "MATINEE_FAILPOINT": f"ingest:{point}"}, capture_output=True, text=True, check=False
        )
        assert killed.returncode == -signal.SIGKILL, killed.stderr
    published = _landed(runner)
    assert published == {place: who for s in sent for place, who in _expected(s).items()}, "the events were published"
    assert not _quarantined(runner, "playback_event"), "the quarantine was not: the kill came between the two"
    sent.append(stream.write_events(runner.settings, stream.events(50, 5, "after")))
    for _ in range(2):
        runner.run(["ingest"], [stream.DAY])
        assert _landed(runner) == {place: who for s in sent for place, who in _expected(s).items()}
        assert _quarantined(runner, "playback_event") == {
            place: value for s in sent for place, value in s.poison.items()
        }
    tables = (t.BRONZE_PLAYBACK_EVENT, t.QUARANTINE)
    assert all(set(lake.connect(runner.settings).table(table).refs()) == {"main"} for table in tables)


def test_a_topic_made_anew_is_refused(stack: Settings, new_lake: Callable[..., Runner]) -> None:
    from streaming.topics import create, delete

    runner = new_lake(**stream.universe(stack, "anew"))
    stream.write(runner.settings, topics.TITLE, [("t1", _title("t1", n)) for n in (5, 6)], stream.hostile.MIDNIGHT)
    runner.run(["ingest"], [stream.DAY])
    delete(runner.settings, [topics.TITLE])
    deadline = time.monotonic() + 60
    while not create(runner.settings, [topics.TITLE]):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    stream.write(runner.settings, topics.TITLE, [("t1", _title("t1", 7))], stream.hostile.MIDNIGHT)
    with pytest.raises(AuditFailed, match="made anew"):
        runner.run(["ingest"], [stream.DAY])


def test_no_broker_is_said_at_once(new_lake: Callable[..., Runner]) -> None:
    runner = new_lake(MATINEE__KAFKA__BOOTSTRAP="127.0.0.1:1")
    with pytest.raises(ServiceUnavailable, match="127.0.0.1:1.*matinee up") as error:
        runner.run(["ingest"], [stream.DAY])
    assert error.value.exit_code == 5
