"""Whether the events in the topic bear the time that the stream goes by: Kafka timestamp = `received_at`.

The stream decides by the Kafka timestamp that what is missing will not come, the batch by `received_at` alone. A
producer that stamps 200 s ahead settles the gaps of every session of its partition at once: an event that is a second
out of order is lost to the live figures and is none to the batch. No file can show that, so the topic is read.

Right is also a timestamp that was raised to the newest one its partition holds (`streaming.lanes`): an arrival clock
that does not run back. And one ahead does no harm if the next event that is stamped right was received later still: so
comes a repeat, which arrives a second time and bears the `received_at` of the first.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from schemas import topics as catalogue
from schemas import wire
from schemas.errors import WireError
from streaming.consume import Message

RECORD = catalogue.PLAYBACK_EVENT.record
WAITING = 10_000
"""So many of a partition's events may be ahead until one is stamped right; more are wrong."""


@dataclass(slots=True)
class Stamps:
    """What was found: `events` read, those stamped `ahead` of their `received_at` or `behind` it, and the farthest."""

    events: int = 0
    ahead: int = 0
    behind: int = 0
    farthest_ms: int = 0
    place: tuple[int, int] = (0, 0)
    """Partition and offset of the farthest."""

    def count(self, message: Message, off: int) -> None:
        """Take in an event whose timestamp is `off` ms wrong."""
        self.ahead += off > 0
        self.behind += off < 0
        if abs(off) > abs(self.farthest_ms):
            self.farthest_ms, self.place = off, (message.partition, message.offset)

    def verdict(self) -> str:
        """One line: how many events, and how many bear a wrong timestamp."""
        if not self.ahead + self.behind:
            return f"{self.events:,} events: every Kafka timestamp is its received_at"
        side = "ahead of" if self.farthest_ms > 0 else "behind"
        return (
            f"{self.events:,} events: the Kafka timestamp of {self.ahead:,} is ahead of received_at, of "
            f"{self.behind:,} behind it; farthest {abs(self.farthest_ms):,} ms {side} it, at "
            f"partition {self.place[0]}, offset {self.place[1]}. Stamp messages with received_at: live figures go by it"
        )


def judge(messages: Iterable[Message], slack_ms: int) -> Stamps:
    """Hold the timestamps of messages, in order within a partition, against the events in them; others are passed over.

    Args:
        slack_ms: how far a timestamp may be off (`flink.watermark_slack_ms`).
    """
    found, newest, ahead = Stamps(), dict[int, int](), defaultdict[int, list[tuple[Message, int]]](list)
    for message in messages:
        before = newest.get(message.partition, -1)
        newest[message.partition] = max(before, message.at_ms)
        received_ms = _received_ms(message)
        if received_ms is None:
            continue
        found.events += 1
        off, waiting = message.at_ms - received_ms, ahead[message.partition]
        if abs(off) <= slack_ms:
            for one, its in waiting:
                if one.at_ms > received_ms + slack_ms:
                    found.count(one, its)
            waiting.clear()
        elif off > 0 and message.at_ms == before:
            continue
        elif off > 0 and len(waiting) < WAITING:
            waiting.append((message, off))
        else:
            found.count(message, off)
    for waiting in ahead.values():
        for one, its in waiting:
            found.count(one, its)
    return found


def _received_ms(message: Message) -> int | None:
    """`received_at` of the event in a message; None where there is none."""
    try:
        name, _, row = wire.decode_one(message.value or b"")
    except WireError:
        return None
    return round(row["received_at"].timestamp() * 1000) if name == RECORD else None
