"""The job's text: rendered from schemas and settings. No JVM."""

from __future__ import annotations

import re
from pathlib import Path

from conf.settings import load
from schemas import topics
from streaming.jobs import plan

SETTINGS = load(overrides={"kafka": {"topic_prefix": "u1."}})


def test_sums_go_out_under_their_group_key_which_is_the_topics() -> None:
    for name, topic, number in (("qoe_minute", topics.QOE_MINUTE, 0), ("qoe_step", topics.QOE_STEP, 1)):
        table = next(text for text in plan.sinks(SETTINGS) if f"TABLE {name} " in text)
        assert "PRIMARY KEY (message_key) NOT ENFORCED" in table and "'key.format' = 'raw'" in table
        insert = plan.inserts(SETTINGS)[number]
        assert insert.startswith(f"INSERT INTO {name}\n") and insert.endswith("GROUP BY `message_key`\n)")
        keys = re.search(r"sum_keys\('([^']*)', (.*?)\)\)", insert)
        assert keys is not None
        columns = keys[2].replace("`", "").replace("_ms", "_at").split(", ")
        words = topic.key.removeprefix("rollup|").split("|")
        assert columns == words
        for template in keys[1].split(";"):
            assert len(template.split("|")) == len(topic.key.split("|"))


def test_sinks_are_exactly_once_under_names_of_their_own() -> None:
    broker_limit_ms = 900_000
    found = plan.sinks(SETTINGS)
    prefixes = [re.search(r"'sink.transactional-id-prefix' = '([^']*)'", text) for text in found]
    assert len({match[1] for match in prefixes if match}) == 5 and all("u1." in match[1] for match in prefixes if match)
    for text in found:
        assert "'sink.delivery-guarantee' = 'exactly-once'" in text and "'topic' = 'u1." in text
        timeout = re.search(r"'properties.transaction.timeout.ms' = '(\d+)'", text)
        assert timeout and SETTINGS.flink.checkpoint_interval_ms < int(timeout[1]) < broker_limit_ms


def test_options_carry_the_settings_and_bound_the_restarts() -> None:
    options = plan.options(SETTINGS, [Path("/a b/kernel.jar")])
    assert options["pipeline.jars"] == "file:///a%20b/kernel.jar"
    fold = dict(pair.split(":") for pair in options["pipeline.global-job-parameters"].split(","))
    assert fold == {f"matinee.fold.{key}": str(value) for key, value in SETTINGS.fold.model_dump().items()}
    assert options["execution.checkpointing.interval"] == f"{SETTINGS.flink.checkpoint_interval_ms} ms"
    assert options["table.exec.state.ttl"] == f"{SETTINGS.flink.state_ttl_h} h"
    assert options["restart-strategy.type"] == "exponential-delay"
    assert int(options["restart-strategy.exponential-delay.attempts-before-reset-backoff"]) < 20


def test_a_checkpoint_writes_what_changed_wherever_the_state_lies() -> None:
    for backend in ("rocksdb", "hashmap"):
        options = plan.options(load(overrides={"flink": {"state_backend": backend}}), [])
        assert options["state.backend.type"] == backend
        incremental = options.get("execution.checkpointing.incremental") == "true"
        logged = options["state.changelog.enabled"] == "true"
        assert incremental != logged, "either RocksDB's files or a log of changes"


def test_the_watermark_is_on_the_arrival_clock() -> None:
    text = "".join(plan.sources(load(overrides={"flink": {"watermark_slack_ms": 2_500}})))
    assert "WATERMARK FOR kafka_at AS kafka_at - INTERVAL '2.500' SECOND" in text
    assert "kafka_at TIMESTAMP_LTZ(3) METADATA FROM 'timestamp'" in text and "'read_committed'" in text


def test_counters_for_alerts_can_be_left_out() -> None:
    without = load(overrides={"alerts": {"counters": False}})
    for made in (plan.inserts(SETTINGS), plan.sinks(SETTINGS)):
        assert sum("qoe_step" in text for text in made) == 1
    assert not any("qoe_step" in text for text in [*plan.inserts(without), *plan.sinks(without)])
