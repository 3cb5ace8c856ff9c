"""The events of one playback session as the fold sees them: a set, put in order by their own numbers.

Nothing here looks at the order of arrival in memory, at a clock or at a watermark: `deduplicate`, `clock_offset_ms` and
`late_events` are functions of the set, so that Flink, Spark and this reference decide alike.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

DIMENSIONS = ("profile_id", "title_id", "asset_id", "isp", "country", "device", "app_version", "cdn_id")
"""Columns of an event that a span and a session carry unchanged."""

KEPT = ("state", "ad", "bitrate_kbps", "title_id", "asset_id", "cdn_id", "app_version", "profile_id")
"""Columns that may stay as the event before had them, each by itself."""
AD_BREAK = "ad_break"
"""Among them: the event begins or ends one ad and says nothing of the break around it; a break that is open stays, and
an ad stays on screen while one is. An event that says this of `ad` alone opens or ends a break with it."""
EVERYTHING = "*"
"""In the place of columns' names: all of them, those too that stay together."""
UNKNOWN = "unknown"
"""A title or an asset that nobody told; no service may call one so."""
KEPT_TOGETHER = ("background", "playback_rate", "isp", "country", "device")
"""Columns that stay only if all do."""


def keeps(kept: str, *names: str) -> bool:
    """Whether an event's column `kept` names one of these columns, or all."""
    return not {*names, EVERYTHING}.isdisjoint(kept.split(","))


@dataclass(frozen=True, slots=True)
class Event:
    """What the fold reads of one `playback_event`: times in UTC milliseconds, state as a CMCD `sta` letter."""

    session_id: str
    seq: int
    device_at: int
    received_at: int
    post_device_at: int
    state: str
    bitrate_kbps: int | None
    playhead_ms: int | None
    stall_count: int | None
    stall_total_ms: int | None
    error_code: str | None
    playback_rate: float
    background: bool
    ad: bool
    profile_id: str
    title_id: str
    asset_id: str
    isp: str
    country: str
    device: str
    app_version: str
    cdn_id: str
    impression_id: str | None
    page_id: str | None
    kafka_partition: int
    kafka_offset: int
    kept: str = ""
    """Once it has been taken from the event before, all that is left of it is `ad`."""
    ad_break: bool = False

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Event:
        """From a row with at least these columns (`kept` may be absent); timestamps are integers (UTC milliseconds)."""
        kept = row.get("kept", "")
        told = {name: row[name] for name in COLUMNS if name != "kept"}
        return cls(kept=kept, ad_break=bool(told["ad"]) and not keeps(kept, AD_BREAK, "ad"), **told)

    @property
    def tells_title(self) -> bool:
        """Whether it says itself which title this is."""
        return self.title_id != UNKNOWN and not keeps(self.kept, "title_id")

    def after(self, before: Event) -> Event:
        """This event with what it keeps taken from the one before it (a list of columns, ``*`` for all of them).

        So is an unknown title; and an unknown asset, unless the title is another one.
        """
        if not self.kept and UNKNOWN not in (self.title_id, self.asset_id):
            return self
        words = self.kept.split(",")
        names = (*KEPT, *KEPT_TOGETHER) if EVERYTHING in words else [name for name in words if name in KEPT]
        found = replace(self, kept="ad" if self.silent_of_ad else "", **{name: getattr(before, name) for name in names})
        if "ad" in names or AD_BREAK in words:
            on = found.ad or (AD_BREAK in words and before.ad_break)
            found = replace(found, ad=on, ad_break=before.ad_break)
        if found.title_id == UNKNOWN:
            found = replace(found, title_id=before.title_id)
        if found.asset_id == UNKNOWN and before.title_id in (UNKNOWN, found.title_id):
            found = replace(found, asset_id=before.asset_id)
        return found

    @property
    def silent_of_ad(self) -> bool:
        """Whether it leaves to the event before whether an ad is on."""
        return keeps(self.kept, "ad")

    def with_title_of(self, before: Event) -> Event:
        """This event of an ad with the content's title and asset, which the event before it had."""
        return replace(self, title_id=before.title_id, asset_id=before.asset_id)

    def ending(self, before: Event) -> Event:
        """This end of content with the title that the event before it had: another one it tells is of what comes next,
        as is its playhead."""
        return self if self.title_id == before.title_id else replace(self.with_title_of(before), playhead_ms=None)

    def without_ad(self) -> Event:
        """This event as what follows it finds it once it has ended its session: no ad, no break goes on."""
        return replace(self, ad=False, ad_break=False) if self.ad or self.ad_break else self

    @property
    def rate_milli(self) -> int:
        """Playback rate in thousandths."""
        return math.floor(self.playback_rate * 1000 + 0.5)

    @property
    def position(self) -> tuple[int, int]:
        """Place in the topic: decides between repeats."""
        return self.kafka_partition, self.kafka_offset

    @property
    def dimensions(self) -> tuple[str, ...]:
        """Values of `DIMENSIONS`."""
        return tuple(getattr(self, name) for name in DIMENSIONS)


COLUMNS: tuple[str, ...] = tuple(field.name for field in fields(Event) if field.name != "ad_break")
"""Columns of `playback_event` that an event is made of."""


def deduplicate(events: Iterable[Event]) -> tuple[list[Event], int]:
    """The events to count, by `seq`, and how many repeats were left out: of equal `seq` the lowest position counts."""
    first: dict[int, Event] = {}
    seen = 0
    for event in events:
        seen += 1
        kept = first.get(event.seq)
        if kept is None or event.position < kept.position:
            first[event.seq] = event
    return [first[seq] for seq in sorted(first)], seen - len(first)


def _followed(events: Iterable[Event]) -> Iterator[tuple[Event, int | None]]:
    """Each event, the highest number first, with the earliest reception of those that follow it; None if none does."""
    earliest: int | None = None
    for event in sorted(events, key=lambda e: -e.seq):
        yield event, earliest
        earliest = event.received_at if earliest is None else min(earliest, event.received_at)


def late_events(events: Iterable[Event], lateness_ms: int) -> frozenset[int]:
    """`seq` of every late one of deduplicated `events`: received more than `lateness_ms` after one of higher number."""
    return frozenset(
        event.seq
        for event, earliest in _followed(events)
        if earliest is not None and event.received_at > earliest + lateness_ms
    )


def in_time(events: Iterable[Event], late: frozenset[int]) -> list[Event]:
    """`events` by number, the late ones as received with the earliest of those that follow: no silence before them."""
    found = [
        replace(event, received_at=earliest) if earliest is not None and event.seq in late else event
        for event, earliest in _followed(events)
    ]
    return found[::-1]


def clock_offset_ms(events: Iterable[Event]) -> int:
    """What is added to the device clock: collector minus device time of the POST of the record lowest in the topic."""
    first = min(events, key=lambda e: e.position)
    return first.received_at - first.post_device_at
