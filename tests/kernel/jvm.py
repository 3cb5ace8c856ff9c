"""Runs the kernel without an engine: messages to `io.matinee.kernel.Main`, its lines back."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from conf import kernel
from conf.java import tool
from kernel import build
from models.playback.spans import Policy
from schemas import records, wire
from schemas.records import Scalar

GAP_WAIT_MS = 2_000
QUICK = ("-Xmx512m", "-XX:TieredStopAtLevel=1")
"""For a run of seconds the first compiler is enough."""


@dataclass(frozen=True, slots=True)
class Message:
    """One Kafka message."""

    partition: int
    offset: int
    arrival: int
    key: bytes | None
    value: bytes | None


def run(arguments: Sequence[str], messages: Iterable[Message], optimise: bool = False) -> list[list[str | None]]:
    """Lines of the kernel's main program, split at tabs, \\N as None; `optimise`: with both of Java's compilers."""
    jar = kernel.jar_file()
    if not build.is_fresh(jar):
        build.build(jar)
    done = subprocess.run(
        [str(tool("java")), *(("-Xmx1g",) if optimise else QUICK), "-jar", str(jar), *arguments],
        input=packed(messages),
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr.decode()
    return [
        [None if word == "\\N" else word for word in line.split("\t")] for line in done.stdout.decode().split("\n")[:-1]
    ]


def fold(
    messages: Iterable[Message], policy: Policy, slack_ms: int, every: int = 3
) -> dict[str, list[list[str | None]]]:
    """Rows by kind: span, session, live_minute, live_session, live_state, dead; state in bytes `every` so many events.

    live_state: states left, deltas, those that take something back, events folded again.
    """
    found: dict[str, list[list[str | None]]] = {}
    for kind, *columns in run(["fold", policy_text(policy), str(slack_ms), str(every)], messages):
        found.setdefault(str(kind), []).append(columns)
    return found


def policy_text(policy: Policy) -> str:
    """The policy as the kernel reads it."""
    return ",".join(f"{name}:{value}" for name, value in (asdict(policy) | {"gap_wait_ms": GAP_WAIT_MS}).items())


def packed(messages: Iterable[Message]) -> bytes:
    """Messages as the kernel's main program takes them."""
    return b"".join(map(_pack, messages))


def _pack(message: Message) -> bytes:
    head = struct.pack(">iqq", message.partition, message.offset, message.arrival)
    return head + _sized(message.key) + _sized(message.value)


def _sized(content: bytes | None) -> bytes:
    return struct.pack(">i", -1) if content is None else struct.pack(">i", len(content)) + content


def encode(rows: list[dict[str, Any]]) -> list[Message]:
    """Events (times in milliseconds) as messages of schema versions 1 and 2 in turn; rates and what is kept need 2."""
    values: list[bytes] = [b""] * len(rows)
    for version in (1, 2):
        old = [i % 2 == 0 and row["playback_rate"] == 1.0 and not row.get("kept") for i, row in enumerate(rows)]
        numbers = [i for i, one in enumerate(old) if one == (version == 1)]
        frame = pd.DataFrame([rows[i] for i in numbers])
        for field in records.load("playback_event", version).fields:
            if field.name not in frame:
                frame[field.name] = field.default
            if field.type is Scalar.TIMESTAMP:
                frame[field.name] = pd.to_datetime(frame[field.name], unit="ms", utc=True).astype("datetime64[ms, UTC]")
            elif field.type in (Scalar.INT, Scalar.LONG):
                frame[field.name] = frame[field.name].astype("Int64")
        names = [field.name for field in records.load("playback_event", version).fields]
        for i, value in zip(numbers, wire.encode_frame("playback_event", version, frame[names]), strict=True):
            values[i] = value
    return [
        Message(row["kafka_partition"], row["kafka_offset"], row["kafka_at"], row["session_id"].encode(), value)
        for row, value in zip(rows, values, strict=True)
    ]


def text(value: Any) -> str | None:
    """A reference value as the kernel prints it."""
    return None if value is None else str(value).lower() if isinstance(value, bool) else str(value)
