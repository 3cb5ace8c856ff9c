"""One real Kafka broker in KRaft mode, from the locked jars: its files, its command, its health."""

from __future__ import annotations

import re
import socket
import subprocess
from pathlib import Path

from conf import jars, java
from conf.errors import ConfigError
from conf.settings import Settings
from conf.supervisor import Process

NAME = "broker"
# As long as Kafka allows by default: Flink's sinks ask for less, see the stream jobs.
_TRANSACTION_MAX_MS = 900_000


def properties(settings: Settings, data: Path) -> str:
    """``server.properties`` of a broker that is its own controller; replication 1, no topic appears by accident."""
    stack = settings.stack
    listeners = f"PLAINTEXT://127.0.0.1:{stack.broker_port},CONTROLLER://127.0.0.1:{stack.controller_port}"
    lines = {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.bootstrap.servers": f"127.0.0.1:{stack.controller_port}",
        "listeners": listeners,
        "advertised.listeners": listeners,
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "PLAINTEXT",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "log.dirs": str(data),
        "auto.create.topics.enable": "false",
        "num.partitions": str(settings.kafka.partitions),
        "offsets.topic.num.partitions": "4",
        "offsets.topic.replication.factor": "1",
        "transaction.state.log.num.partitions": "4",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "transaction.max.timeout.ms": str(_TRANSACTION_MAX_MS),
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
        "group.initial.rebalance.delay.ms": "0",
        "num.network.threads": "2",
        "num.io.threads": "4",
        "log.cleaner.dedupe.buffer.size": "16777216",
        "log.retention.ms": "-1",  # event time may lie years back: nothing is dropped by its timestamp
        "log.message.timestamp.after.max.ms": "9223372036854775807",
    }
    return "".join(f"{key}={value}\n" for key, value in lines.items())


def prepare(settings: Settings, folder: Path) -> Process:
    """Write the broker's files below ``folder``, format its storage once, and return the process to supervise."""
    data = folder / "kafka"
    path = folder / "server.properties"
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(properties(settings, data))
    classpath = ":".join(str(jar) for jar in jars.jar_paths("broker", settings))
    program = [
        str(java.tool("java")),
        "-Dorg.slf4j.simpleLogger.showDateTime=true",
        "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    ]
    if not (data / "meta.properties").is_file():
        _format([*program, "-cp", classpath, "kafka.tools.StorageTool"], path)
    heap = settings.stack.broker_heap
    return Process(
        NAME, [*program, "-Xms128m", f"-Xmx{heap}", "-XX:+UseG1GC", "-cp", classpath, "kafka.Kafka", str(path)]
    )


def _format(tool: list[str], path: Path) -> None:
    identity = subprocess.run([*tool, "random-uuid"], capture_output=True, text=True)
    found = re.findall(r"^[A-Za-z0-9_-]{22}$", identity.stdout, re.MULTILINE)
    if identity.returncode or not found:
        raise ConfigError(
            f"Kafka's storage tool gave no cluster id: {(identity.stdout + identity.stderr).strip()[-500:]}"
        )
    done = subprocess.run(
        [*tool, "format", "--standalone", "-g", "-t", found[-1], "-c", str(path)], capture_output=True, text=True
    )
    if done.returncode:
        raise ConfigError(f"formatting the broker's storage failed: {(done.stdout + done.stderr).strip()[-1500:]}")


def ill(settings: Settings) -> str | None:
    """``None`` if the broker answers a metadata request, otherwise the reason."""
    from kafka import KafkaAdminClient
    from kafka.errors import KafkaError

    address = f"127.0.0.1:{settings.stack.broker_port}"
    try:
        socket.create_connection(("127.0.0.1", settings.stack.broker_port), timeout=2.0).close()
    except OSError as error:
        return f"no broker listens on {address} ({error})"
    try:
        client = KafkaAdminClient(bootstrap_servers=address, bootstrap_timeout_ms=3000, request_timeout_ms=3000)
    except (KafkaError, OSError, ValueError) as error:
        return f"what listens on {address} does not answer as a broker ({type(error).__name__}: {error})"
    try:
        client.list_topics()
    except (KafkaError, OSError) as error:
        return f"the broker on {address} does not answer ({type(error).__name__}: {error})"
    finally:
        client.close()
    return None
