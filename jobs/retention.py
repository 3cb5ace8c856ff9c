"""retention: let go of what is past its time, and put together what lies in small pieces. Safe to run again and again.

For every table, under its write lease: publishes that were cut short are completed; failed branches older than
``retention.snapshot_days`` are dropped; partitions older than the table is kept are deleted; partitions of many small
files are compacted; snapshots older than ``retention.snapshot_days`` are expired with the files only they held. The
newest snapshot always stays, and with it what ingest must know: offsets that only an expiring snapshot carries are
first written into a new one.

Then raw messages: records of the event topics and dead letters that arrived more than ``retention.raw_days`` before the
day are deleted up to the first one that is not landed yet, so a lake that lags loses nothing.

How old a partition or a record is, is counted from the job's day, as everywhere; how old a snapshot is, from now. So a
day that has not come yet would expire what is young: one after the newest landed day is refused, whatever the clock
says (a universe may lie in the past), and where nothing has landed there is nothing to expire.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from kafka import TopicPartition
from kafka.errors import KafkaError

from conf.errors import InputMissing, ServiceUnavailable
from conf.settings import Settings
from jobs import offsets, produce, topics
from jobs.context import JobContext
from jobs.ingest import table_of
from lake.catalog import NAME, identifier
from lake.publish import MAIN, Publishing, handle
from schemas import tables
from schemas.tables import Table
from schemas.topics import DLQ_CMCD, DLQ_PLAYBACK_EVENT, LANDED, Topic

KEPT = "matinee.retention"
"""Snapshot property of what this job commits."""
SMALL_FILES = 5
"""A partition with at least so many small files is compacted (Iceberg's own default)."""
SMALL_SHARE = 0.75
"""A file below this share of the target size is small (Iceberg's own default)."""
TARGET_BYTES = 512 * 1024 * 1024


RAW = tuple(topic for topic in (*LANDED, DLQ_PLAYBACK_EVENT, DLQ_CMCD) if not topic.compacted)
"""Topics that hold raw messages: what players and services sent, and what the stream refused."""


@dataclass(frozen=True)
class Kept:
    """What one table lost and gained; all 0 when there was nothing to do."""

    table: str
    partitions: int = 0
    branches: int = 0
    rewritten: int = 0
    snapshots: int = 0

    def __str__(self) -> str:
        counts = (
            (self.partitions, "partitions expired"),
            (self.branches, "failed branches dropped"),
            (self.rewritten, "files put together"),
            (self.snapshots, "snapshots expired"),
        )
        return f"{self.table}: " + ", ".join(f"{count:,} {what}" for count, what in counts if count)


def run(ctx: JobContext) -> None:
    """All tables, then the raw topics.

    Raises:
        InputMissing: nothing has landed on the job's day or later; nothing is touched.
        ServiceUnavailable: a writer holds a table for too long, or the broker does not answer.
    """
    newest = newest_landed(ctx)
    if newest is None:
        ctx.say("nothing has landed yet: nothing is expired")
        return
    if ctx.day > newest:
        raise InputMissing(
            f"job retention of {ctx.day}: the newest day that has landed is {newest}, and ages would be counted from a "
            f"day that has not come; job 'ingest' lands more, or run `matinee job retention --date {newest}`"
        )
    for table in tables.every():
        kept = keep(ctx, table)
        if kept != Kept(table.fqn):
            ctx.say(str(kept))
    for name, count in raw(ctx).items():
        if count:
            ctx.say(f"topic {name}: {count:,} records deleted")


def newest_landed(ctx: JobContext) -> date | None:
    """The newest day of arrival of anything that ingest has landed, by metadata alone; None: nothing has landed."""
    found = []
    for table in tables.every():
        if table.landed:
            loaded = ctx.catalog.load_table(identifier(ctx.settings, table))
            found += [task.file.partition[0] for task in loaded.scan().plan_files()]
    return date(1970, 1, 1) + timedelta(days=max(found)) if found else None


def keep_days(settings: Settings, table: Table) -> int | None:
    """How many days of a table are kept before the job's day; None: all.

    The layers' settings rule; gold and ops, and what the catalogue tables say, are declared with the table.
    """
    if table.retention_days is None:
        return None
    layers = {"bronze": settings.retention.bronze_days, "silver": settings.retention.silver_days}
    return layers.get(table.namespace, table.retention_days)


def keep(ctx: JobContext, table: Table, now: datetime | None = None) -> Kept:
    """One table; `now` is the moment from which the age of snapshots counts."""
    metadata = ctx.catalog.load_table(identifier(ctx.settings, table)).metadata
    if not metadata.snapshots:
        return Kept(table.fqn)
    moment = (now or datetime.now(UTC)) - timedelta(days=ctx.settings.retention.snapshot_days)
    with Publishing(ctx.session, ctx.settings, ctx.catalog, "retention", ctx.day, [table], say=ctx.say) as held:
        branches = _drop_branches(ctx, held.name(table), moment)
        days = keep_days(ctx.settings, table)
        partitions = _expire_partitions(ctx, table, ctx.day - timedelta(days=days)) if days is not None else 0
        rewritten = _compact(ctx, table)
        snapshots = _expire_snapshots(ctx, table, moment)
    return Kept(table.fqn, partitions, branches, rewritten, snapshots)


# -- partitions, branches, files --------------------------------------------------------------------------------------


def _expire_partitions(ctx: JobContext, table: Table, before: date) -> int:
    """Delete whole partitions, by metadata alone: no file is opened."""
    loaded = ctx.catalog.load_table(identifier(ctx.settings, table))
    scan = loaded.scan(row_filter=f"{table.partition} < '{before}'")
    gone = {str(task.file.partition) for task in scan.plan_files()}
    if gone:
        name = f"{NAME}.{identifier(ctx.settings, table)}"
        expressions = ctx.session._jvm.org.apache.iceberg.expressions.Expressions
        old = expressions.lessThan(str(table.partition), (before - date(1970, 1, 1)).days)
        handle(ctx.session, name).newDelete().deleteFromRowFilter(old).set(KEPT, f"before {before}").commit()
    return len(gone)


def _drop_branches(ctx: JobContext, name: str, before: datetime) -> int:
    """Drop branches whose newest snapshot is too old; they hold files that nothing else holds."""
    loaded = handle(ctx.session, name)
    dropped = 0
    for branch in sorted(str(ref) for ref in loaded.refs().keySet() if str(ref) != MAIN):
        snapshot = loaded.snapshot(loaded.refs().get(branch).snapshotId())
        if snapshot.timestampMillis() < before.timestamp() * 1000:
            loaded.manageSnapshots().removeBranch(branch).commit()
            dropped += 1
    return dropped


def _compact(ctx: JobContext, table: Table) -> int:
    """Put the small files of a partition together where there are many; the number of files that went into others."""
    loaded = ctx.catalog.load_table(identifier(ctx.settings, table))
    small = Counter(
        str(task.file.partition)
        for task in loaded.scan().plan_files()
        if task.file.file_size_in_bytes < SMALL_SHARE * TARGET_BYTES
    )
    if not any(count >= SMALL_FILES for count in small.values()):
        return 0
    options = f"map('min-input-files', '{SMALL_FILES}', 'target-file-size-bytes', '{TARGET_BYTES}')"
    done = ctx.session.sql(
        f"CALL {NAME}.system.rewrite_data_files(table => '{identifier(ctx.settings, table)}', options => {options})"
    ).head()
    return int(done["rewritten_data_files_count"])


# -- snapshots --------------------------------------------------------------------------------------------------------


def _expire_snapshots(ctx: JobContext, table: Table, before: datetime) -> int:
    """Expire all older ancestors of ``main`` but the newest, offsets carried over first; how many went."""
    from pyiceberg.table.snapshots import ancestors_of

    loaded = ctx.catalog.load_table(identifier(ctx.settings, table))
    if loaded.current_snapshot() is None:
        return 0
    chain = list(ancestors_of(loaded.current_snapshot(), loaded.metadata))
    limit = before.timestamp() * 1000
    if not any(snapshot.timestamp_ms < limit for snapshot in chain[1:]):
        return 0
    name = f"{NAME}.{identifier(ctx.settings, table)}"
    stranded = _stranded(chain, limit)
    if stranded:
        commit = handle(ctx.session, name).newFastAppend().set(KEPT, "offsets carried over")
        for key, value in stranded.items():
            commit = commit.set(key, value)
        commit.commit()
    ctx.session.sql(
        f"CALL {NAME}.system.expire_snapshots(table => '{identifier(ctx.settings, table)}', "
        f"older_than => TIMESTAMP '{before.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}', retain_last => 1)"
    ).collect()
    left = ctx.catalog.load_table(identifier(ctx.settings, table)).metadata.snapshots
    return len({snapshot.snapshot_id for snapshot in chain} - {snapshot.snapshot_id for snapshot in left})


def _stranded(chain: list[Any], limit: float) -> dict[str, str]:
    """Offsets that no ancestor newer than `limit` carries. A walk from ``main`` ends where an ancestor is gone, so one
    old snapshot kept behind expired ones would not be found: what is still needed must stand in a new one."""
    known: dict[str, str] = {}
    needed: dict[str, str] = {}
    for place, snapshot in enumerate(chain):
        properties = snapshot.summary.additional_properties if snapshot.summary else {}
        stays = place == 0 or snapshot.timestamp_ms >= limit
        for key in (offsets.key(topic) for topic in LANDED):
            if key in properties and key not in known:
                known[key] = properties[key]
                if not stays:
                    needed[key] = properties[key]
    return needed


# -- raw events -------------------------------------------------------------------------------------------------------


def raw(ctx: JobContext) -> dict[str, int]:
    """Delete old records of the raw topics; how many went, by topic."""
    cut = datetime.combine(ctx.day - timedelta(days=ctx.settings.retention.raw_days), time.min, UTC)
    held = topics.bounds(ctx.settings, RAW)
    deleted = dict.fromkeys(held, 0)
    with topics.consumer(ctx.settings) as client:
        for topic in RAW:
            if topic.name not in held:
                continue
            until = {
                partition: offset
                for partition, offset in _until(ctx, topic, held[topic.name], client, cut)
                if offset > held[topic.name].first[partition]
            }
            if until:
                _delete(ctx.settings, topic, until)
                deleted[topic.name] = sum(o - held[topic.name].first[p] for p, o in until.items())
    return deleted


def _until(ctx: JobContext, topic: Topic, held: topics.Bounds, client: Any, cut: datetime) -> Iterator[tuple[int, int]]:
    """Of each partition the first offset to keep: the first that is young enough or not landed."""
    real = topics.real_name(ctx.settings, topic.name)
    young = client.offsets_for_times({TopicPartition(real, p): int(cut.timestamp() * 1000) for p in held.end})
    accounts = []
    if topic in LANDED:
        landed = offsets.landed(ctx.catalog, ctx.settings, table_of(topic), topic)
        accounts = [landed, offsets.quarantined(ctx.catalog, ctx.settings, topic)]
    for partition, end in held.end.items():
        found = young.get(TopicPartition(real, partition))
        first_young = found.offset if found is not None else end
        yield partition, min([first_young, *(account.get(partition, 0) for account in accounts)])


def _delete(settings: Settings, topic: Topic, until: dict[int, int]) -> None:
    real = topics.real_name(settings, topic.name)
    try:
        with produce.admin(settings) as client:
            client.delete_records({TopicPartition(real, partition): offset for partition, offset in until.items()})
    except KafkaError as error:
        raise ServiceUnavailable(
            f"topic {real}: the broker deleted no records ({type(error).__name__}: {error}); "
            "what was deleted before stays deleted, run the job again"
        ) from error
