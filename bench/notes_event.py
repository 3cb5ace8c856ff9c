"""The topic that the yardstick of the notes reads (`bench.stream`)."""

from __future__ import annotations

from dataclasses import replace

from schemas import topics

NOTES_EVENT = replace(topics.PLAYBACK_EVENT, name="bench_event")
"""The same events as plain Avro of ten columns: Flink's own Avro knows no frame and reads one schema."""
