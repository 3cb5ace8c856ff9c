"""The same rendered text in the real engines: sums equal the plain loop, audits and DDL are understood."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from conf import kernel
from conf.settings import Settings
from lake.catalog import bootstrap
from schemas import records, tables, wire
from schemas.measures import NAMES, START_TIME
from schemas.render import expectations, iceberg, sql
from schemas.render import spark as as_spark
from tests.kernel import packed
from tests.schemas.frames import good_rows
from tests.schemas.row_engines import flink_rows, in_flink
from tests.schemas.spans import as_sums, loop_sums, random_spans

ROOT = Path(__file__).resolve().parents[2]
FLINK_PYTHON = ROOT / ".venv-streaming" / "bin" / "python"


@pytest.mark.spark
def test_spark_sums_equal_the_loop(spark: Any) -> None:
    spans = random_spans(600)
    typed = spans.assign(minute_at=spans["minute_at"].dt.as_unit("ns"))
    spark.createDataFrame(typed).createOrReplaceTempView("spans")
    minutes = spark.sql(sql.rollup_sums("spans", sql.SPARK))
    assert minutes.columns == [f.name for f in records.load("qoe_minute").fields]
    assert {t for c, t in minutes.dtypes if c.endswith(("_num", "_den"))} == {"bigint"}
    found = pd.DataFrame([row.asDict() for row in minutes.collect()])
    assert as_sums(found) == loop_sums(spans)
    minutes.createOrReplaceTempView("minutes")
    values = spark.sql(f"SELECT {', '.join(sql.values(sql.SPARK))} FROM minutes")
    assert {t for _, t in values.dtypes} == {"double"}
    assert values.where("stall_count IS NULL").count() == minutes.where("plays_num = 0").count() > 0


@pytest.mark.spark
def test_spark_reads_quantiles_as_doubles(spark: Any) -> None:
    sums = dict.fromkeys(START_TIME.columns, 0) | {START_TIME.columns[0]: 1_000_000}
    spark.createDataFrame([sums]).createOrReplaceTempView("counts")
    for share, ms in ((1e-5, 0.005), (0.5, 250.0)):
        found = spark.sql(f"SELECT {sql.quantile(START_TIME, share, sql.SPARK)} AS q FROM counts")
        assert found.dtypes == [("q", "double")]
        assert found.first().q == pytest.approx(ms, rel=1e-12)


@pytest.mark.flink
def test_flink_reads_quantiles_as_doubles() -> None:
    counts = dict.fromkeys(START_TIME.columns, 0) | {START_TIME.columns[0]: 1_000_000}
    quantiles = ", ".join(sql.quantile(START_TIME, share, sql.FLINK) for share in (1e-5, 0.5))
    [found] = in_flink([f"SELECT {quantiles} FROM {flink_rows(pd.DataFrame([counts]))}"])
    assert found == pytest.approx([0.005, 250.0], rel=1e-12)


@pytest.mark.spark
def test_spark_audits_good_and_bad_rows(spark: Any) -> None:
    for table in (tables.BRONZE_PLAYBACK_EVENT, tables.PLAY, tables.HOME_PAGE, tables.FACTORS):
        spark.createDataFrame(good_rows(table, 2), as_spark.table_struct(table)).createOrReplaceTempView("audited")
        row = spark.sql(expectations.query(table, "audited")).first().asDict()
        assert row.pop("row_count") == 2
        assert {name: n for name, n in row.items() if n} == {}, table.fqn
    plan = good_rows(tables.FILL_PLAN, 2)
    plan[1]["files"] = [plan[1]["files"][0] | {"action": "burn", "expected_bytes": float("nan")}]
    plan[1]["cdn_id"] = plan[0]["cdn_id"]
    spark.createDataFrame(plan, as_spark.table_struct(tables.FILL_PLAN)).createOrReplaceTempView("audited")
    row = spark.sql(expectations.query(tables.FILL_PLAN, "audited")).first().asDict()
    broken = {name: n for name, n in row.items() if n and name != "row_count"}
    assert broken == {"files__action__values": 1, "files__expected_bytes__finite": 1, "key__unique": 1}


@pytest.mark.spark
def test_spark_reads_the_ddl(spark: Any) -> None:
    parser = spark._jsparkSession.sessionState().sqlParser()
    for table in tables.every():
        parser.parsePlan(iceberg.create_table(table))
        read = spark.createDataFrame([], as_spark.ddl(tables.columns(table))).schema
        assert read.simpleString() == as_spark.table_struct(table).simpleString()


@pytest.mark.spark
def test_create_table_makes_what_pyiceberg_would(spark: Any, lake_settings: Settings) -> None:
    bootstrap(lake_settings, only=())
    for table in (tables.FILL_PLAN, tables.BRONZE_PLAYBACK_EVENT, tables.PUBLICATION):
        spark.sql(f"CREATE NAMESPACE IF NOT EXISTS lake.ddl_{table.namespace}")
        spark.sql(iceberg.create_table(table, namespace_prefix="ddl_"))
        made = spark.table(f"lake.ddl_{table.namespace}.{table.name}").schema
        assert made.simpleString() == as_spark.table_struct(table).simpleString()
        assert [f.metadata["comment"] for f in made.fields] == [f.doc for f in tables.columns(table)]
        shown = spark.sql(f"SHOW TBLPROPERTIES lake.ddl_{table.namespace}.{table.name}").collect()
        found = {row["key"]: row["value"] for row in shown}
        assert iceberg.properties(table).items() <= found.items()


@pytest.mark.flink
def test_flink_sums_equal_the_loop(tmp_path: Path) -> None:
    if not FLINK_PYTHON.exists():
        pytest.fail(f"{FLINK_PYTHON} is missing; run: make setup")
    spans = random_spans(600)
    spans = spans[spans["revision"] == "live"]
    for name in set(NAMES) - set(spans):
        spans = spans.assign(**{name: 0})
    packed.write_deltas(spans.assign(minute_ms=spans["minute_at"].astype("int64")), tmp_path / "minutes")
    code = "import sys\nfrom bench import flink_exact\nflink_exact.sums(*sys.argv[1:])"
    command = [str(FLINK_PYTHON), "-c", code, str(kernel.jar()), str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    messages = packed.read_messages(tmp_path / "sums")
    found = wire.decode_many(list(messages.values()), "qoe_minute")
    assert as_sums(found) == loop_sums(spans)
    for key, row in zip(messages, found.to_dict("records"), strict=True):
        at = str(pd.Timestamp(row["minute_at"]).value // 10**6)
        assert key.decode().split("|") == [row["rollup"], at, *(row[name] for name in sql.DIMENSIONS)]
