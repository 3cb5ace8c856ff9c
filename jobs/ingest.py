"""ingest: land the topics in bronze, exactly once.

For every topic the start offsets are read from the table itself, the end offsets are captured once, the messages
between are decoded by the kernel, and the rows are committed together with the end offsets in one snapshot. So a run
that dies at any point leaves either both or neither, and no offset can be landed twice. What the kernel refuses goes to
``bronze.quarantine``, which keeps an account of its own; for a topic without a stream job also to ``dlq.<topic>``.
Deletion marks of compacted topics and end-of-day marks are no rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from typing import Any

from pyspark.sql import Column, DataFrame, Observation
from pyspark.sql import functions as F

from conf.errors import InputMissing
from jobs import deadletters, offsets, topics
from jobs.context import JobContext
from jobs.failpoint import failpoint
from jobs.offsets import Offsets
from jobs.session import register_kernel
from lake.catalog import table_named
from lake.publish import Publishing
from schemas import records, tables
from schemas.tables import Table
from schemas.topics import CMCD, LANDED, PLAYBACK_EVENT, Topic

STREAMED = frozenset({PLAYBACK_EVENT.name, CMCD.name})
"""Topics whose dead letters the stream job writes."""

HEAP_PARTS = 16
"""Refused messages of a pass may take one part of so many of the heap; of more than that the topic is read again."""


@dataclass(frozen=True)
class Landing:
    """One topic's part of a run: ``[start, end)`` for the table, ``[bad_start, end)`` for the quarantine."""

    topic: Topic
    table: Table
    start: Offsets
    bad_start: Offsets
    end: Offsets

    @property
    def wanted(self) -> bool:
        """Whether there is anything to land."""
        return offsets.missing(self.start, self.end) or offsets.missing(self.bad_start, self.end)


def run(ctx: JobContext) -> dict[str, tuple[int, str]]:
    """Land everything that is in the topics now; rows and content hash of what was added, by table.

    Raises:
        InputMissing: none of the topics is there.
        ServiceUnavailable: the broker does not answer.
    """
    register_kernel(ctx.session, ctx.settings)
    held = topics.bounds(ctx.settings, LANDED)
    if not held:
        names = ", ".join(topics.real_name(ctx.settings, topic.name) for topic in LANDED)
        raise InputMissing(f"job ingest: the broker {ctx.settings.kafka.bootstrap} has none of the topics {names}")
    fresh = [landing for landing in _plan(ctx, held) if landing.wanted]
    if not fresh:
        return {}
    written = list(dict.fromkeys([*(landing.table for landing in fresh), tables.QUARANTINE]))
    with Publishing(
        ctx.session, ctx.settings, ctx.catalog, "ingest", ctx.day, written, any_day=True, say=ctx.say
    ) as publishing:
        names = {landing.topic.name for landing in fresh}
        plan = [landing for landing in _plan(ctx, held) if landing.topic.name in names and landing.wanted]
        if not plan:
            return {}
        failpoint("ingest:before_write")
        _stage(ctx, publishing, plan)
        verdicts = publishing.audit()
        deadletters.send(
            ctx, publishing.written(tables.QUARANTINE), [p.topic for p in plan if p.topic.name not in STREAMED]
        )
        failpoint("ingest:before_publish")
        publishing.publish(between=lambda _: failpoint("ingest:between_publishes"))
    return {verdict.table: (verdict.rows, verdict.content_hash) for verdict in verdicts}


def _plan(ctx: JobContext, held: dict[str, topics.Bounds]) -> list[Landing]:
    plan = []
    for topic in LANDED:
        if topic.name not in held:
            continue
        bounds, table = held[topic.name], table_of(topic)
        start = offsets.start(topic, offsets.landed(ctx.catalog, ctx.settings, table, topic), bounds)
        bad = offsets.start(topic, offsets.quarantined(ctx.catalog, ctx.settings, topic), bounds)
        plan.append(Landing(topic, table, start, bad, bounds.end))
    return plan


def _stage(ctx: JobContext, publishing: Publishing, plan: list[Landing]) -> None:
    """Write good rows to each topic's table and the refused ones of all topics to the quarantine."""
    bad_frames = []
    for landing in plan:
        write = _stage_lines if landing.topic.name == CMCD.name else _stage_records
        refused = write(ctx, publishing, landing)
        if landing.bad_start != landing.start:  # the quarantine's account is not the table's
            refused = bad(decoded(ctx, landing.topic, landing.bad_start, landing.end), landing.topic)
        if refused is not None:
            bad_frames.append(refused)
    empty = ctx.session.table(publishing.name(tables.QUARANTINE)).where("false")
    publishing.stage(tables.QUARANTINE, reduce(DataFrame.unionByName, bad_frames, empty), None, _account(plan))


def _stage_lines(ctx: JobContext, publishing: Publishing, landing: Landing) -> DataFrame | None:
    """Stage the events of a range of topic `cmcd`; what was refused, if anything was."""
    seen = Observation()
    messages = decoded(ctx, landing.topic, landing.start, landing.end)
    refusals = F.expr("sum(if(record IS NULL, 0, size(record.letters)))").alias("bad")
    publishing.stage(landing.table, good(messages.observe(seen, refusals), landing.topic), None, _account([landing]))
    return bad(messages, landing.topic) if seen.get["bad"] else None


def _stage_records(ctx: JobContext, publishing: Publishing, landing: Landing) -> DataFrame | None:
    """The same of any other topic; the pass over its messages brings the refused ones home, if there is room."""
    seen = Observation()
    messages = decoded(ctx, landing.topic, landing.start, landing.end)
    jvm: Any = ctx.session._jvm
    room = jvm.java.lang.Runtime.getRuntime().maxMemory() // (HEAP_PARTS * len(landing.end))
    refused = F.col("record.error_class").isNotNull()
    held = refused & F.expr(f"kernel.room(value, CAST({room} AS BIGINT))")
    letters = messages.withColumn("letter", F.when(held, F.struct(*_letter(landing.topic)))).drop("key", "value")
    letters = letters.observe(seen, F.count_if(refused).alias("bad"), F.collect_list("letter").alias("letters"))
    publishing.stage(landing.table, good(letters, landing.topic), None, _account([landing]))
    metrics: Any = seen._jo.getRow()  # type: ignore[union-attr]  # rows of the JVM, which go there again
    count, found = metrics.getLong(0), metrics.getList(1)
    if count == 0:
        return None
    if found.size() < count:
        return bad(messages, landing.topic)
    kind = metrics.schema().apply(1).dataType().elementType()
    return _dated(DataFrame(ctx.session._jsparkSession.createDataFrame(found, kind), ctx.session))


def table_of(topic: Topic) -> Table:
    """The bronze table a topic lands in: its own; events that came as CMCD lie with the others."""
    return tables.BRONZE_PLAYBACK_EVENT if topic.name == CMCD.name else table_named(f"bronze.{topic.name}")


def _account(plan: list[Landing]) -> dict[str, str]:
    return {offsets.key(landing.topic): offsets.as_property(landing.end) for landing in plan}


def decoded(ctx: JobContext, topic: Topic, start: Offsets, end: Offsets) -> DataFrame:
    """Messages of a range with `record`, what the kernel made of each: a struct, or null for a control record."""
    messages = topics.raw(ctx.session, ctx.settings, topic, start, end)
    if topic.compacted:
        messages = messages.where("value IS NOT NULL")
    if topic.name == CMCD.name:
        return messages.withColumn("record", F.expr("kernel.decode_cmcd(value, key, partition, offset)"))
    return messages.withColumn("record", F.expr(f"kernel.decode_{topic.record}(value, key)"))


def good(messages: DataFrame, topic: Topic) -> DataFrame:
    """The rows of a bronze table: the record's columns and where the message stood.

    A message of topic `cmcd` holds many events, each with a position of its own; no schema wrote them (`schema_id` 0).
    """
    if topic.name == CMCD.name:
        events = messages.selectExpr("inline(record.events)")
        return events.withColumns({"schema_id": F.lit(0), "received_date": F.to_date("received_at")})
    fields = [f.name for f in records.load(topic.record).fields]
    arrived = F.col("record.received_at") if "received_at" in fields else F.col("timestamp")
    return messages.where("record IS NOT NULL AND record.error_class IS NULL").select(
        *(F.col(f"record.{name}") for name in fields),
        F.col("partition").alias("kafka_partition"),
        F.col("offset").alias("kafka_offset"),
        F.col("record.schema_id").alias("schema_id"),
        F.to_date(arrived).alias("received_date"),
    )


def bad(messages: DataFrame, topic: Topic) -> DataFrame:
    """The rows of the quarantine: original bytes, position and reason."""
    if topic.name == CMCD.name:
        letters = messages.select("*", F.explode("record.letters").alias("letter")).drop("record", "value")
        messages = letters.selectExpr(
            "* EXCEPT (letter)", "letter.payload AS value", "letter.line",
            "struct(CAST(NULL AS INT) AS schema_id, letter.error_class, letter.reason) AS record",
        )  # fmt: skip
    else:
        messages = messages.where("record.error_class IS NOT NULL")
    return _dated(messages.select(*_letter(topic)))


def _letter(topic: Topic) -> list[Column]:
    return [
        F.lit(topic.name).alias("topic"),
        F.col("partition").alias("kafka_partition"),
        F.col("offset").alias("kafka_offset"),
        F.col("line") if topic.name == CMCD.name else F.lit(0).alias("line"),
        F.col("timestamp").alias("kafka_at"),
        F.col("record.schema_id").alias("schema_id"),
        F.col("record.error_class").alias("error_class"),
        F.col("record.reason").alias("reason"),
        F.col("key").alias("message_key"),
        F.col("value").alias("payload"),
    ]


def _dated(letters: DataFrame) -> DataFrame:
    return letters.withColumn("received_date", F.to_date("kafka_at"))
