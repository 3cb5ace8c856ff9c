"""Run by the streaming environment's Python: the rendered Flink query over spans in a CSV folder, in batch mode.

Usage: python -m tests.schemas.flink_sums SPANS_DIR RESULT_DIR
"""

from __future__ import annotations

import sys

from pyflink.table import EnvironmentSettings, TableEnvironment

from schemas import records
from schemas.metrics import DIMENSIONS
from schemas.render import flink, sql


def main(source: str, target: str) -> None:
    table_env = TableEnvironment.create(EnvironmentSettings.in_batch_mode())
    table_env.get_config().set("table.local-time-zone", "UTC").set("parallelism.default", "1")
    columns = ["`minute_at` TIMESTAMP(3)", "`start_date` DATE", "`revision` STRING"]
    columns += [f"`{name}` STRING" for name in DIMENSIONS] + [f"`{name}` BIGINT" for name in sql.measures()]
    with_csv = "WITH ('connector' = 'filesystem', 'path' = '{}', 'format' = 'csv')"
    table_env.execute_sql(f"CREATE TABLE source_rows ({', '.join(columns)}) {with_csv.format(source)}")
    table_env.execute_sql(
        "CREATE TEMPORARY VIEW spans AS SELECT CAST(`minute_at` AS TIMESTAMP_LTZ(3)) AS `minute_at`, "
        + ", ".join(f"`{c.split('`')[1]}`" for c in columns[1:])
        + " FROM source_rows"
    )
    result = flink.columns(records.load("qoe_minute")).replace("TIMESTAMP_LTZ(3)", "TIMESTAMP(3)")
    table_env.execute_sql(f"CREATE TABLE summed (\n{result}\n) {with_csv.format(target)}")
    query = sql.rollup_sums("spans", sql.FLINK)
    names = [
        f"`{f.name}`" if f.name != "minute_at" else "CAST(`minute_at` AS TIMESTAMP(3))"
        for f in records.load("qoe_minute").fields
    ]
    table_env.execute_sql(f"INSERT INTO summed SELECT {', '.join(names)} FROM (\n{query}\n)").wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
