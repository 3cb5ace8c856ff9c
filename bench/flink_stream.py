"""Child of `bench.stream` in the streaming environment: submits one of its jobs, which reads the topic to its end.

python -m bench.flink_stream qoe|notes|bare|rocks|python; settings and jars as JSON on standard input, one line of JSON
back. `qoe` is the live job as it is; `notes`, `bare` and `rocks` are the functions of 40 lines in bench/java; `python`
is the same in a PyFlink process function. The yardsticks add up one rollup and write it as JSON; checkpoints,
mini-batches and the guarantee of the sinks are the job's.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import fastavro
from pyflink.common import Row, Types
from pyflink.datastream import KeyedProcessFunction, RuntimeContext
from pyflink.datastream.state import ValueStateDescriptor
from pyflink.table import StatementSet, StreamTableEnvironment

from bench.notes_event import NOTES_EVENT
from conf.settings import Settings
from schemas import ids, records, topics
from streaming.jobs import plan, qoe

BOUNDED = {"scan.bounded.mode": "latest-offset"}
SUMS = """INSERT INTO bench_minute SELECT minute_ms, cdn_id, isp, SUM(play_ms), SUM(stall_ms)
FROM {} GROUP BY minute_ms, cdn_id, isp"""
FOLDED = ["minute_ms", "cdn_id", "isp", "play_ms", "stall_ms"]
MINUTE_MS = 60_000


def _clause(settings: Settings, connector: str, formats: Mapping[str, str]) -> str:
    """Of a sink that writes exactly once."""
    prefix = settings.kafka.topic_prefix
    options = {
        "connector": connector,
        "topic": f"{prefix}{topics.QOE_MINUTE.name}",
        "properties.bootstrap.servers": settings.kafka.bootstrap,
        **formats,
        "sink.delivery-guarantee": "exactly-once",
        "sink.transactional-id-prefix": f"bench-{prefix}",
        "properties.transaction.timeout.ms": str(plan.TRANSACTION_TIMEOUT_MS),
    }
    return "WITH (" + ", ".join(f"'{key}' = '{value}'" for key, value in options.items()) + ")"


def _sink(settings: Settings) -> str:
    """Upserts in JSON."""
    return (
        "CREATE TEMPORARY TABLE bench_minute (minute_ms BIGINT, cdn_id STRING, isp STRING, play_ms BIGINT,"
        " stall_ms BIGINT, PRIMARY KEY (minute_ms, cdn_id, isp) NOT ENFORCED)"
        f" {_clause(settings, 'upsert-kafka', {'key.format': 'json', 'value.format': 'json'})}"
    )


def _qoe(env: StreamTableEnvironment, settings: Settings) -> StatementSet:
    """The live job; its sources end."""
    clause = "".join(f"  '{key}' = '{value}',\n" for key, value in BOUNDED.items())
    for definition in plan.definitions(settings):
        env.execute_sql(definition.replace("  'scan.startup.mode'", f"{clause}  'scan.startup.mode'"))
    return qoe.inserts(env, settings)


def _yardstick(env: StreamTableEnvironment, settings: Settings) -> None:
    env.execute_sql(plan.source("raw_event", topics.PLAYBACK_EVENT, settings, BOUNDED))
    env.execute_sql(_sink(settings))


def _notes(env: StreamTableEnvironment, settings: Settings) -> StatementSet:
    """Flink decodes, and the minute is that of the row time which the function hands on."""
    columns = ["session_id STRING", "seq INT", "event_at TIMESTAMP_LTZ(3)", "state STRING"]
    columns += [f"{name} STRING" for name in ("title_id", "cdn_id", "isp", "device", "country", "app_version")]
    table = plan.source("notes_event", NOTES_EVENT, settings, BOUNDED)
    avro = "'value.format' = 'avro',\n  'value.avro.timestamp_mapping.legacy' = 'false'"
    clause = table[table.rindex("WITH (") :].replace("'value.format' = 'raw'", avro)
    env.execute_sql(
        f"CREATE TEMPORARY TABLE notes_event (message_key BYTES, {' NOT NULL, '.join(columns)} NOT NULL,"
        f" WATERMARK FOR event_at AS event_at - INTERVAL '2' SECOND) {clause}"
    )
    formats = {"key.format": "json", "key.fields": "minute_at;cdn_id;isp", "value.format": "json"}
    env.execute_sql(
        "CREATE TEMPORARY TABLE notes_minute (minute_at TIMESTAMP_LTZ(3), cdn_id STRING, isp STRING, play_ms BIGINT,"
        f" stall_ms BIGINT) {_clause(settings, 'kafka', formats)}"
    )
    env.execute_sql("CREATE TEMPORARY SYSTEM FUNCTION notes_fold AS 'bench.NotesFold' LANGUAGE JAVA")
    env.execute_sql(
        "CREATE TEMPORARY VIEW notes_columns AS SELECT session_id, seq, event_at, state, cdn_id, isp FROM notes_event"
    )
    env.execute_sql(
        "CREATE TEMPORARY VIEW notes_folded AS SELECT * FROM notes_fold(e => TABLE notes_columns"
        " PARTITION BY session_id, on_time => DESCRIPTOR(event_at), uid => 'notes')"
    )
    found = env.create_statement_set()
    found.add_insert_sql(
        "INSERT INTO notes_minute SELECT window_start, cdn_id, isp, SUM(play_ms), SUM(stall_ms)"
        " FROM TABLE(TUMBLE(TABLE notes_folded, DESCRIPTOR(rowtime), INTERVAL '1' MINUTE))"
        " GROUP BY window_start, window_end, cdn_id, isp"
    )
    return found


def _bare(env: StreamTableEnvironment, settings: Settings) -> StatementSet:
    _yardstick(env, settings)
    env.execute_sql("CREATE TEMPORARY SYSTEM FUNCTION bare_fold AS 'bench.BareFold' LANGUAGE JAVA")
    env.execute_sql("CREATE TEMPORARY VIEW raw_bytes AS SELECT message_key, message_value FROM raw_event")
    found = env.create_statement_set()
    found.add_insert_sql(
        SUMS.format("(SELECT * FROM bare_fold(e => TABLE raw_bytes PARTITION BY message_key, uid => 'bare'))")
    )
    return found


class PythonFold(KeyedProcessFunction):  # type: ignore[misc]  # pyflink is untyped
    """What BareFold does."""

    def open(self, context: RuntimeContext) -> None:
        self.state = context.get_state(ValueStateDescriptor("fold", Types.PICKLED_BYTE_ARRAY()))
        self.schemas = {
            ids.schema_id(r.name, r.version): fastavro.parse_schema(dict(r.avro))
            for r in records.every()
            if r.name == "playback_event"
        }

    def process_element(self, value: Row, _context: KeyedProcessFunction.Context) -> Iterator[Row]:
        data = value[1]
        schema = self.schemas.get(int.from_bytes(data[1:5], "big"))
        if schema is None:
            return
        event = fastavro.schemaless_reader(io.BytesIO(data[5:]), schema)
        seq, at, state, play, stall = self.state.value() or (-1, 0, "", 0, 0)
        if event["seq"] <= seq:
            return
        now = max(at, round(event["device_at"].timestamp() * 1000))
        while seq >= 0 and at < now:
            until = min(now, (at // MINUTE_MS + 1) * MINUTE_MS)
            play += until - at if state == "p" else 0
            stall += until - at if state == "r" else 0
            if until % MINUTE_MS == 0:
                yield Row(until - MINUTE_MS, event["cdn_id"], event["isp"], play, stall)
                play = stall = 0
            at = until
        self.state.update((event["seq"], now, event["state"], play, stall))


def _python(env: StreamTableEnvironment, settings: Settings) -> StatementSet:
    _yardstick(env, settings)
    table = env.sql_query("SELECT DECODE(message_key, 'UTF-8') AS k, message_value AS v FROM raw_event")
    types = Types.ROW_NAMED(FOLDED, [Types.LONG(), Types.STRING(), Types.STRING(), Types.LONG(), Types.LONG()])
    folded = env.to_data_stream(table).key_by(lambda row: row[0], Types.STRING()).process(PythonFold(), types)
    env.create_temporary_view("folded", env.from_data_stream(folded))
    found = env.create_statement_set()
    found.add_insert_sql(SUMS.format("folded"))
    return found


JOBS = {"qoe": _qoe, "notes": _notes, "bare": _bare, "rocks": _bare, "python": _python}


def main(kind: str) -> None:
    """Submit and say the job's id."""
    request = json.load(sys.stdin)
    settings = Settings.model_validate(request["settings"])
    options = plan.options(settings, [Path(jar) for jar in request["jars"]]) | qoe.target(settings)
    options |= {"pipeline.name": f"bench {kind}", **request["options"]}
    if kind == "python":
        options |= {"python.executable": sys.executable, "python.client.executable": sys.executable}
    client = JOBS[kind](qoe.environment(options), settings).execute().get_job_client()
    if client is None:
        raise RuntimeError("Flink took the statements but named no job")
    print(json.dumps({"job_id": str(client.get_job_id())}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
