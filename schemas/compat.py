"""Do all versions of a record understand each other?

A record on a topic (but for dead letters) must be FULL_TRANSITIVE: every version reads every other, because old and new
producers and consumers run side by side. A record that only rests in tables must be BACKWARD_TRANSITIVE: the newer
reads every older.
Checked three ways: Avro's own rules (`avro.compatibility`), real bytes through fastavro, and our attributes, which Avro
does not know: what one version calls valid the reading version must not refuse.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from itertools import permutations
from typing import Any

import fastavro

from schemas import records, samples, topics
from schemas.records import Array, Field, Nested, Record

FULL = "FULL_TRANSITIVE"
BACKWARD = "BACKWARD_TRANSITIVE"


def mode(name: str) -> str:
    """The rule a record is under: FULL if a topic carries it in Avro, else BACKWARD.

    A dead letter goes as the bytes it was and its fields as headers of text, which no older version reads or refuses.
    """
    carried = any(topic.record == name for topic in topics.TOPICS) and name != topics.DLQ_PLAYBACK_EVENT.record
    return FULL if carried or name == "day_end" else BACKWARD


def every_problem() -> list[str]:
    """What is wrong between the versions of all records, one sentence each."""
    return [problem for name in records.names() for problem in problems(name)]


def problems(name: str) -> list[str]:
    """What is wrong between the versions of one record, one sentence each."""
    found = []
    for reader, writer in permutations([records.load(name, version) for version in records.versions(name)], 2):
        if mode(name) == FULL or reader.version > writer.version:
            found += pair(reader, writer)
    return found


def pair(reader: Record, writer: Record) -> list[str]:
    """Why `reader` cannot read what `writer` wrote; empty if it can."""
    start = f"{reader.label} cannot read {writer.label}"
    reasons = list(_by_avro(reader, writer)) or list(_by_bytes(reader, writer))
    reasons += _by_attributes(reader.fields, writer.fields)
    return [f"{start}: {reason}; {mode(reader.name)} holds for {reader.name}" for reason in reasons]


def _by_avro(reader: Record, writer: Record) -> Iterator[str]:
    from avro.compatibility import ReaderWriterCompatibilityChecker, SchemaCompatibilityType
    from avro.schema import parse

    checker = ReaderWriterCompatibilityChecker()
    result = checker.get_compatibility(parse(json.dumps(reader.avro)), parse(json.dumps(writer.avro)))
    if result.compatibility is not SchemaCompatibilityType.compatible:
        yield from sorted(result.messages)


def _by_bytes(reader: Record, writer: Record) -> Iterator[str]:
    names = {field.name for field in writer.fields}
    for row in samples.rows(writer, 6):
        out = io.BytesIO()
        fastavro.schemaless_writer(out, _schema(writer), row)
        out.seek(0)
        read: Any = fastavro.schemaless_reader(out, _schema(writer), _schema(reader))
        for field in reader.fields:
            expected = row[field.name] if field.name in names else field.default
            if not _same(read[field.name], expected, field):
                yield f"{field.name} is read as another value than was written"


def _same(found: Any, expected: Any, field: Field) -> bool:
    if isinstance(field.type, Array) and isinstance(field.type.items, Nested) and expected:
        kept = [inner.name for inner in field.type.items.fields if inner.name in expected[0]]
        return [{k: item[k] for k in kept} for item in found] == [{k: item[k] for k in kept} for item in expected]
    return bool(found == expected)


def _schema(record: Record) -> Any:
    return fastavro.parse_schema(json.loads(json.dumps(record.avro)))


def _by_attributes(reader: tuple[Field, ...], writer: tuple[Field, ...]) -> list[str]:
    written = {field.name: field for field in writer}
    return [reason for field in reader if field.name in written for reason in _attributes(field, written[field.name])]


def _attributes(reader: Field, writer: Field) -> Iterator[str]:
    name = reader.name
    if reader.unit != writer.unit:
        yield f"{name} is in {reader.unit}, it was written in {writer.unit}"
    if reader.pii != writer.pii:
        yield f"{name} has pii {reader.pii}, it was written as {writer.pii}"
    if reader.sum_of != writer.sum_of:
        yield f"{name} is a sum of {reader.sum_of}, it was written as a sum of {writer.sum_of}"
    refused = sorted(set(writer.values) - set(reader.values)) if reader.values else []
    if refused or (reader.values and not writer.values):
        yield f"{name} refuses values that were valid: {', '.join(refused) or 'any other'}"
    if reader.minimum is not None and (writer.minimum is None or writer.minimum < reader.minimum):
        yield f"{name} must be at least {reader.minimum}, it could be {writer.minimum or 'less'}"
    if reader.maximum is not None and (writer.maximum is None or writer.maximum > reader.maximum):
        yield f"{name} must be at most {reader.maximum}, it could be {writer.maximum or 'more'}"
    if isinstance(reader.type, Array) and isinstance(writer.type, Array):
        inner = reader.type.items, writer.type.items
        if isinstance(inner[0], Nested) and isinstance(inner[1], Nested):
            yield from (f"{name}.{reason}" for reason in _by_attributes(inner[0].fields, inner[1].fields))
