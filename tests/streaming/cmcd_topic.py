"""Messages of topic cmcd for tests: hostile sessions told in CMCD, and lines no reader takes."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any, NamedTuple

from bench import qoe_cmcd
from models.playback import cmcd, cmcd_event
from tests.kernel import hostile
from tests.models.playback import cmcd_golden

SILENT_TOO = ("t", "t", "ps", "as", "ae", "m", "rr")
MAY_BE_LEFT_OUT = ("sta", "br", "cid", "h", "io.matinee-app", "io.matinee-asset", "io.matinee-profile")


class Post(NamedTuple):
    """One message: key, value, arrival (UTC ms, not decreasing) and the partition the hostile topic gave it."""

    key: bytes
    value: bytes
    at_ms: int
    partition: int


def sessions(seed: int, count: int) -> list[Post]:
    """Hostile sessions, some records bare, some lines twice."""
    rng = random.Random(seed)
    made = [hostile.sent(rng, hostile.session(rng, f"s{n}")) for n in range(count)]
    posts = []
    clock = 0
    for row in hostile.topic(rng, made, 3_000):
        values = cmcd_event.values_of(row | {"event": rng.choice(SILENT_TOO), "error_code": None}, row["ad"])
        for name in MAY_BE_LEFT_OUT:
            if rng.random() < 0.2:
                values.pop(name, None)
        line = cmcd.encode(values, cmcd_event.EVENT_KEYS).encode()
        head = {"at": row["received_at"], "newest": row["post_device_at"]}
        value = cmcd_golden.message([line] * rng.choice((1, 1, 1, 2)), head)
        clock = max(clock, row["kafka_at"])
        posts.append(Post(row["session_id"].encode(), value, clock, row["kafka_partition"]))
    return posts


def refused_lines(seed: int, count: int) -> list[bytes]:
    """Mutated lines of session s1 that are no events, all different."""
    found: dict[bytes, None] = {}
    for line in qoe_cmcd.mutants(seed, 20 * count):
        decoded = cmcd_event.decode(cmcd_golden.message([line]), b"s1")
        if decoded.letters:
            found[line] = None
        if len(found) == count:
            return list(found)
    raise AssertionError(f"only {len(found)} of {count} refused lines")


Letters = dict[tuple[int, int, int], cmcd_event.Letter]


def decoded(messages: Iterable[Any]) -> tuple[dict[str, list[dict[str, Any]]], Letters]:
    """What the Python page makes of messages with key, value, partition, offset: rows by session, letters by place.

    The control records that end a day are neither.
    """
    rows: dict[str, list[dict[str, Any]]] = {}
    letters: Letters = {}
    for message in messages:
        if message.key is not None and message.key.startswith(b"__day_end__"):
            continue
        done = cmcd_event.decode(message.value, message.key, message.partition, message.offset)
        for row in done.rows:
            rows.setdefault(row["session_id"], []).append(row)
        letters |= {(message.partition, message.offset, letter.line): letter for letter in done.letters}
    return rows, letters
