"""Files written column by column hold what Iceberg's own writer would have written, for every reader we have."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa
import pyarrow.parquet
import pytest

from conf.settings import Settings
from lake.catalog import NAME, bootstrap
from lake.publish import handle

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

pytestmark = [pytest.mark.spark, pytest.mark.jvm]
ROWS = 70_000
"""More than a row group, and no whole number of pages."""
COLUMNS = (
    "id LONG, day DATE, always INT, never STRING, seldom LONG, flag BOOLEAN, some BOOLEAN, small INT, share DOUBLE, "
    "at TIMESTAMP, state STRING, long_text STRING, runs STRING"
)
DAYS = (date(2026, 1, 5), date(2026, 1, 6), None)


def _rows() -> list[tuple[Any, ...]]:
    rng = random.Random(5)
    start = datetime(2026, 1, 5, tzinfo=UTC)
    return [
        (
            rng.choice((-(2**63), 2**63 - 1, number)),
            DAYS[0] if number < ROWS - 200 else DAYS[number % 3],
            7,
            None,
            number if rng.random() < 0.01 else None,
            rng.random() < 0.3,
            rng.choice((True, False, None)),
            rng.randrange(-(2**31), 2**31),
            rng.choice((0.0, -0.0, float("nan"), float("inf"), rng.random())),
            start + timedelta(microseconds=rng.randrange(10**11)),
            rng.choice(("playing", "", "naïve ☃", None)),
            f"{number}-{rng.randrange(10**30):040d}",
            f"session {number // 97}",
        )
        for number in range(ROWS)
    ]


@pytest.fixture(scope="module")
def frame(spark: SparkSession, lake_settings: Settings) -> DataFrame:
    from jobs.session import register_kernel

    bootstrap(lake_settings, only=())
    register_kernel(spark, lake_settings)
    return spark.createDataFrame(_rows(), COLUMNS).coalesce(1).cache()


def _make(spark: SparkSession, name: str, columns: str = COLUMNS, more: str = "") -> str:
    spark.sql(f"CREATE NAMESPACE IF NOT EXISTS {NAME}.by_column")
    full = f"{NAME}.by_column.{name}"
    spark.sql(f"DROP TABLE IF EXISTS {full}")
    spark.sql(
        f"CREATE TABLE {full} ({columns}) USING iceberg PARTITIONED BY (day) TBLPROPERTIES "
        f"('write.parquet.compression-codec' = 'zstd', 'write.spark.fanout.enabled' = 'true', "
        f"'write.distribution-mode' = 'none', 'write.metadata.metrics.column.runs' = 'none'{more})"
    )
    return full


def _written(spark: SparkSession, frame: DataFrame, full: str) -> list[Any]:
    table = handle(spark, full)
    files = spark._jvm.io.matinee.kernel.spark.ColumnFiles.write(frame._jdf, table)  # type: ignore[union-attr]
    commit = table.newAppend()
    for file in files:
        commit.appendFile(file)
    commit.commit()
    return list(files)


@pytest.fixture(scope="module")
def tables(spark: SparkSession, frame: DataFrame) -> Iterator[tuple[str, str, list[str]]]:
    """Names of the table by column and of Iceberg's own, and the files of the first."""
    ours, theirs = _make(spark, "ours"), _make(spark, "theirs")
    files = _written(spark, frame, ours)
    frame.writeTo(theirs).append()
    yield ours, theirs, [str(file.location()).removeprefix("file:") for file in files]
    spark.sql(f"DROP TABLE {ours}")
    spark.sql(f"DROP TABLE {theirs}")


def _sorted(rows: list[Any]) -> list[str]:
    return sorted(map(repr, rows))


@pytest.mark.parametrize("vectorized", ["true", "false"])
def test_spark_reads_what_was_written(
    spark: SparkSession, tables: tuple[str, str, list[str]], vectorized: str
) -> None:
    ours, theirs, _ = tables
    read = spark.read.option("vectorization-enabled", vectorized)
    expected = _sorted([tuple(row) for row in spark.table(theirs).collect()])
    assert _sorted([tuple(row) for row in read.table(ours).collect()]) == expected
    assert len(expected) == ROWS


def test_arrow_and_duckdb_read_the_same(spark: SparkSession, tables: tuple[str, str, list[str]]) -> None:
    _, theirs, files = tables
    expected = spark.table(theirs).toArrow()
    order = [("long_text", "ascending")]
    read = pa.concat_tables(pa.parquet.ParquetFile(file).read() for file in files).sort_by(order)
    expected = expected.sort_by(order)
    for name in expected.column_names:
        assert repr(read[name].to_pylist()) == repr(expected[name].to_pylist()), name
    found = duckdb.sql(f"SELECT * FROM read_parquet({files!r}) ORDER BY long_text").fetchall()
    assert repr([row[:9] + row[10:] for row in found]) == repr(
        [tuple(row.values())[:9] + tuple(row.values())[10:] for row in expected.to_pylist()]
    )


def test_manifests_say_the_same(spark: SparkSession, tables: tuple[str, str, list[str]]) -> None:
    """Rows, nulls and bounds by partition; no bounds of a column that shall have none, in the files neither."""
    ours, theirs, files = tables
    seen = []
    for name in (ours, theirs):
        rows = spark.sql(
            f"SELECT partition.day, sum(record_count) AS n, sum(readable_metrics.seldom.null_value_count) AS nulls, "
            f"sum(readable_metrics.never.null_value_count) AS never, min(readable_metrics.id.lower_bound) AS low, "
            f"max(readable_metrics.id.upper_bound) AS high, min(readable_metrics.state.lower_bound) AS text, "
            f"max(readable_metrics.at.upper_bound) AS at, max(readable_metrics.small.upper_bound) AS small, "
            f"max(readable_metrics.runs.upper_bound) AS runs FROM {name}.files GROUP BY 1"
        ).collect()
        seen.append(_sorted(rows))
        assert {row.runs for row in rows} == {None}
    assert seen[0] == seen[1]
    assert len(seen[0]) == len(DAYS)
    for file in files:
        group = pa.parquet.ParquetFile(file).metadata.row_group(0)
        column = next(group.column(i) for i in range(group.num_columns) if group.column(i).path_in_schema == "runs")
        assert column.statistics is None or not column.statistics.has_min_max


def test_filters_prune_and_find(spark: SparkSession, tables: tuple[str, str, list[str]]) -> None:
    """Row groups are left out by bounds and dictionaries; what is looked for is found."""
    ours, theirs, _ = tables
    for where in ("runs = 'session 11'", "small < -2147000000", "state = ''", "seldom IS NOT NULL AND id > 5", "flag"):
        found, expected = (
            _sorted([tuple(row) for row in spark.table(name).where(where).collect()]) for name in (ours, theirs)
        )
        assert found == expected
        assert 0 < len(found) < ROWS


def test_columns_are_matched_by_name(spark: SparkSession, frame: DataFrame) -> None:
    """A table that got a column later has it last, whatever its place in the record."""
    full = _make(spark, "grown", COLUMNS.replace("always INT, ", ""))
    spark.sql(f"ALTER TABLE {full} ADD COLUMN always INT")
    _written(spark, frame, full)
    assert spark.sql(f"SELECT count_if(always = 7), count_if(never IS NULL) FROM {full}").first() == (ROWS, ROWS)
    spark.sql(f"DROP TABLE {full}")


def test_no_rows_no_file(spark: SparkSession, frame: DataFrame) -> None:
    full = _make(spark, "empty")
    assert _written(spark, frame.where("false"), full) == []
    assert spark.table(full).count() == 0
    spark.sql(f"DROP TABLE {full}")


@pytest.mark.parametrize(
    ("columns", "more", "said"),
    [
        (COLUMNS + ", list ARRAY<INT>", "", "list is list<int>: not written by column"),
        (COLUMNS, ", 'write.parquet.compression-codec' = 'gzip'", "compressed with gzip"),
        (COLUMNS + ", other INT", "", "differ in columns"),
    ],
    ids=["list", "codec", "columns"],
)
def test_what_it_cannot_write_is_refused(
    spark: SparkSession, frame: DataFrame, columns: str, more: str, said: str
) -> None:
    from pyspark.errors import UnsupportedOperationException

    full = _make(spark, "refused", columns)
    if more:
        spark.sql(f"ALTER TABLE {full} SET TBLPROPERTIES ({more.removeprefix(', ')})")
    with pytest.raises(UnsupportedOperationException, match=said):
        _written(spark, frame, full)
    spark.sql(f"DROP TABLE {full}")


def test_a_task_that_breaks_leaves_no_file(spark: SparkSession, frame: DataFrame) -> None:
    from pyspark.errors import SparkRuntimeException

    full = _make(spark, "broken")
    place = Path(str(handle(spark, full).location()).removeprefix("file:")) / "data"
    torn = frame.selectExpr("*").where(f"assert_true(long_text NOT LIKE '{ROWS - 5}-%', 'torn') IS NULL")
    with pytest.raises(SparkRuntimeException, match="torn"):
        _written(spark, torn, full)
    assert list(place.rglob("*.parquet")) == []
    spark.sql(f"DROP TABLE {full}")
