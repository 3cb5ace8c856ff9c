"""The real thing: broker and Flink session cluster under the supervisor."""

from __future__ import annotations

import os
import signal
import time
import uuid

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.admin import NewTopic

from conf import flink, supervisor
from conf import stack as one_machine
from conf.errors import ConfigError
from conf.settings import Settings, load
from tests.fixtures.stack import stack_environment


def _pid(settings: Settings, name: str) -> int:
    state = supervisor.read_state(settings.stack.dir)
    assert state is not None
    return next(child.pid for child in state.children if child.name == name)


@pytest.mark.kafka
@pytest.mark.flink
def test_a_second_up_is_harmless(stack: Settings) -> None:
    before = [_pid(stack, name) for name in one_machine.SERVICES]
    assert one_machine.up(stack).well
    assert [_pid(stack, name) for name in one_machine.SERVICES] == before


@pytest.mark.kafka
@pytest.mark.flink
def test_other_settings_in_the_same_folder_are_refused(stack: Settings) -> None:
    variables = stack_environment(stack) | {"MATINEE__STACK__TASKMANAGER_SLOTS": "2"}
    with pytest.raises(ConfigError, match="other settings"):
        one_machine.up(load(environ=variables))


@pytest.mark.kafka
def test_a_topic_keeps_what_was_sent_and_none_appears_by_itself(stack: Settings) -> None:
    name = f"t-{uuid.uuid4().hex[:8]}"
    admin = KafkaAdminClient(bootstrap_servers=stack.kafka.bootstrap)
    admin.create_topics([NewTopic(name, 1, 1)])
    sent = [f"{codec}-{number}".encode() for codec in ("zstd", "lz4", "gzip") for number in range(100)]
    for codec in ("zstd", "lz4", "gzip"):
        producer = KafkaProducer(bootstrap_servers=stack.kafka.bootstrap, compression_type=codec)
        for value in (value for value in sent if value.startswith(codec.encode())):
            producer.send(name, value)
        producer.close()
    consumer = KafkaConsumer(
        name, bootstrap_servers=stack.kafka.bootstrap, auto_offset_reset="earliest", consumer_timeout_ms=5000
    )
    assert [record.value for record in consumer] == sent
    consumer.close()
    topics = admin.list_topics()
    admin.close()
    assert name in topics
    assert "never-created" not in topics


@pytest.mark.flink
def test_a_killed_taskmanager_is_started_again(stack: Settings) -> None:
    before = _pid(stack, "taskmanager")
    os.kill(before, signal.SIGKILL)
    deadline = time.monotonic() + 90
    after = before
    while time.monotonic() < deadline:
        after = _pid(stack, "taskmanager")
        if after != before and flink.ill(stack) is None and _is_new_manager_alone(stack):
            break
        time.sleep(0.2)
    assert after != before
    assert flink.ill(stack) is None


def _is_new_manager_alone(settings: Settings) -> bool:
    return len(flink.get(settings, "/taskmanagers")["taskmanagers"]) == 1
