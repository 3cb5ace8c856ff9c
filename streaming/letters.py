"""Dead letters out to a file and, corrected by somebody, back to the topic they came from.

A letter becomes one line of JSON; bytes that are not UTF-8 stand as ``{"base64": ...}``. Going back, each payload is
held against the same rules as a reader's; what is still wrong is told and stays where it is. The message key is taken
from the payload, so a letter of class `key` needs no other correction. Sending a letter twice is harmless: the fold
counts an event's repetition and leaves it out.

A letter is sent as received now, for now it comes to the stream, which has settled what was missing, while the batch
decides by `received_at` alone (law 1 of `models.playback.spans`): with the old time the two would not agree on whether
it is late. *Now* is the topic's own clock, its newest Kafka timestamp, and that is the Kafka timestamp as well: the
machine's clock would carry the partition months ahead in a universe that lies in the past, and what follows there would
never be final. In a topic that is in use the two are a moment apart.

The device time of the POST moves by the same distance, as if the player had sent it now. So its clock offset
(`received_at - post_device_at`, law 2) stays, and where a letter becomes the first record of its session, from which
both engines take the offset, its events lie when they happened and not when somebody replayed them.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from kafka import KafkaProducer

from conf.errors import UsageError
from conf.settings import Settings
from models.playback import cmcd, cmcd_event
from schemas import records, wire
from schemas import topics as catalogue
from schemas.errors import WireError
from schemas.topics import Topic
from schemas.validate import CLOCK, Validator
from streaming import clients, consume, topics

LETTERS = {catalogue.PLAYBACK_EVENT.name: catalogue.DLQ_PLAYBACK_EVENT, catalogue.CMCD.name: catalogue.DLQ_CMCD}
"""Dead-letter topic by the topic it belongs to."""
DELIVERY_S = 120
SLICE = 1_000
"""Letters sent before the topic's clock is looked at again: it must not run away by `flink.watermark_slack_ms`."""
PLACE = ("kafka_partition", "kafka_offset", "line")


def export(name: str, settings: Settings) -> Iterator[str]:
    """Every dead letter of a topic as a line of JSON.

    Raises:
        UsageError: a topic without a stream job.
        InputMissing, ServiceUnavailable: see `consume.messages`.
    """
    if name not in LETTERS:
        raise UsageError(f"topic {name!r} has no dead letters of the stream; there are {', '.join(LETTERS)}")
    for message in consume.messages(LETTERS[name], settings):
        told = {key: value.decode(errors="replace") for key, value in message.headers.items()}
        place = {key: int(told.get(key, 0)) for key in PLACE}
        row = {"topic": name, **place, "error_class": told["error_class"], "reason": told["reason"]}
        yield json.dumps(row | {"key": _text(message.key), "payload": _text(message.value)}, ensure_ascii=False)


def _text(content: bytes | None) -> Any:
    if content is None:
        return None
    try:
        return content.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(content).decode()}


def _bytes(content: Any) -> bytes:
    if isinstance(content, str):
        return content.encode()
    if isinstance(content, dict) and isinstance(content.get("base64"), str):
        return base64.b64decode(content["base64"], validate=True)
    raise ValueError('payload must be text or {"base64": ...}')


@dataclass(slots=True)
class Replayed:
    """What a replay did: messages sent by topic, and for each letter that is still wrong its line number and why."""

    sent: dict[str, int] = field(default_factory=dict)
    wrong: list[tuple[int, str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Good:
    """A letter that may go back: key and place of its message, when it was received, and its bytes of another time."""

    number: int
    topic: Topic
    key: bytes
    place: bytes
    received_ms: int
    received_at: Callable[[int], bytes]


def replay(lines: Iterable[bytes | str], settings: Settings) -> Replayed:
    """Send the letters that are good now back to their topics, received now; returns when the broker has all of them.

    Raises:
        ServiceUnavailable: no broker.
    """
    done, good = Replayed(), []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                good.append(_checked(json.loads(line), number))
            except (ValueError, KeyError, TypeError, RecursionError, WireError) as error:
                done.wrong.append((number, str(error) or type(error).__name__))
    topics.create(settings)
    with clients.reaching(settings):
        producer = clients.producer(settings)
        for topic in {letter.topic.name: letter.topic for letter in good}.values():
            mine = [letter for letter in good if letter.topic is topic]
            for start in range(0, len(mine), SLICE):
                sent = _send(producer, topic, mine[start : start + SLICE], settings, done)
                done.sent[topic.name] = done.sent.get(topic.name, 0) + sent
        producer.close()
    done.sent = {name: count for name, count in done.sent.items() if count}
    done.wrong.sort()
    return done


def _send(producer: KafkaProducer, topic: Topic, some: Sequence[_Good], settings: Settings, done: Replayed) -> int:
    now = max(topics.newest_timestamps(topic, settings))
    if now < 0:  # an empty topic's clock begins with them
        now = max(letter.received_ms for letter in some)
    name, futures = topics.real_name(topic, settings), []
    for letter in some:
        try:
            value = letter.received_at(now)
        except ValueError as error:
            done.wrong.append((letter.number, str(error)))
        else:
            headers = [("replay_of", letter.place)]
            futures.append(producer.send(name, key=letter.key, value=value, headers=headers, timestamp_ms=now))
    producer.flush(timeout=DELIVERY_S)
    for future in futures:
        future.get(timeout=DELIVERY_S)
    return len(futures)


def _checked(row: dict[str, Any], number: int = 0) -> _Good:
    check = _CHECKS.get(row["topic"])
    if check is None:
        raise ValueError(f"topic {row['topic']!r} has no stream job")
    topic, session, received_ms, received_at = check(_bytes(row["payload"]))
    place = "/".join(str(row.get(name, 0)) for name in PLACE)
    return _Good(number, topic, session.encode(), place.encode(), received_ms, received_at)


_Found = tuple[Topic, str, int, Callable[[int], bytes]]
"""Topic, session, when it was received, its bytes as received at another time."""


def _posted(received_ms: int, posted_ms: int, now: int) -> int:
    """The device time of a POST received `now`, its clock as far from the collector's as it was."""
    moved = posted_ms + now - received_ms
    for time in (now, moved):
        if not 0 <= time < cmcd_event.MAX_AT:
            raise ValueError(f"received now, at {now} by the topic's clock, it would have a time outside 1970 to 2099")
    return moved


def _cmcd(payload: bytes) -> _Found:
    head, *lines = payload.split(b"\n")
    record = cmcd_event.read_record(lines[0], cmcd_event.EVENT_KEYS) if lines else None
    session = str(record.values["sid"]) if record else ""
    letters = cmcd_event.decode(payload, session.encode()).letters
    if letters:
        raise ValueError(f"still refused ({letters[0].error_class}): {letters[0].reason}")
    post = cmcd.parse(head, cmcd_event.COLLECTOR_KEYS)
    at, newest = int(post.values["at"]), int(post.values["newest"])  # type: ignore[arg-type]

    def received_at(now: int) -> bytes:
        times = {"at": now, "newest": _posted(at, newest, now)}
        line = cmcd.encode(post.values | post.unknown | times, cmcd_event.COLLECTOR_KEYS)
        return b"\n".join([line.encode(), *lines])

    return catalogue.CMCD, session, at, received_at


def _playback_event(payload: bytes) -> _Found:
    name, version, row = wire.decode_one(payload)
    record = records.load(catalogue.PLAYBACK_EVENT.record, version)
    if name != record.name:
        raise ValueError(f"still refused (schema): a {name} message")
    times = {key: _millis(value) for key, value in row.items() if isinstance(value, datetime)}
    wrong = list(Validator(record).wrong(row | times))
    if wrong:
        kind = "clock" if wrong[0].rule == CLOCK else "range"
        raise ValueError(f"still refused ({kind}): {wrong[0].field} {wrong[0].rule}")
    at, posted = times["received_at"], times["post_device_at"]

    def received_at(now: int) -> bytes:
        moved = {"received_at": now, "post_device_at": _posted(at, posted, now)}
        return wire.encode_one(name, row | {key: _moment(ms) for key, ms in moved.items()}, version)

    if received_at(at) != payload:
        raise ValueError("still refused (decode): not the bytes that Avro writes for its values")
    return catalogue.PLAYBACK_EVENT, row["session_id"], at, received_at


def _millis(value: datetime) -> int:
    return round(value.timestamp() * 1000)


def _moment(ms: int) -> datetime:
    return wire.EPOCH + timedelta(milliseconds=ms)


_CHECKS: dict[str, Callable[[bytes], _Found]] = {
    catalogue.CMCD.name: _cmcd,
    catalogue.PLAYBACK_EVENT.name: _playback_event,
}
