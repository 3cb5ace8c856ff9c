"""The QoE job as text: tables, inserts and options, rendered from schemas and settings; imports no engine.

One operator (the kernel's `FoldLive`, keyed by session) reads raw messages and gives flat rows of five kinds; one SQL
insert a kind takes them on. It stands in the job once for all of them (asserted by a test).

    raw playback_event ── FoldLive ─┬─ minute  ─┬─ a key a rollup ── sum_measures by key ── qoe_minute (upsert by key)
    and cmcd              keyed     │           └─ step and cell ─── sum_measures by key ── qoe_step (the same; alerts)
     bytes, position,    by session ├─ session   ── qoe_session  (upsert by session and segment)
     arrival clock                  ├─ progress  ── qoe_progress (upsert by partition)
                                    └─ dlq       ── dlq.playback_event, dlq.cmcd (append, original bytes)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from conf.settings import Settings
from schemas import topics
from schemas.render import sql
from schemas.topics import Topic

SOURCES = (topics.PLAYBACK_EVENT, topics.CMCD)
"""Topics the job reads."""
UID = "fold"
STEP_TTL = "1h"
"""State of a step's sums after their last change: steps are of the arrival clock, so nothing comes for an old one."""
MINI_BATCH_MS = 1_000
TRANSACTION_TIMEOUT_MS = 600_000
"""Under the broker's transaction.max.timeout.ms (15 min by default), above any restart: Kafka aborts what is older."""
FOLD = "io.matinee.kernel.flink.FoldLive"
OPTIONS_FACTORY = "io.matinee.kernel.flink.FewerMerges"
FOLDS_KEPT = 20_000
"""Sessions whose fold a subtask keeps in memory (about 2 KB each); the others are read from the state at each event."""
STATE: Mapping[str, Mapping[str, str]] = {
    "rocksdb": {
        "state.backend.type": "rocksdb",
        "state.backend.rocksdb.memory.fixed-per-slot": "48mb",
        "state.backend.rocksdb.options-factory": OPTIONS_FACTORY,
        "state.backend.rocksdb.use-bloom-filter": "true",
        "state.backend.rocksdb.compression.per.level": "ZSTD_COMPRESSION",  # a fifth less to keep than by default
        "execution.checkpointing.incremental": "true",
        "state.changelog.enabled": "false",
    },
    "hashmap": {
        "state.backend.type": "hashmap",
        "state.changelog.enabled": "true",
        "state.changelog.periodic-materialize.interval": "1 min",
        "execution.checkpointing.snapshot-compression": "true",
        # Whatever it goes on from is its own from then on, and deleted in time: with a log it cannot write all anew.
        "execution.state-recovery.claim-mode": "CLAIM",
    },
}
"""Either way a checkpoint writes what changed, not all sums of seven days. On the heap the changes go to a log, and the
state is written whole once a minute beside the work; a restart reads it and the log since."""
MESSAGES = ("framed_message", "cmcd_message")
"""Views of both inputs, in the form that the fold reads."""
FUNCTIONS = {
    "sum_keys": "SumKeys",
    "sum_measures": "SumMeasures",
    "encode_sums": "EncodeSums",
}


def name(settings: Settings) -> str:
    """The job's name on the cluster: one job a universe."""
    return f"matinee qoe {settings.kafka.topic_prefix}".strip()


def group(settings: Settings) -> str:
    """The group under which the job commits, with every checkpoint, what it has read."""
    return f"matinee-qoe-{settings.kafka.topic_prefix}"


def options(settings: Settings, pipeline_jars: Sequence[Path]) -> dict[str, str]:
    """What the job asks of Flink; everything else is the cluster's."""
    fold = ",".join(f"matinee.fold.{key}:{value}" for key, value in settings.fold.model_dump().items())
    return {
        "pipeline.name": name(settings),
        "pipeline.jars": ";".join(path.resolve().as_uri() for path in pipeline_jars),
        "pipeline.global-job-parameters": fold,
        "pipeline.object-reuse": "true",
        "parallelism.default": str(settings.flink.parallelism),
        "execution.runtime-mode": "STREAMING",
        "execution.checkpointing.interval": f"{settings.flink.checkpoint_interval_ms} ms",
        "execution.checkpointing.mode": "EXACTLY_ONCE",
        "execution.checkpointing.timeout": "2 min",
        "execution.checkpointing.tolerable-failed-checkpoints": "10",
        "execution.checkpointing.externalized-checkpoint-retention": "RETAIN_ON_CANCELLATION",
        **STATE[settings.flink.state_backend],
        # Bounded: by default a job with checkpoints that cannot run restarts for ever in silence. Eight attempts take
        # two minutes, longer than a TaskManager needs to be started again; after five quiet minutes the count is 0.
        "restart-strategy.type": "exponential-delay",
        "restart-strategy.exponential-delay.initial-backoff": "1 s",
        "restart-strategy.exponential-delay.backoff-multiplier": "2.0",
        "restart-strategy.exponential-delay.max-backoff": "30 s",
        "restart-strategy.exponential-delay.jitter-factor": "0.0",
        "restart-strategy.exponential-delay.attempts-before-reset-backoff": str(settings.flink.restart_attempts),
        "restart-strategy.exponential-delay.reset-backoff-threshold": "5 min",
        # Days replayed have a watermark due at each look (by default every 200 ms), and nothing that it makes known can
        # be read before a checkpoint: more watermarks than these only cost.
        "pipeline.auto-watermark-interval": f"{settings.flink.checkpoint_interval_ms} ms",
        "table.local-time-zone": "UTC",
        "table.exec.mini-batch.enabled": "true",
        "table.exec.mini-batch.allow-latency": f"{MINI_BATCH_MS} ms",
        "table.exec.mini-batch.size": "50000",
        "table.exec.source.idle-timeout": f"{settings.flink.idle_timeout_ms} ms",
        # Of the sums only: the fold drops its own state by the arrival clock. Counted from a key's last change.
        "table.exec.state.ttl": f"{settings.flink.state_ttl_h} h",
        # No materializer before the upsert sinks: the changes of one key come in order, because the key of each
        # aggregate is exactly the primary key of its sink, and a session's rows come from the one subtask that owns it.
        "table.exec.sink.upsert-materialize": "NONE",
    }


def _kafka(topic: Topic | tuple[Topic, ...], settings: Settings, connector: str, key: Mapping[str, str]
           ) -> dict[str, str]:  # fmt: skip
    many = topic if isinstance(topic, tuple) else (topic,)
    return {
        "connector": connector,
        "topic": ";".join(settings.kafka.topic_prefix + one.name for one in many),
        "properties.bootstrap.servers": settings.kafka.bootstrap,
        **key,
        "value.format": "raw",
        "value.fields-include": "EXCEPT_KEY",
    }


def _clause(found: Mapping[str, str]) -> str:
    pairs = (f"  '{key}' = '{value}'" for key, value in found.items())
    return "WITH (\n" + ",\n".join(pairs) + "\n)"


def _sink(topic: Topic | tuple[Topic, ...], settings: Settings, connector: str, key: Mapping[str, str]) -> str:
    first = topic[0] if isinstance(topic, tuple) else topic
    return _clause({
        **_kafka(topic, settings, connector, key),
        "sink.delivery-guarantee": "exactly-once",
        "sink.transactional-id-prefix": f"matinee-qoe-{settings.kafka.topic_prefix}{first.name}",
        # A fresh transactional id at every checkpoint (the default) would leave the broker a million a day to remember.
        "sink.transaction-naming-strategy": "POOLING",
        "properties.transaction.timeout.ms": str(TRANSACTION_TIMEOUT_MS),
    })


def sources(settings: Settings) -> list[str]:
    """Both inputs, framed Avro and CMCD lines from the collector, and a view of each in the form the fold reads."""
    idle = {"scan.watermark.idle-timeout": f"{settings.flink.cmcd_idle_ms} ms"}
    columns = "message_key, message_value, kafka_partition, kafka_offset, kafka_at"
    framed, lines = MESSAGES
    return [
        source("raw_playback_event", topics.PLAYBACK_EVENT, settings),
        source("raw_cmcd", topics.CMCD, settings, idle),
        f"CREATE TEMPORARY VIEW {framed} AS\nSELECT {columns}, FALSE AS is_cmcd FROM raw_playback_event",
        f"CREATE TEMPORARY VIEW {lines} AS\nSELECT {columns}, TRUE AS is_cmcd FROM raw_cmcd",
    ]


def source(table: str, topic: Topic, settings: Settings, more: Mapping[str, str] | None = None) -> str:
    """Raw messages with position and arrival clock.

    The watermark is on the Kafka timestamp, because `received_at` sits inside bytes that may be poison; the producer
    keeps that clock from running back within a partition (streaming.lanes), and Flink takes the least over partitions.
    """
    slack = settings.flink.watermark_slack_ms
    found = _kafka(topic, settings, "kafka", {"key.format": "raw", "key.fields": "message_key"}) | {
        "properties.group.id": group(settings),
        "properties.isolation.level": "read_committed",
        "scan.startup.mode": "earliest-offset",
        **(more or {}),
    }
    return f"""CREATE TEMPORARY TABLE {table} (
  message_key BYTES,
  message_value BYTES,
  kafka_partition INT METADATA FROM 'partition' VIRTUAL,
  kafka_offset BIGINT METADATA FROM 'offset' VIRTUAL,
  kafka_at TIMESTAMP_LTZ(3) METADATA FROM 'timestamp' VIRTUAL,
  WATERMARK FOR kafka_at AS kafka_at - INTERVAL '{slack // 1000}.{slack % 1000:03d}' SECOND(3)
) {_clause(found)}"""


def sinks(settings: Settings) -> list[str]:
    """The sink tables; values are bytes that the kernel framed."""
    raw = {"key.format": "raw"}
    upsert = "  message_key BYTES,\n  message_value BYTES,\n  PRIMARY KEY (message_key) NOT ENFORCED\n"
    columns = ("message_key BYTES", "message_value BYTES", "headers MAP<STRING, BYTES> METADATA",
               "real_topic STRING METADATA FROM 'topic'")  # fmt: skip
    letter = ",\n".join(f"  {column}" for column in columns) + "\n"
    append = raw | {"key.fields": "message_key"}
    return [
        f"CREATE TEMPORARY TABLE {table} (\n{body}) {_sink(topic, settings, connector, key)}"
        for table, body, topic, connector, key in (
            ("qoe_minute", upsert, topics.QOE_MINUTE, "upsert-kafka", raw),
            *((("qoe_step", upsert, topics.QOE_STEP, "upsert-kafka", raw),) if settings.alerts.counters else ()),
            ("qoe_session", upsert, topics.QOE_SESSION, "upsert-kafka", raw),
            ("qoe_progress", upsert, topics.QOE_PROGRESS, "upsert-kafka", raw),
            ("dead_letter", letter, (topics.DLQ_PLAYBACK_EVENT, topics.DLQ_CMCD), "kafka", append),
        )
    ]


def functions() -> list[str]:
    """The kernel's functions."""
    create = "CREATE TEMPORARY SYSTEM FUNCTION {} AS 'io.matinee.kernel.flink.{}' LANGUAGE JAVA"
    return [create.format(*function) for function in FUNCTIONS.items()]


def definitions(settings: Settings) -> list[str]:
    """Everything before the fold, in order."""
    return [*functions(), *sources(settings), *sinks(settings)]


def views() -> list[str]:
    """What stands between the rows of the fold (view `folded`) and the inserts."""
    return ["CREATE TEMPORARY VIEW minute_delta AS\nSELECT * FROM folded WHERE kind = 'minute'"]


def inserts(settings: Settings) -> list[str]:
    """One INSERT a sink; dead letters go to the topic of the message they were."""
    minute = sql.stream_sums("minute_delta")
    step = sql.stream_sums("minute_delta", "qoe_step", "step_ms", None, STEP_TTL)
    origin, letters = _by_kind(*SOURCES, settings), _by_kind(*_LETTERS, settings)
    headers = f"MAP_UNION(headers, MAP['topic', ENCODE({origin}, 'UTF-8')])"
    return [
        f"INSERT INTO qoe_minute\n{minute}",
        *([f"INSERT INTO qoe_step\n{step}"] if settings.alerts.counters else []),
        "INSERT INTO qoe_session SELECT out_key, out_value FROM folded WHERE kind = 'session'",
        "INSERT INTO qoe_progress SELECT out_key, out_value FROM folded WHERE kind = 'progress'",
        f"INSERT INTO dead_letter SELECT out_key, out_value, {headers}, {letters}\n"
        "FROM folded WHERE kind IN ('dlq', 'dlq_cmcd')",
    ]


_LETTERS = (topics.DLQ_PLAYBACK_EVENT, topics.DLQ_CMCD)


def _by_kind(of_events: Topic, of_cmcd: Topic, settings: Settings) -> str:
    """The real topic that a dead letter's kind says."""
    prefix = settings.kafka.topic_prefix
    return f"CASE kind WHEN 'dlq' THEN '{prefix}{of_events.name}' ELSE '{prefix}{of_cmcd.name}' END"
