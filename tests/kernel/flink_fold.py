"""Child of test_flink.py, run by the streaming environment: raw messages in a CSV file through FoldLive, rows out.

python flink_fold.py JAR INPUT OUTPUT SETTINGS
"""

from __future__ import annotations

import sys

from schemas.metrics import DIMENSIONS
from streaming.jobs import qoe


def main(jar: str, source: str, sink: str, parameters: str) -> None:
    env = qoe.environment({
        "pipeline.jars": f"file://{jar}",
        "execution.target": "local",
        "execution.attached": "true",
        "parallelism.default": "2",
        "pipeline.object-reuse": "true",
        "table.exec.source.idle-timeout": "60 s",
        "table.local-time-zone": "UTC",
        "pipeline.global-job-parameters": parameters,
    })
    env.execute_sql(f"""
        CREATE TABLE raw_event (message_key BYTES, message_value BYTES, kafka_partition INT, kafka_offset BIGINT,
            kafka_ms BIGINT, kafka_at AS TO_TIMESTAMP_LTZ(kafka_ms, 3),
            WATERMARK FOR kafka_at AS kafka_at - INTERVAL '3' SECOND)
        WITH ('connector' = 'filesystem', 'path' = 'file://{source}', 'format' = 'csv', 'csv.null-literal' = '~')""")
    env.execute_sql(f"""
        CREATE TABLE found (kind STRING, minute_ms BIGINT, {", ".join(f"{name} STRING" for name in DIMENSIONS)},
            deltas BYTES, out_key BYTES, out_value BYTES, reason STRING, step_ms BIGINT)
        WITH ('connector' = 'filesystem', 'path' = 'file://{sink}', 'format' = 'json')""")
    env.create_temporary_view(
        "raw_view",
        env.sql_query(
            "SELECT message_key, message_value, kafka_partition, kafka_offset, kafka_at, FALSE AS is_cmcd"
            " FROM raw_event"
        ),
    )
    qoe.fold(env, ["raw_view"], "folded", kept=20)  # fewer than are open at once: some are written and read again
    env.execute_sql(f"""
        INSERT INTO found
        SELECT kind, minute_ms, {", ".join((*DIMENSIONS, "deltas"))}, out_key, out_value,
            DECODE(headers['reason'], 'UTF-8'), step_ms
        FROM folded""").wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
