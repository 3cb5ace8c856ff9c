"""The aggregates: DuckDB on the rendered SQL and pandas against a plain loop, and the laws every dialect obeys."""

from __future__ import annotations

import re
from collections import Counter

import duckdb
import numpy as np
import pandas as pd
import pytest

from schemas import records
from schemas.errors import SchemaError
from schemas.measures import HISTOGRAMS, START_TIME
from schemas.metrics import DIMENSIONS, METRICS, ROLLUPS, Direction, Metric
from schemas.render import frames, sql
from schemas.render.sql import DAILY_KEYS, DIALECTS, DUCKDB, FLINK, SPARK, Dialect
from tests.schemas.spans import as_sums, loop_sums, random_spans


def duck(query: str, **tables: pd.DataFrame) -> pd.DataFrame:
    connection = duckdb.connect(config={"autoinstall_known_extensions": False, "autoload_known_extensions": False})
    for name, frame in tables.items():
        connection.register(name, frame)
    return connection.execute(query).df()


@pytest.fixture(scope="module")
def spans() -> pd.DataFrame:
    return random_spans(1500)


def test_sums_equal_the_loop(spans: pd.DataFrame) -> None:
    found = duck(sql.rollup_sums("spans", DUCKDB), spans=spans)
    assert list(found) == [f.name for f in records.load("qoe_minute").fields]
    assert as_sums(found) == loop_sums(spans)


def test_pandas_sums_equal_the_loop(spans: pd.DataFrame) -> None:
    found = frames.rollup_sums(spans)
    assert list(found) == [f.name for f in records.load("qoe_minute").fields]
    assert as_sums(found) == loop_sums(spans)


def test_minutes_add_up_to_days(spans: pd.DataFrame) -> None:
    minutes = duck(sql.rollup_sums("spans", DUCKDB), spans=spans)
    days = duck(sql.rollup_sums("spans", DUCKDB, DAILY_KEYS), spans=spans)
    keys = ["rollup", "event_date", *DIMENSIONS, "revision"]
    assert list(days) == [f.name for f in records.load("qoe_daily").fields]
    quoted = ", ".join(DUCKDB.column(name) for name in keys)
    added = duck(
        f"SELECT {quoted}, {', '.join(sql.sums_of_sums(DUCKDB))} FROM minutes GROUP BY {quoted}", minutes=minutes
    )
    pd.testing.assert_frame_equal(
        added.sort_values(keys, ignore_index=True), days.sort_values(keys, ignore_index=True), check_exact=True
    )


def test_values_are_sums_over_sums_and_null_over_zero(spans: pd.DataFrame) -> None:
    sums = duck(sql.rollup_sums("spans", DUCKDB, DAILY_KEYS), spans=spans)
    found = duck(f"SELECT {', '.join(sql.values(DUCKDB))} FROM sums", sums=sums)
    assert list(found) == [m.name for m in METRICS]
    pd.testing.assert_frame_equal(found, frames.values(sums), check_exact=True)
    for metric in METRICS:
        for value, (_, row) in zip(found[metric.name], sums.iterrows(), strict=True):
            num, den = int(row[metric.columns[0]]), int(row[metric.columns[1]]) if metric.den else None
            if den == 0:
                assert pd.isna(value)
            else:
                assert value == num / (1 if den is None else den) / metric.scale
    assert found["stall_count"].isna().any()


def test_concurrency_is_alive_time_over_a_minute() -> None:
    metric = next(m for m in METRICS if m.name == "concurrency")
    found = duck(f"SELECT {sql.value(metric, DUCKDB)} AS v FROM (SELECT 90000 AS concurrency_num)")
    assert found["v"].tolist() == [1.5]


def test_a_subset_of_rollups(spans: pd.DataFrame) -> None:
    title = tuple(r for r in ROLLUPS if r.name in ("total", "title"))
    expected = {k: v for k, v in loop_sums(spans).items() if k[0] in ("total", "title")}
    assert as_sums(duck(sql.rollup_sums("spans", DUCKDB, rollups=title), spans=spans)) == expected


def test_expressions_use_span_measures_only() -> None:
    whole = {f.name for f in records.load("span").fields if f.type is records.Scalar.LONG}
    assert set(sql.measures()) <= whole
    for _, expression in sql.row_expressions():
        assert re.fullmatch(r"[a-z_0-9]+( [+-] [a-z_0-9]+)*", expression)
    assert [c for c, _ in sql.row_expressions()] == [
        *(c for m in METRICS for c in m.columns),
        *(c for h in HISTOGRAMS for c in h.columns),
    ]


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda d: d.name)
def test_the_laws_hold_in_every_dialect(dialect: Dialect) -> None:
    text = sql.rollup_sums("spans", dialect) + ", ".join(sql.values(dialect))
    assert "AVG" not in text.upper()
    assert "1.0" not in text
    for inside in re.findall(r"SUM\((.{0,20})", text):
        assert inside.startswith("CAST(")
    assert re.findall(r" / (\w+)", text) and set(re.findall(r" / (\w+)", text)) <= {"NULLIF", "CAST"}
    for before in re.findall(r"(\w+\)) / ", text):
        assert before in ("DOUBLE)", "0)")


def test_rendered_text_of_each_dialect() -> None:
    assert sql.sums(SPARK)[0] == "SUM(CAST(`attempts` AS BIGINT)) AS `attempts_num`"
    last = "SUM(CAST(s.`stall_over_60000_ms` AS BIGINT)) AS `stall_over_60000_ms`"
    assert sql.sums(SPARK, prefix="s.")[-1] == last
    assert "SUM(CAST(`stall_ms` + `play_ms` AS BIGINT)) AS `rebuffer_ratio_den`" in sql.sums(FLINK)
    assert sql.sums(DUCKDB)[0] == 'CAST(SUM(CAST("attempts" AS BIGINT)) AS BIGINT) AS "attempts_num"'
    metric = Metric("m", "a", "b", "1", Direction.LOWER, "M.", "us", "None.", 10)
    assert sql.value(metric, FLINK) == (
        "CAST(`m_num` AS DOUBLE) / NULLIF(CAST(`m_den` AS DOUBLE), CAST(0 AS DOUBLE)) / CAST(10 AS DOUBLE)"
    )


def test_the_stream_gets_every_rollup_and_every_field_of_the_record() -> None:
    text = sql.stream_sums("deltas")
    fields = [field.name for field in records.load("qoe_minute").fields]
    call = re.search(r"encode_sums\('qoe_minute', '((?:[^']|'')*)', `message_key`, `sums`\)", text)
    assert call is not None
    parts = dict(zip(fields, call[1].split(";"), strict=True))
    assert {name: parts[name] for name, _ in sql.row_expressions()} == dict(sql.row_expressions())
    heads = {"rollup": "$0", "minute_at": "$1", "event_date": "day $1", "revision": "''live''"}
    assert {name: parts[name] for name in heads} == heads
    keys = re.search(r"sum_keys\('([^']*)'", text)
    assert keys is not None
    for template, rollup in zip(keys[1].split(";"), ROLLUPS, strict=True):
        cut = [f"${i + 1}" if name in rollup.by else "*" for i, name in enumerate(DIMENSIONS)]
        assert template == "|".join([rollup.name, "$0", *cut])
    assert "STATE_TTL" not in text


def test_the_counters_of_a_step_are_measures_under_one_joint_key() -> None:
    text = sql.stream_sums("deltas", "qoe_step", "step_ms", None, "1h")
    counters = [f.name for f in records.load("qoe_step").fields if f.name not in ("step_at", *DIMENSIONS)]
    assert f"encode_sums('qoe_step', '$0;$1;$2;$3;$4;$5;{';'.join(counters)}'" in text
    assert "sum_keys('$0|$1|$2|$3|$4|$5', `step_ms`, `cdn_id`, `isp`, `device`, `country`, `app_version`)" in text
    assert "/*+ STATE_TTL('d' = '1h') */" in text


@pytest.mark.parametrize("share", [0.05, 0.5, 0.95])
def test_quantiles_lie_in_the_bin_of_the_values_own(share: float) -> None:
    values = np.random.default_rng(3).integers(0, 25_000, 4_001)
    counts = Counter(START_TIME.bin_of(int(v)) for v in values)
    sums = pd.DataFrame([{name: counts[name] for name in START_TIME.columns}])
    [found] = duck(f"SELECT {sql.quantile(START_TIME, share, DUCKDB)} AS q FROM sums", sums=sums)["q"]
    true = int(np.sort(values)[int(np.ceil(share * len(values))) - 1])
    assert START_TIME.bin_of(int(np.ceil(found))) == START_TIME.bin_of(min(true, 20_000))
    # Values are uniform, so a straight line inside the bin is nearly right.
    assert abs(found - min(true, 20_000)) < 500


def test_quantile_of_nothing_is_null() -> None:
    nothing = pd.DataFrame([dict.fromkeys(START_TIME.columns, 0)])
    assert duck(f"SELECT {sql.quantile(START_TIME, 0.5, DUCKDB)} AS q FROM nothing", nothing=nothing)["q"].isna().all()
    with pytest.raises(SchemaError, match=r"quantile 1\.5"):
        sql.quantile(START_TIME, 1.5)


@pytest.mark.parametrize("share", [1e-5, 5e-324, np.float64(0.25), 1 - 1e-16])
def test_any_share_between_0_and_1_is_a_double(share: float) -> None:
    """Python writes 0.00001 as 1e-05."""
    counts = dict.fromkeys(START_TIME.columns, 0) | {START_TIME.columns[0]: 1_000_000}
    sums = pd.DataFrame([counts])
    [found] = duck(f"SELECT {sql.quantile(START_TIME, share, DUCKDB)} AS q FROM sums", sums=sums)["q"]
    assert found == (share * 1_000_000) / 1_000_000 * 500
    for dialect in DIALECTS:
        assert re.search(r"^CASE WHEN \(\d(\.\d+)?E-?\d+ \* ", sql.quantile(START_TIME, share, dialect))


def test_peak_is_the_most_alive_at_any_moment() -> None:
    rng = np.random.default_rng(5)
    start = rng.integers(0, 50, 60)
    frame = pd.DataFrame(
        {"minute_at": rng.integers(0, 2, 60) * 60_000, "start_at": start, "end_at": start + rng.integers(0, 9, 60)}
    )
    frame = frame.assign(start_date=0, revision="final", alive_ms=rng.integers(0, 4, 60) * 5)
    for name in DIMENSIONS:
        frame[name] = [f"{name[0]}{i}" for i in rng.integers(0, 2, 60)]
    expected = {}
    for rollup in ROLLUPS:
        for key, rows in frame[frame["alive_ms"] > 0].groupby(["minute_at", *rollup.by]):
            alive = [int(((rows["start_at"] <= t) & (t < rows["end_at"])).sum()) for t in range(60)]
            cut = dict(zip(rollup.by, key[1:], strict=True))
            expected[rollup.name, key[0], *(cut.get(name, "*") for name in DIMENSIONS)] = max(alive)
    found = duck(sql.peak("spans", DUCKDB), spans=frame)
    keys = found[["rollup", "minute_at", *DIMENSIONS]].itertuples(index=False, name=None)
    peaks = dict(zip(keys, map(int, found["peak"]), strict=True))
    assert peaks == {key: n for key, n in expected.items() if n}
    assert max(peaks.values()) > 5
