"""Dead letters out to a file and, corrected by somebody, back to the topic they came from.

A letter becomes one line of JSON; bytes that are not UTF-8 stand as ``{"base64": ...}``. Going back, each payload is
held against the same rules as a reader's; what is still wrong is told and stays where it is. The message key is taken
from the payload, so a letter of class `key` needs no other correction. Sending a letter twice is harmless: the fold
counts an event's repetition and leaves it out.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from conf.errors import UsageError
from conf.settings import Settings
from models.playback import cmcd_event
from schemas import records, wire
from schemas import topics as catalogue
from schemas.errors import WireError
from schemas.topics import Topic
from schemas.validate import Validator
from streaming import clients, consume, topics

LETTERS = {catalogue.PLAYBACK_EVENT.name: catalogue.DLQ_PLAYBACK_EVENT, catalogue.CMCD.name: catalogue.DLQ_CMCD}
"""Dead-letter topic by the topic it belongs to."""
DELIVERY_S = 120
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


def replay(lines: Iterable[bytes | str], settings: Settings) -> Replayed:
    """Send the letters that are good now back to their topics; returns when the broker has all of them.

    Raises:
        ServiceUnavailable: no broker.
    """
    done, good = Replayed(), []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                good.append(_checked(json.loads(line)))
            except (ValueError, KeyError, TypeError, RecursionError, WireError) as error:
                done.wrong.append((number, str(error) or type(error).__name__))
    topics.create(settings)
    with clients.reaching(settings):
        producer = clients.producer(settings)
        futures = [
            producer.send(topics.real_name(topic, settings), key=key, value=value, headers=[("replay_of", place)])
            for topic, key, value, place in good
        ]
        producer.flush(timeout=DELIVERY_S)
        for future, (topic, *_rest) in zip(futures, good, strict=True):
            future.get(timeout=DELIVERY_S)
            done.sent[topic.name] = done.sent.get(topic.name, 0) + 1
        producer.close()
    return done


def _checked(row: dict[str, Any]) -> tuple[Topic, bytes, bytes, bytes]:
    check = _CHECKS.get(row["topic"])
    if check is None:
        raise ValueError(f"topic {row['topic']!r} has no stream job")
    payload = _bytes(row["payload"])
    topic, session = check(payload)
    place = "/".join(str(row.get(name, 0)) for name in PLACE)
    return topic, session.encode(), payload, place.encode()


def _cmcd(payload: bytes) -> tuple[Topic, str]:
    lines = payload.split(b"\n")[1:]
    record = cmcd_event.read_record(lines[0], cmcd_event.EVENT_KEYS) if lines else None
    session = str(record.values["sid"]) if record else ""
    letters = cmcd_event.decode(payload, session.encode()).letters
    if letters:
        raise ValueError(f"still refused ({letters[0].error_class}): {letters[0].reason}")
    return catalogue.CMCD, session


def _playback_event(payload: bytes) -> tuple[Topic, str]:
    name, version, row = wire.decode_one(payload)
    record = records.load(catalogue.PLAYBACK_EVENT.record, version)
    if name != record.name:
        raise ValueError(f"still refused (schema): a {name} message")
    times = {key: _millis(value) for key, value in row.items() if isinstance(value, datetime)}
    wrong = list(Validator(record).wrong(row | times))
    if wrong:
        raise ValueError(f"still refused (range): {wrong[0].field} {wrong[0].rule}")
    return catalogue.PLAYBACK_EVENT, row["session_id"]


def _millis(value: datetime) -> int:
    return round(value.timestamp() * 1000)


_CHECKS: dict[str, Callable[[bytes], tuple[Topic, str]]] = {
    catalogue.CMCD.name: _cmcd,
    catalogue.PLAYBACK_EVENT.name: _playback_event,
}
