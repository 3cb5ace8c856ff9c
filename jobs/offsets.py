"""Which offsets a table already holds: written into the snapshot that holds the rows, so the two cannot part."""

from __future__ import annotations

import json
from typing import Any

from conf.errors import AuditFailed
from conf.settings import Settings
from jobs.topics import Bounds, Offsets
from lake.catalog import identifier
from schemas import tables
from schemas.tables import Table
from schemas.topics import Topic


def key(topic: Topic) -> str:
    """The snapshot property that holds a topic's offsets: first offset not yet landed, by partition, as JSON."""
    return f"matinee.offsets.{topic.name}"


def as_property(offsets: Offsets) -> str:
    """Offsets as the property's text."""
    return json.dumps({str(p): o for p, o in sorted(offsets.items())})


def landed(catalog: Any, settings: Settings, table: Table, topic: Topic) -> Offsets:
    """Offsets of the newest ancestor of ``main`` that carries them; empty before the first landing.

    Later snapshots (a compaction, another topic's rows) need not carry them.
    """
    from pyiceberg.table.snapshots import ancestors_of

    loaded = catalog.load_table(identifier(settings, table))
    for snapshot in ancestors_of(loaded.current_snapshot(), loaded.metadata):
        text = snapshot.summary.additional_properties.get(key(topic)) if snapshot.summary else None
        if text is not None:
            return {int(p): o for p, o in json.loads(text).items()}
    return {}


def start(topic: Topic, stored: Offsets, held: Bounds) -> Offsets:
    """Where landing goes on, for every partition of the topic.

    Raises:
        AuditFailed: the topic no longer holds what must come next, or holds less than was landed: it was emptied by
            retention before it was landed, or made anew.
    """
    answer = {}
    for partition, first in held.first.items():
        at = stored.get(partition)
        if at is None:
            answer[partition] = first
            continue
        if at > held.end[partition]:
            raise AuditFailed(
                f"topic {topic.name}, partition {partition}: {at} offsets are landed, the topic ends at "
                f"{held.end[partition]}. It was made anew; land it into a new lake, or under another topic prefix"
            )
        if at < first and not topic.compacted:
            raise AuditFailed(
                f"topic {topic.name}, partition {partition}: offsets {at} to {first - 1} are gone before they were "
                "landed (retention). Raise the topic's retention; to go on without them, land into a new lake"
            )
        answer[partition] = max(at, first)
    return answer


def lowest(first: Offsets, second: Offsets) -> Offsets:
    """The lower offset of each partition."""
    return {p: min(o, second.get(p, o)) for p, o in first.items()}


def missing(start_: Offsets, end: Offsets) -> bool:
    """Whether there is anything between start and end."""
    return any(end[p] > start_[p] for p in end)


def quarantined(catalog: Any, settings: Settings, topic: Topic) -> Offsets:
    """The same for the quarantine table, which keeps its own account of every topic."""
    return landed(catalog, settings, tables.QUARANTINE, topic)
