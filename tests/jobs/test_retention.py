"""retention: what is past its time is gone, what is younger is untouched, ingest goes on exactly, twice is once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest

import lake
from conf.errors import InputMissing
from conf.settings import Settings, load
from jobs import registry
from lake.catalog import identifier
from schemas import tables as t
from tests.jobs import frames

if TYPE_CHECKING:
    from jobs.runner import Runner

DAY = date(2026, 11, 1)
FULL = {"MATINEE__RETENTION__SNAPSHOT_DAYS": "0"}


def ago(days: int) -> date:
    return DAY - timedelta(days=days)


def append(runner: Runner, table: t.Table, *rows: dict[str, Any], **properties: str) -> int:
    """One small file more; `properties` go into its snapshot (a key's dots are written as double underscores)."""
    import pyarrow as pa

    loaded = runner.catalog.load_table(identifier(runner.settings, table))
    frame = frames.rows(table, *rows)
    named = {key.replace("__", "."): value for key, value in properties.items()}
    schema = loaded.schema().as_arrow()
    loaded.append(pa.Table.from_pandas(frame, schema=schema, preserve_index=False), snapshot_properties=named)
    return int(loaded.refresh().current_snapshot().snapshot_id)


def files(runner: Runner, table: t.Table) -> set[str]:
    """Data files on disk of a table, whether a snapshot knows them or not."""
    from pathlib import Path
    from urllib.parse import urlsplit

    loaded = runner.catalog.load_table(identifier(runner.settings, table))
    return {str(path) for path in Path(urlsplit(loaded.location()).path).rglob("*.parquet")}


def test_settings_are_what_the_tables_declare() -> None:
    """The dictionary page prints what the tables declare; the defaults of the settings say the same."""
    kept = load(environ={}).retention
    assert (kept.raw_days, kept.bronze_days, kept.silver_days) == (3, 90, 400)
    for table in t.every():
        if table.namespace in ("bronze", "silver") and table.retention_days is not None:
            assert table.retention_days == {"bronze": kept.bronze_days, "silver": kept.silver_days}[table.namespace]
    assert t.BRONZE_TITLE.retention_days is None and t.BRONZE_PLAYBACK_EVENT.retention_days == 90


@pytest.mark.spark
def test_old_partitions_go_and_younger_ones_stay(new_lake: Callable[..., Runner]) -> None:
    from jobs import retention
    from jobs.context import JobContext

    runner = new_lake()
    spec = registry.job("retention")
    context = JobContext(runner.session, runner.settings, runner.catalog, spec, DAY)
    later = datetime.now(UTC) + timedelta(days=runner.settings.retention.snapshot_days, hours=1)
    for offset, days in enumerate((400, 91, 90, 0, 0, 0, 0, 0, 0)):
        row = {"received_date": ago(days), "kafka_offset": offset, "session_id": "s"}
        append(runner, t.BRONZE_PLAYBACK_EVENT, row, matinee__offsets__playback_event=f'{{"0": {offset + 1}}}')
    append(runner, t.BRONZE_TITLE, {"received_date": ago(3000), "title_id": "old film"})
    for days in (401, 400, 0):
        append(runner, t.SPAN, {"start_date": ago(days), "session_id": f"s{days}"})
    append(runner, t.QOE_DAILY, {"event_date": ago(4000)})
    home = lake.connect(runner.settings)
    before = home.read(t.BRONZE_PLAYBACK_EVENT, days=(ago(90), DAY)).sort_values("kafka_offset", ignore_index=True)
    held = files(runner, t.BRONZE_PLAYBACK_EVENT)
    newest = home.snapshot_id(t.BRONZE_TITLE)

    touched = (t.BRONZE_PLAYBACK_EVENT, t.BRONZE_TITLE, t.SPAN, t.QOE_DAILY, t.SESSION)

    kept = {table.fqn: retention.keep(context, table, now=later) for table in touched}

    events = kept[t.BRONZE_PLAYBACK_EVENT.fqn]
    assert (events.partitions, events.rewritten) == (2, 6) and events.snapshots >= 9
    assert home.days(t.BRONZE_PLAYBACK_EVENT) == [ago(90), DAY]
    after = home.read(t.BRONZE_PLAYBACK_EVENT).sort_values("kafka_offset", ignore_index=True)
    pd.testing.assert_frame_equal(after, before)
    assert home.days(t.SPAN) == [ago(400), DAY]
    assert home.read(t.BRONZE_TITLE).title_id.tolist() == ["old film"]
    assert home.snapshot_id(t.BRONZE_TITLE) == newest, "a table with nothing to do is left alone"
    assert len(home.read(t.QOE_DAILY)) == 1
    left = files(runner, t.BRONZE_PLAYBACK_EVENT)
    assert len(left) == 2 and len(held & left) == 1, "the files of what expired are deleted, small ones are one"
    assert len(home.snapshots(t.BRONZE_PLAYBACK_EVENT)) == 1
    _offsets_are(runner, {0: 9})

    states = [home.snapshot_id(table) for table in touched]
    again = [retention.keep(context, table, now=later) for table in touched]
    assert again == [retention.Kept(table.fqn) for table in touched], "a second run finds nothing to do"
    assert [home.snapshot_id(table) for table in touched] == states


def _offsets_are(runner: Runner, expected: dict[int, int]) -> None:
    from jobs import offsets
    from schemas import topics

    assert offsets.landed(runner.catalog, runner.settings, t.BRONZE_PLAYBACK_EVENT, topics.PLAYBACK_EVENT) == expected


@pytest.mark.spark
def test_a_day_that_has_not_come_is_refused_and_touches_nothing(
    new_lake: Callable[..., Runner], monkeypatch: pytest.MonkeyPatch
) -> None:
    from jobs import retention

    said: list[str] = []
    runner = new_lake(**FULL)
    runner.say = said.append
    monkeypatch.setattr(retention, "raw", lambda ctx: {})
    runner.run(["retention"], [date(2099, 1, 1)])
    assert said[0] == "nothing has landed yet: nothing is expired"

    for days in (91, 90, 1):
        append(runner, t.BRONZE_PLAYBACK_EVENT, {"received_date": ago(days), "session_id": "s", "kafka_offset": days})
    append(runner, t.BRONZE_TITLE, {"received_date": DAY, "title_id": "film"})
    append(runner, t.SPAN, {"start_date": ago(401), "session_id": "s"})
    home = lake.connect(runner.settings)
    touched = (t.BRONZE_PLAYBACK_EVENT, t.BRONZE_TITLE, t.SPAN)
    states = [home.snapshot_id(table) for table in touched]
    for day in (date(2099, 1, 1), DAY + timedelta(days=1)):
        with pytest.raises(InputMissing, match=f"retention of {day}: the newest day that has landed is {DAY}"):
            runner.run(["retention"], [day])
    assert [home.snapshot_id(table) for table in touched] == states
    assert home.days(t.BRONZE_PLAYBACK_EVENT) == [ago(91), ago(90), ago(1)]

    runner.run(["retention"], [DAY])
    assert home.days(t.BRONZE_PLAYBACK_EVENT) == [ago(90), ago(1)]
    assert home.days(t.SPAN) == []


@pytest.mark.spark
def test_young_snapshots_stay_readable_and_each_topics_account_survives(new_lake: Callable[..., Runner]) -> None:
    """The quarantine keeps an account of every topic, each in another snapshot: all must be found after expiry."""
    from jobs import offsets, retention
    from jobs.context import JobContext
    from schemas import topics

    runner = new_lake()
    context = JobContext(runner.session, runner.settings, runner.catalog, registry.job("retention"), DAY)
    states = []
    for number, name in enumerate(("title", "impression", "title", "playback_event"), start=1):
        account = {f"matinee__offsets__{name}": f'{{"0": {number}}}'}
        states.append(append(runner, t.QUARANTINE, {"received_date": DAY, "kafka_offset": number}, **account))
    append(runner, t.QUARANTINE, {"received_date": DAY, "kafka_offset": 9})
    assert retention.keep(context, t.QUARANTINE) == retention.Kept(t.QUARANTINE.fqn, rewritten=5)
    home = lake.connect(runner.settings)
    assert len(home.read(t.QUARANTINE, as_of=states[0])) == 1, "within snapshot_days a state can be read"

    later = datetime.now(UTC) + timedelta(days=runner.settings.retention.snapshot_days, seconds=5)
    assert retention.keep(context, t.QUARANTINE, now=later).snapshots == 6
    found = {
        topic.name: offsets.quarantined(runner.catalog, runner.settings, topic)
        for topic in (topics.TITLE, topics.IMPRESSION, topics.PLAYBACK_EVENT, topics.CDN_REQUEST)
    }
    assert found == {"title": {0: 3}, "impression": {0: 2}, "playback_event": {0: 4}, "cdn_request": {}}
    assert len(home.read(t.QUARANTINE)) == 5
    assert retention.keep(context, t.QUARANTINE, now=later) == retention.Kept(t.QUARANTINE.fqn)


@pytest.mark.spark
def test_an_expired_input_is_missing_not_empty(new_lake: Callable[..., Runner]) -> None:
    """Else a job run again for an old day would put nothing in the place of what it once wrote."""
    from jobs import retention
    from jobs.context import JobContext
    from lake import publications

    runner = new_lake(**FULL)
    old, never = ago(500), ago(2)
    spec = registry.job("qoe_daily")
    append(runner, t.SPAN, {"start_date": old})
    for day, rows in ((old, 1), (never, 0)):
        publications.record(runner.catalog, runner.settings, [_published(t.SPAN, day, rows)])
    assert JobContext(runner.session, runner.settings, runner.catalog, spec, old).frames()["span"].count() == 1
    context = JobContext(runner.session, runner.settings, runner.catalog, registry.job("retention"), DAY)
    assert retention.keep(context, t.SPAN).partitions == 1
    with pytest.raises(InputMissing, match="silver.span has no partition"):
        JobContext(runner.session, runner.settings, runner.catalog, spec, old).frames()
    assert JobContext(runner.session, runner.settings, runner.catalog, spec, never).frames()["span"].count() == 0


def _published(table: t.Table, day: date, rows: int) -> Any:
    from lake import publications
    from lake.audit import Verdict

    audit = Verdict(table.fqn, rows, "hash", "suite", ()).as_json()
    return publications.Publication(
        run_id=f"{table.producer}_{day}", job=table.producer, day=day, table_name=table.fqn, branch="b", snapshot_id=1,
        state=publications.PUBLISHED, content_hash="hash", audit=audit, updated_at=publications.now(),
    )  # fmt: skip


@pytest.mark.spark
@pytest.mark.kafka
def test_ingest_goes_on_exactly(stack: Settings, new_lake: Callable[..., Runner]) -> None:
    """Land, expire, send more, expire again before it is landed, land: every message once, none lost."""
    from jobs import topics as kafka
    from schemas.topics import PLAYBACK_EVENT
    from tests.jobs import stream

    runner = new_lake(**stream.universe(stack, "retention"), **FULL)
    settings = runner.settings
    day = stream.DAY + timedelta(days=10)
    home = lake.connect(settings)

    def landed() -> set[tuple[int, int]]:
        rows = home.read(t.BRONZE_PLAYBACK_EVENT, columns=["kafka_partition", "kafka_offset"])
        places = list(zip(rows.kafka_partition, rows.kafka_offset, strict=True))
        assert len(set(places)) == len(places), "an offset was landed twice"
        return set(places)

    def places(sent: stream.Sent) -> set[tuple[int, int]]:
        return {(row["kafka_partition"], row["kafka_offset"]) for row in sent.events}

    first = stream.write_events(settings, stream.events(51, 20))
    runner.run(["retention"], [day])
    assert kafka.bounds(settings, (PLAYBACK_EVENT,))["playback_event"].first == dict.fromkeys(range(4), 0), (
        "nothing is deleted from a topic before it is landed"
    )
    runner.run(["ingest"], [day])
    append(runner, t.BRONZE_IMPRESSION, {"received_date": day})  # the service lives on: its days have come
    runner.run(["retention"], [day])
    held = kafka.bounds(settings, (PLAYBACK_EVENT,))["playback_event"]
    assert held.first == held.end, "all of it is landed and too old"
    assert landed() == places(first)

    second = stream.write_events(settings, stream.events(52, 10, "later"))
    runner.run(["retention"], [day])
    held = kafka.bounds(settings, (PLAYBACK_EVENT,))["playback_event"]
    assert sum(held.end.values()) - sum(held.first.values()) >= len(second.events), "what is not landed stays"
    runner.run(["ingest"], [day])
    assert landed() == places(first) | places(second)
    assert runner.run(["ingest"], [day])[0].rows == {}

    append(runner, t.BRONZE_IMPRESSION, {"received_date": stream.DAY + timedelta(days=100), "kafka_offset": 1})
    runner.run(["retention"], [stream.DAY + timedelta(days=100)])
    assert landed() == set()
    third = stream.write_events(settings, stream.events(53, 5, "last"))
    runner.run(["ingest"], [day])
    assert landed() == places(third)
