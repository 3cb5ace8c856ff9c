"""reconcile: hold the stream's sums against the batch's, integer by integer.

Revision `live` of both: the same law over the same events, so not one integer may differ, over every rollup, minute and
metric and every column of every session. A row of zeros and no row are the same sums.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from functools import reduce

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from conf.errors import AuditFailed, InputMissing
from conf.settings import Settings
from schemas import metrics, records
from schemas.render import sql

KERNEL = True
SUMS = [name for name, _ in sql.row_expressions()]
MINUTE_KEY = ["rollup", "minute_at", *metrics.DIMENSIONS]
SESSION_KEY = ["session_id", "segment"]
SESSION_COLUMNS = [f.name for f in records.load("qoe_session").fields if f.name not in (*SESSION_KEY, "final")]


def require(frames: dict[str, DataFrame], *, day: date, settings: Settings) -> None:
    """The stream must have passed the end of the day on every partition.

    Raises:
        InputMissing: partitions that are not there yet, each with how far it is.
    """
    until = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1)
    found = {
        row.partition: row.until
        for row in frames["topic.qoe_progress"]
        .groupBy("partition").agg(F.max(F.unix_millis("complete_until_at")).alias("until")).collect()
    }  # fmt: skip
    wanted = until.timestamp() * 1000
    behind = [p for p in range(settings.kafka.partitions) if found.get(p, 0) < wanted]
    if behind:
        reached = ", ".join(f"{p} ({_moment(found.get(p))})" for p in behind)
        raise InputMissing(
            f"job reconcile of {day}: the stream has not finished the day on partitions {reached}. It does so once it "
            "has read the day's end marks: is `matinee stream qoe` running, and did the producer end the day?"
        )


def _moment(ms: int | None) -> str:
    return "nothing yet" if ms is None else f"complete until {datetime.fromtimestamp(ms / 1000, UTC):%Y-%m-%d %H:%M}"


def transform(frames: dict[str, DataFrame], *, day: date, settings: Settings) -> dict[str, DataFrame]:
    """Rows of `reconcile_result`: for every rollup and sum, and for every session column, what differs."""
    any_sum = reduce(Column.__or__, [F.col(name) != 0 for name in SUMS])
    minutes = [
        frames[name].where((F.col("event_date") == day) & (F.col("revision") == "live")).where(any_sum)
        for name in ("topic.qoe_minute", "qoe_minute")
    ]
    zero = {f"{side}_{name}": 0 for side in "sb" for name in SUMS}
    by_rollup = compare(*minutes, MINUTE_KEY, SUMS).fillna(zero).groupBy("rollup").agg(*_figures(SUMS))
    stream = frames["topic.qoe_session"].where(F.to_date("end_at") == day)
    batch = frames["session"].where("revision = 'live'")
    sessions = compare(stream, batch, SESSION_KEY, SESSION_COLUMNS).agg(*_figures(SESSION_COLUMNS))
    found = long_form(by_rollup, SUMS).unionByName(
        long_form(sessions.withColumn("rollup", F.lit("session")), SESSION_COLUMNS)
    )
    return {"reconcile_result": found.withColumn("event_date", F.lit(day))}


def compare(stream: DataFrame, batch: DataFrame, keys: list[str], columns: list[str]) -> DataFrame:
    """Full outer join by key: `s_<column>`, `b_<column>`, `in_stream`, `in_batch`."""
    left = stream.select(*keys, *(F.col(c).alias(f"s_{c}") for c in columns), F.lit(True).alias("in_stream"))
    right = batch.select(*keys, *(F.col(c).alias(f"b_{c}") for c in columns), F.lit(True).alias("in_batch"))
    return left.join(right, keys, "full_outer")


def _figures(columns: list[str]) -> list[Column]:
    """Aggregates: rows of each side, rows in one only, and per column what differs and the sums of the integers."""
    both = "in_stream IS NOT NULL AND in_batch IS NOT NULL"
    rows = [
        ("rows_stream", "in_stream IS NOT NULL"),
        ("rows_batch", "in_batch IS NOT NULL"),
        ("rows_missing", f"NOT ({both})"),
    ]
    answer = [F.count_if(F.expr(condition)).alias(name) for name, condition in rows]
    for column in columns:
        answer.append(F.count_if(F.expr(f"NOT (s_{column} <=> b_{column})")).alias(f"differing_{column}"))
        answer += [F.coalesce(F.sum(_number(f"{side}_{column}")), F.lit(0)).alias(f"{side}_{column}") for side in "sb"]
    return answer


def _number(column: str) -> Column:
    """An integer as it is; a time as milliseconds; a text or a truth value has no sum."""
    return F.expr(
        f"CASE WHEN typeof({column}) IN ('bigint', 'int') THEN TRY_CAST(CAST({column} AS STRING) AS BIGINT) ELSE 0L END"
    )


def long_form(wide: DataFrame, columns: list[str]) -> DataFrame:
    """A row for every column of a row of figures."""
    each = [
        F.struct(
            F.lit(column).alias("metric"),
            F.col(f"differing_{column}").cast("long").alias("differing"),
            F.col(f"s_{column}").cast("long").alias("sum_stream"),
            F.col(f"b_{column}").cast("long").alias("sum_batch"),
        )
        for column in columns
    ]
    counted = ["rows_stream", "rows_batch", "rows_missing"]
    return wide.select("rollup", *counted, F.explode(F.array(*each)).alias("found")).select(
        "rollup", *counted, "found.*"
    )


def check(frames: dict[str, DataFrame], *, day: date, say: Callable[[str], None]) -> None:
    """Print the result and fail on any difference; the rows stay in ``ops.reconcile_result``.

    Raises:
        AuditFailed: a value differs.
    """
    rows = frames["reconcile_result"].orderBy("rollup", "metric").collect()
    say(table(rows))
    differing = sum(row.differing for row in rows)
    if differing:
        raise AuditFailed(
            f"job reconcile of {day}: {differing:,} values differ between stream and batch; see the table above and "
            f"`matinee sql \"SELECT * FROM ops.reconcile_result WHERE event_date = '{day}' AND differing > 0\"`"
        )


def table(rows: list) -> str:  # type: ignore[type-arg]
    """One line for each rollup; the sums that differ below it."""
    lines = [
        f"{'rollup':<10} {'stream rows':>12} {'batch rows':>12} {'in one only':>12} {'compared':>12} {'differing':>10}"
    ]
    for rollup in dict.fromkeys(row.rollup for row in rows):
        mine = [row for row in rows if row.rollup == rollup]
        one = mine[0]
        compared = len(mine) * max(one.rows_stream, one.rows_batch)
        differing = sum(row.differing for row in mine)
        figures = (one.rows_stream, one.rows_batch, one.rows_missing, compared)
        lines.append(f"{rollup:<10} " + " ".join(f"{n:>12,}" for n in figures) + f" {differing:>10,}")
        lines += [
            f"  {row.metric}: {row.differing:,} differ, sums {row.sum_stream:,} (stream) {row.sum_batch:,} (batch)"
            for row in mine
            if row.differing
        ]
    return "\n".join(lines)
