"""Metrics over plays and over sessions: the rendered text in every engine has the values of a plain loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pytest

from demo import gather, report
from schemas import records, tables
from schemas.metrics import PLAY_METRICS, SESSION_METRICS, Metric
from schemas.render import frames, sql
from schemas.render.sql import DUCKDB, FLINK, SPARK, Dialect
from tests.schemas.row_engines import flink_rows, in_flink

ROWS = 400
Values = dict[str, float | None]


def plays() -> pd.DataFrame:
    """Rows of `play`, every fifth of a title without a running time; sums do not fit into 32 bits."""
    rng = np.random.default_rng(11)
    duration = np.where(np.arange(ROWS) % 5 == 0, 0, rng.integers(60_000, 10**10, ROWS))
    return pd.DataFrame({"duration_ms": duration, "content_ms": (duration * rng.random(ROWS)).astype(np.int64)})


def sessions() -> pd.DataFrame:
    """Rows of `session`, as far as metrics ask for them."""
    rng = np.random.default_rng(12)
    found = {name: rng.integers(0, 2**31, ROWS) for name in ("events", "missing", "duplicates")}
    return pd.DataFrame(found | {"inferred": rng.random(ROWS) < 0.3})


def by_hand() -> tuple[Values, Values]:
    """The values of both registries, exact until the last division."""
    watched = running = 0
    for play in plays().to_dict("records"):
        if play["duration_ms"] > 0:
            watched, running = watched + play["content_ms"], running + play["duration_ms"]
    events = missing = repeats = inferred = rows = 0
    for row in sessions().to_dict("records"):
        events, missing, repeats = events + row["events"], missing + row["missing"], repeats + row["duplicates"]
        inferred, rows = inferred + (1 if row["inferred"] else 0), rows + 1
    return {"percent_complete": float(Fraction(watched, running))}, {
        "missing_rate": float(Fraction(missing, events + missing)),
        "duplicate_rate": float(Fraction(repeats, events + repeats)),
        "inferred_end_rate": float(Fraction(inferred, rows)),
    }


def asked(metrics: Sequence[Metric], source: str, dialect: Dialect) -> str:
    """The query of the values of metrics over the rows of a table."""
    sums = ", ".join(sql.sums(dialect, metrics=metrics))
    return f"SELECT {', '.join(sql.values(dialect, metrics))} FROM (SELECT {sums} FROM {source}) AS summed"


def both(engine: Callable[[str, Sequence[Metric], pd.DataFrame], Values]) -> tuple[Values, Values]:
    return engine("play", PLAY_METRICS, plays()), engine("session", SESSION_METRICS, sessions())


def test_duckdb() -> None:
    def engine(name: str, metrics: Sequence[Metric], rows: pd.DataFrame) -> Values:
        connection = duckdb.connect()
        connection.register(name, rows)
        return dict(connection.execute(asked(metrics, name, DUCKDB)).df().iloc[0])

    assert both(engine) == by_hand()


def test_pandas() -> None:
    def engine(name: str, metrics: Sequence[Metric], rows: pd.DataFrame) -> Values:
        return dict(frames.values(frames.row_values(rows, metrics).sum().to_frame().T, metrics).iloc[0])

    assert both(engine) == by_hand()


@pytest.mark.spark
def test_spark(spark: Any) -> None:
    def engine(name: str, metrics: Sequence[Metric], rows: pd.DataFrame) -> Values:
        spark.createDataFrame(rows).createOrReplaceTempView(name)
        return dict(spark.sql(asked(metrics, name, SPARK)).first().asDict())

    assert both(engine) == by_hand()


@pytest.mark.flink
def test_flink() -> None:
    queries = [
        asked(metrics, flink_rows(rows), FLINK)
        for metrics, rows in ((PLAY_METRICS, plays()), (SESSION_METRICS, sessions()))
    ]
    found = [
        dict(zip([m.name for m in metrics], values, strict=True))
        for metrics, values in zip((PLAY_METRICS, SESSION_METRICS), in_flink(queries), strict=True)
    ]
    assert tuple(found) == by_hand()


def test_titles_without_a_running_time_alone_have_no_share() -> None:
    live = plays().query("duration_ms == 0")
    assert len(live) > 50
    connection = duckdb.connect()
    connection.register("play", live)
    assert connection.execute(asked(PLAY_METRICS, "play", DUCKDB)).fetchall() == [(None,)]


class Home:
    """Stands for a lake: both tables with rows of two days and, of sessions, two revisions."""

    def __init__(self) -> None:
        self.connection = duckdb.connect()
        self.connection.execute("CREATE SCHEMA silver")
        more = pd.DataFrame({"events": [7], "missing": [9**9], "duplicates": [9**9], "inferred": [True]})
        other = pd.DataFrame({"duration_ms": [9**12], "content_ms": [3]})
        day, after = "DATE '2026-01-12'", "DATE '2026-01-13'"
        for name, rows in {"mine": sessions(), "more": more, "played": plays(), "other": other}.items():
            self.connection.register(name, rows)
        self.connection.execute(
            f"CREATE TABLE silver.session AS SELECT *, {day} AS close_date, 'final' AS revision FROM mine"
            f" UNION ALL SELECT *, {day}, 'live' FROM more UNION ALL SELECT *, {after}, 'final' FROM more"
        )
        self.connection.execute(
            f"CREATE TABLE silver.play AS SELECT *, {day} AS play_date FROM played"
            f" UNION ALL SELECT *, {after} FROM other"
        )

    def sql(self, text: str) -> pd.DataFrame:
        return self.connection.execute(text).df()


def test_the_demo_asks_for_its_day_and_one_revision() -> None:
    home: Any = Home()
    day = pd.Timestamp("2026-01-12").date()
    shown = {
        name: value
        for table, metrics in ((tables.PLAY, PLAY_METRICS), (tables.SESSION, SESSION_METRICS))
        for name, value, _, _ in report.metrics_of(gather.sums_of_the_day(home, table, metrics, day), metrics)
    }
    expected = by_hand()
    assert shown == {name: f"{value:,.4g}" for name, value in (expected[0] | expected[1]).items()}


def test_the_stream_has_these_columns_of_a_session_too() -> None:
    names = {field.name for field in records.load("qoe_session").fields}
    assert set(sql.measures(SESSION_METRICS)) <= names
