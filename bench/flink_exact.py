"""Child of `bench.qoe_exact` in the streaming environment: messages in a CSV file through the fold and the rollups.

python -m bench.flink_exact JAR MESSAGES FOLDER PARAMETERS

The fold runs as in the live job (a stream with watermark and timers), its minute deltas and session rows go to files;
the rendered sums then run over the deltas, which is their last state. Three folders appear: minutes, sessions, sums
(messages of `qoe_minute`).
"""

from __future__ import annotations

import sys

from pyflink.table import EnvironmentSettings, TableEnvironment

from schemas.metrics import DIMENSIONS
from schemas.render import sql
from streaming.jobs import plan, qoe

CSV = "WITH ('connector' = 'filesystem', 'path' = 'file://{}', 'format' = 'csv', 'csv.null-literal' = '~')"
DELTA = ", ".join(["`minute_ms` BIGINT", *(f"`{n}` STRING" for n in DIMENSIONS), "`deltas` BYTES"])


def _options(jar: str) -> dict[str, str]:
    return {"pipeline.jars": f"file://{jar}", "parallelism.default": "1", "table.local-time-zone": "UTC"}


def fold(jar: str, source: str, folder: str, parameters: str) -> None:
    """Messages to deltas and session rows."""
    here = {"execution.target": "local", "execution.attached": "true"}
    env = qoe.environment(
        _options(jar) | here | {"pipeline.object-reuse": "true", "pipeline.global-job-parameters": parameters}
    )
    env.execute_sql(f"""
        CREATE TABLE raw_event (message_key BYTES, message_value BYTES, kafka_partition INT, kafka_offset BIGINT,
            kafka_ms BIGINT, kafka_at AS TO_TIMESTAMP_LTZ(kafka_ms, 3),
            WATERMARK FOR kafka_at AS kafka_at - INTERVAL '3' SECOND) {CSV.format(source)}""")
    env.execute_sql(f"CREATE TABLE minute_out ({DELTA}) {CSV.format(folder + '/minutes')}")
    env.execute_sql(f"CREATE TABLE session_out (k BYTES, v BYTES) {CSV.format(folder + '/sessions')}")
    env.create_temporary_view(
        "raw_view",
        env.sql_query(
            "SELECT message_key, message_value, kafka_partition, kafka_offset, kafka_at, FALSE AS is_cmcd"
            " FROM raw_event"
        ),
    )
    qoe.fold(env, ["raw_view"], "folded")
    columns = ", ".join(f"`{n}`" for n in ("minute_ms", *DIMENSIONS, "deltas"))
    both = env.create_statement_set()
    both.add_insert_sql(f"INSERT INTO minute_out SELECT {columns} FROM folded WHERE kind = 'minute'")
    both.add_insert_sql("INSERT INTO session_out SELECT out_key, out_value FROM folded WHERE kind = 'session'")
    both.execute().wait()


def sums(jar: str, folder: str) -> None:
    """Deltas to the messages of every rollup and minute."""
    env = TableEnvironment.create(EnvironmentSettings.in_batch_mode())
    for key, value in _options(jar).items():
        env.get_config().set(key, value)
    for statement in plan.functions():
        env.execute_sql(statement)
    env.execute_sql(f"CREATE TABLE minute_delta ({DELTA}) {CSV.format(folder + '/minutes')}")
    env.execute_sql(f"CREATE TABLE summed (message_key BYTES, message_value BYTES) {CSV.format(folder + '/sums')}")
    env.execute_sql(f"INSERT INTO summed\n{sql.stream_sums('minute_delta')}").wait()


if __name__ == "__main__":
    fold(*sys.argv[1:])
    sums(sys.argv[1], sys.argv[3])
