"""Kafka clients of the main environment, and the one sentence a user reads when the broker is away.

kafka-python 3 makes idempotence and ``acks=all`` the default; both are said here all the same, because a message
written twice is counted twice. Compression stays off: Flink's connector jar has no zstd of its own, and on one machine
the network is not what is scarce.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from kafka import KafkaConsumer, KafkaProducer
from kafka.admin import KafkaAdminClient
from kafka.errors import BrokerNotAvailableError, KafkaConnectionError, KafkaError, KafkaTimeoutError, NodeNotReadyError

from conf.errors import MatineeError, ServiceUnavailable
from conf.settings import Settings

AWAY = (BrokerNotAvailableError, KafkaConnectionError, KafkaTimeoutError, NodeNotReadyError)
BOOTSTRAP_MS = 8_000
BATCH_BYTES = 256 * 1024
LINGER_MS = 20


def _quiet() -> None:
    """kafka-python logs each refused connection as an error; the exception that follows says it once and better."""
    logging.getLogger("kafka").setLevel(logging.CRITICAL)


@contextmanager
def reaching(settings: Settings) -> Iterator[None]:
    """Turn what kafka-python raises into errors of ours.

    Raises:
        ServiceUnavailable: no broker answers at ``kafka.bootstrap`` (exit 5).
        MatineeError: the broker refused something.
    """
    _quiet()
    _knock(settings)
    try:
        yield
    except AWAY as error:
        raise away(settings) from error
    except KafkaError as error:
        raise MatineeError(f"Kafka at {settings.kafka.bootstrap} refused: {type(error).__name__}: {error}") from error


def away(settings: Settings) -> ServiceUnavailable:
    """The error for a broker that does not answer."""
    return ServiceUnavailable(
        f"no Kafka broker answers at {settings.kafka.bootstrap}: start one with `matinee up`, or set kafka.bootstrap"
    )


def _knock(settings: Settings) -> None:
    """Open and close a connection to one bootstrap address: refused at once, instead of after the client's patience."""
    addresses = [address.rpartition(":") for address in settings.kafka.bootstrap.split(",")]
    for host, _, port in addresses:
        if not port.isdigit():
            raise MatineeError(f"kafka.bootstrap = {settings.kafka.bootstrap!r}: each address is host:port")
        try:
            socket.create_connection((host.strip("[] "), int(port)), timeout=3).close()
            return
        except OSError:
            continue
    raise away(settings)


def producer(settings: Settings) -> KafkaProducer:
    """An idempotent producer for messages that are bytes already."""
    return KafkaProducer(
        bootstrap_servers=settings.kafka.bootstrap, enable_idempotence=True, acks="all", batch_size=BATCH_BYTES,
        linger_ms=LINGER_MS, max_request_size=4 << 20, bootstrap_timeout_ms=BOOTSTRAP_MS,
        allow_auto_create_topics=False, metrics_enabled=False,
    )


def consumer(settings: Settings) -> KafkaConsumer:
    """A consumer without a group that sees committed messages only; assign it partitions yourself."""
    return KafkaConsumer(
        bootstrap_servers=settings.kafka.bootstrap, isolation_level="read_committed", enable_auto_commit=False,
        group_id=None, auto_offset_reset="earliest", max_poll_records=20_000, fetch_max_bytes=64 << 20,
        max_partition_fetch_bytes=8 << 20, bootstrap_timeout_ms=BOOTSTRAP_MS, allow_auto_create_topics=False,
        metrics_enabled=False,
    )


@contextmanager
def admin(settings: Settings) -> Iterator[KafkaAdminClient]:
    """An admin client, closed at the end."""
    with reaching(settings):
        client = KafkaAdminClient(bootstrap_servers=settings.kafka.bootstrap, bootstrap_timeout_ms=BOOTSTRAP_MS)
        try:
            yield client
        finally:
            client.close()
